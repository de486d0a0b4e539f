"""SiamMOT: a family of four graphs that detects, and finds every track again.

graphs.py      the graphs as a model of the family; knows no stream
stream.py      `SiamMot`, what a network remembers of one stream
memory.py      what that is, and where a track is searched for
loop.py        both in the frame loop: the trunk ahead of the tracks
regions.py     proposals, suppression, pyramid levels, search regions
resampling.py  resizing as Pillow does it
"""

from tracker.models.siammot.graphs import GRAPHS, SiamMotGraphs
from tracker.models.siammot.memory import SEARCHES, Memory
from tracker.models.siammot.stream import SiamMot, median_flow, open_siammot

__all__ = ["GRAPHS", "SEARCHES", "Memory", "SiamMot", "SiamMotGraphs", "median_flow", "open_siammot"]
