"""MOTSNet: Mask R-CNN in the form of seamseg, with a tracking head.

`network` holds the weights under seamseg's names, `graph` is what is exported, `checkpoint` reads files. The graph runs
as the engine's family `maskrcnn`.
"""
