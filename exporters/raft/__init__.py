"""RAFT: optical flow networks, from the checkpoints of their authors or of torchvision, to one ONNX file."""
