"""Siamese networks: learned motion for any detector.

motion.py     `Siamese`, the memory of one stream; how it is opened
followers.py  the networks (FOLLOWERS), one file each: nanotrack.py, vittrack.py
crops.py      square pieces of a picture
rows.py       what is made of the places that a network finds
"""

from tracker.models.siamese.followers import FOLLOWERS, Follower
from tracker.models.siamese.motion import Siamese, SiameseConfig, motion_options, open_siamese

__all__ = ["FOLLOWERS", "Follower", "Siamese", "SiameseConfig", "motion_options", "open_siamese"]
