"""TrackR-CNN: Mask R-CNN on one map (C4), which remembers the frames before, with association vectors.

`network` holds the weights, `temporal` what looks back in time, `graph` is what is exported, `checkpoint` reads numpy
dumps of the authors' TensorFlow weights. The engine's family `trackrcnn` keeps the memory.
"""
