"""`python -m exporters motion-deeplab`: Motion-DeepLab (ResNet-50) as an ONNX file.

With `--weights` those of a deeplab2 checkpoint, converted to numpy as `exporters/deeplab/checkpoint.py` says; without,
random ones, for tests of everything around the network. Nothing is written where ONNX Runtime and torch disagree.
"""

from __future__ import annotations

import argparse

from exporters.deeplab.command import add_arguments, write_file

__all__ = ["add_arguments", "execute"]


def execute(arguments: argparse.Namespace, command: str) -> int:
    """Make the file; `command` is what the user typed, for the card."""
    return write_file(arguments, command, motion=True)
