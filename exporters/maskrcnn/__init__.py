"""Mask R-CNN with a ResNet-FPN: torchvision's two kinds of checkpoints to one ONNX graph.

`resnet` and `heads` are the parts, `network` the whole, `graph` what is exported. Networks that add a head (embeddings,
semantic maps) build on `graph.Detector` and name their outputs in the card; `merged` is what MOTSNet and TrackR-CNN
share beyond that.
"""
