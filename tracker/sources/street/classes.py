"""What a pixel of the street can be."""

STREET_CLASSES = ("road", "sidewalk", "building", "vegetation", "sky", "person", "car")
ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, PERSON, CAR = range(len(STREET_CLASSES))
