"""Panoptic-DeepLab and Motion-DeepLab of deeplab2: a ResNet-50, two decoders, three or four heads."""
