"""The synthetic street: a seeded renderer of people and cars with exact masks, ids and classes.

    street = Street(seed=7, objects=12, size=(960, 540), frames=300)
    scene = street.render(0)        # image, ids, classes, object_ids, labels, boxes, visibility
    for frame in street: ...        # a Source like any other

`config` says what can be asked, `layout` builds the street, `world` moves people and cars, `looks` dresses them,
`walker` and `car` pose them before the camera (`rig`), `backdrop` paints the empty street (its `surfaces` and its
`furniture`), `paint` is the brush and `scene` puts a frame together; `classes` numbers what pixels are.
"""

from tracker.sources.street.classes import STREET_CLASSES
from tracker.sources.street.config import StreetConfig
from tracker.sources.street.scene import Scene, Street

__all__ = ["STREET_CLASSES", "Scene", "Street", "StreetConfig"]
