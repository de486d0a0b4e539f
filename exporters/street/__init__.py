"""The network that the wheel carries: trained on rendered streets, exported, proved, measured.

`network` is what it is, `training` how it learns from what `exporters.scenes` renders, `warm_start` how it goes on from
an earlier file, `validation` what it can do. `quality`, `following`, `matching` and `validation` work without torch.
"""
