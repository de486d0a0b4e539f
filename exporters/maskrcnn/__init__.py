"""Mask R-CNN with a ResNet-FPN: torchvision's two kinds of checkpoints to one ONNX graph.

`resnet` and `heads` are the parts, `network` the whole, `graph` what is exported, `agreement` the comparison with
torch. Networks with other layers or one more head (MOTSNet, TrackR-CNN) build on `graph.Detector` and name their
outputs in the card; `delivery` is what all their commands do alike.
"""
