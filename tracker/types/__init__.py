"""The values that travel through the engine: Frame, Panoptic, Flow, Detections, Tracks.

All are frozen structs of parallel arrays: row i of every field is object i. Nobody writes into an array that he was
given. Boxes are xyxy float32, half-open, 0-based, in source pixels; times are seconds.
"""

from tracker.types.detections import Detections
from tracker.types.frame import Flow, Frame, Panoptic
from tracker.types.tracks import Tracks, TrackState

__all__ = ["Detections", "Flow", "Frame", "Panoptic", "TrackState", "Tracks"]
