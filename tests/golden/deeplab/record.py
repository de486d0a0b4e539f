"""Motion-DeepLab in TensorFlow, with deeplab2's attribute names: its checkpoint's names and its outputs.

    python -m venv tf && tf/bin/pip install tensorflow-cpu tf_keras && tf/bin/python -m tests.golden.deeplab.record

Written from deeplab2's description of its layers (Apache-2.0), for `tests/exporters/test_deeplab.py`; it shares nothing
with the torch network but `weights`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf

from tests.golden.deeplab.weights import CROP, channels, fill, pictures

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
POOL = (CROP[1] - 1) // 32 + 1, (CROP[0] - 1) // 32 + 1
layers = tf.keras.layers


def norm():
    return layers.BatchNormalization(axis=3, epsilon=1e-3)


class Conv(layers.Layer):
    def __init__(self, out, size, strides=1, rate=1, active=True):
        super().__init__()
        pad = (size - 1) // 2
        self._zeropad = layers.ZeroPadding2D(((pad, pad), (pad, pad))) if strides > 1 else None
        self._conv = layers.Conv2D(
            out, size, strides, "same" if strides == 1 else "valid", dilation_rate=rate, use_bias=False
        )
        self._batch_norm, self._active = norm(), active

    def call(self, x):
        x = self._batch_norm(self._conv(x if self._zeropad is None else self._zeropad(x)), training=False)
        return tf.nn.relu(x) if self._active else x


class Depthwise(layers.Layer):
    def __init__(self):
        super().__init__()
        self._depthwise_conv = layers.DepthwiseConv2D(5, padding="same", use_bias=False)
        self._batch_norm = norm()

    def call(self, x):
        return tf.nn.relu(self._batch_norm(self._depthwise_conv(x), training=False))


class Separable(layers.Layer):
    def __init__(self, out):
        super().__init__()
        self._depthwise, self._pointwise = Depthwise(), Conv(out, 1)

    def call(self, x):
        return self._pointwise(self._depthwise(x))


class Stack(layers.Layer):
    def __init__(self, out):
        super().__init__()
        self._conv1_bn_act = Separable(out)

    def call(self, x):
        return self._conv1_bn_act(x)


class Block(layers.Layer):
    def __init__(self, inner, out, strides):
        super().__init__()
        self._conv1_bn_act, self._conv2_bn_act = Conv(inner, 1), Conv(inner, 3, strides)
        self._conv3_bn, self._out, self._strides = Conv(out, 1, active=False), out, strides

    def build(self, shape):
        self._shortcut = None if shape[3] == self._out else Conv(self._out, 1, self._strides, active=False)

    def call(self, x):
        shortcut = x if self._shortcut is None else self._shortcut(x)
        return tf.nn.relu(shortcut + self._conv3_bn(self._conv2_bn_act(self._conv1_bn_act(x))))


class Stage(layers.Layer):
    def __init__(self, inner, out, count):
        super().__init__()
        self._count = count
        for i in range(count):
            setattr(self, f"_block{i + 1}", Block(inner, out, 1 if i else 2))

    def call(self, x):
        for i in range(self._count):
            x = getattr(self, f"_block{i + 1}")(x)
        return x


class Encoder(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self._stem = Conv(channels(64), 7, 2, active=False)
        for i, count in enumerate((3, 4, 6, 3)):
            setattr(self, f"_stage{i + 2}", Stage(channels(64 << i), channels(256 << i), count))

    def call(self, x):
        x, out = tf.nn.relu(self._stem(x)), {}
        for i in range(2, 6):
            x = out[f"res{i}"] = getattr(self, f"_stage{i}")(x)
        return out


class Unit(layers.Layer):
    def __init__(self, *arguments):
        super().__init__()
        self._conv_bn_act = Conv(*arguments)

    def call(self, x):
        return self._conv_bn_act(x)


def enlarge(x, like):
    method = tf.compat.v1.image.ResizeMethod.BILINEAR
    return tf.compat.v1.image.resize(x, tf.shape(like)[1:3], method=method, align_corners=True)


class Aspp(layers.Layer):
    def __init__(self, out):
        super().__init__()
        self._conv_bn_act, self._aspp_pool = Conv(out, 1), Unit(out, 1)
        self._aspp_conv1, self._aspp_conv2, self._aspp_conv3 = (Unit(out, 3, 1, rate) for rate in (3, 6, 9))
        self._proj_conv_bn_act = Conv(out, 1)

    def call(self, x):
        pooled = tf.keras.backend.pool2d(x, POOL, padding="valid", pool_mode="avg")
        branches = [branch(x) for branch in (self._conv_bn_act, self._aspp_conv1, self._aspp_conv2, self._aspp_conv3)]
        return self._proj_conv_bn_act(tf.concat([*branches, enlarge(self._aspp_pool(pooled), x)], 3))


class Decoder(layers.Layer):
    def __init__(self, out, *projections):
        super().__init__()
        self._aspp = Aspp(channels(256))
        for i, projected in enumerate(projections):
            setattr(self, f"_low_level_conv{i + 1}", Conv(channels(projected), 1))
            setattr(self, f"_fusion_conv{i + 1}", Stack(channels(out)))

    def call(self, maps):
        x = self._aspp(maps["res5"])
        for i, name in enumerate(("res3", "res2")):
            low = getattr(self, f"_low_level_conv{i + 1}")(maps[name])
            x = getattr(self, f"_fusion_conv{i + 1}")(tf.concat([enlarge(x, low), low], 3))
        return x


def main() -> None:
    """Write `expected.npz` beside this file."""
    items = {
        "encoder": Encoder(), "semantic_decoder": Decoder(256, 64, 32), "instance_decoder": Decoder(128, 32, 16),
    }  # fmt: skip
    heads = [("semantic_head_without_last_layer", "semantic_last_layer", 256, 19)]
    for name, out in (("instance_center", 1), ("instance_regression", 2), ("motion_regression", 2)):
        heads.append((f"{name}_head_without_last_layer", f"{name}_head_last_layer", 32, out))
    for block, last, inner, out in heads:
        items[block], items[last] = Stack(channels(inner)), layers.Conv2D(out, 1)

    def run():
        maps = items["encoder"](pictures() / 127.5 - 1.0)
        semantic, instance = items["semantic_decoder"](maps), items["instance_decoder"](maps)
        return [
            items[last](items[block](semantic if i == 0 else instance)) for i, (block, last, *_) in enumerate(heads)
        ]

    run()  # makes the variables
    checkpoint = tf.train.Checkpoint(global_step=tf.Variable(7, dtype=tf.int64), **items)
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint.save(str(Path(folder, "ckpt")))
        shapes = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    shapes = {name: shape for name, shape in sorted(shapes.items()) if name.endswith(SUFFIX)}
    for name, shape in shapes.items():
        first, *steps = name.removesuffix(SUFFIX).split("/")
        if first in items:
            kind, owner = steps.pop(), items[first]
            for step in steps:
                owner = getattr(owner, step)
            getattr(owner, kind).assign(fill(name.removesuffix(SUFFIX), tuple(shape)))
    names = np.array([f"{name}\t{' '.join(map(str, shape))}" for name, shape in shapes.items()])
    outputs = {f"output{i}": np.moveaxis(output.numpy(), 3, 1) for i, output in enumerate(run())}
    np.savez_compressed(Path(__file__).with_name("expected.npz"), names=names, **outputs)


if __name__ == "__main__":
    main()
