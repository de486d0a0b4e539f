"""SiamMOT (DLA-34 + FPN, EMM track head): the network in plain torch, official checkpoints, four ONNX graphs.

`python -m exporters siammot --checkpoint model.pth -o folder` writes `trunk.onnx`, `boxes.onnx`, `template.onnx` and
`motion.onnx`, or nothing at all where ONNX Runtime and torch disagree.
"""
