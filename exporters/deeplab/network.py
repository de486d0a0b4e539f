"""Panoptic-DeepLab and Motion-DeepLab with a ResNet-50 and output stride 32, as deeplab2 builds them for STEP.

Modules have the names of deeplab2's attributes, so that its checkpoints load by rule (see `checkpoint`). What is not
as in the papers: the first 3x3 convolution of a stage has the stride, there is no max pooling (stage 2 has its
stride), every resize aligns the corners, and normalisation has epsilon 1e-3.

Source: Panoptic-DeepLab, arXiv:1911.10194; STEP (Motion-DeepLab), arXiv:2102.11859; deeplab2's configurations
`configs/{kitti,motchallenge}/*/resnet50_os32`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.models.card import Size

STRIDE = 32
"""Input sides are multiples of it, plus 1: then every map's corners lie on the input's."""
HEAD_STRIDE = 4
EPSILON = 1e-3
RATES = (3, 6, 9)
BLOCKS = (3, 4, 6, 3)


@dataclass(frozen=True, slots=True)
class Layout:
    """What sets two networks apart.

    Attributes:
        classes: of the semantic head.
        motion: Motion-DeepLab: it also sees the picture before and where centres were, and has a fourth head.
        width: channels, as a share of the published network's.
    """

    classes: int = 19
    motion: bool = False
    width: float = 1.0

    def channels(self, count: int) -> int:
        """So many channels of the published network, here."""
        return max(4, round(count * self.width))


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, and ReLU unless told otherwise."""

    def __init__(
        self, channels: int, out: int, size: int, stride: int = 1, rate: int = 1, *, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, size, stride, rate * (size // 2), rate, bias=False)
        self.batch_norm = nn.BatchNorm2d(out, EPSILON)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H / stride, W / stride)."""
        x = self.batch_norm(self.conv(x))
        return x.relu() if self.active else x


class Depthwise(nn.Module):
    """5x5 convolution of every channel by itself, normalisation, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.batch_norm = nn.BatchNorm2d(channels, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        y: Tensor = self.batch_norm(self.depthwise_conv(x))
        return y.relu()


class Separable(nn.Module):
    """Depthwise, then pointwise."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.depthwise, self.pointwise = Depthwise(channels), ConvNorm(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H, W)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class Stack(nn.Module):
    """A stack of one separable convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1_bn_act = Separable(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H, W)."""
        y: Tensor = self.conv1_bn_act(x)
        return y


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1, and a shortcut."""

    def __init__(self, channels: int, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1_bn_act = ConvNorm(channels, inner, 1)
        self.conv2_bn_act = ConvNorm(inner, inner, 3, stride)
        self.conv3_bn = ConvNorm(inner, out, 1, active=False)
        self.shortcut = ConvNorm(channels, out, 1, stride, active=False) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H / stride, W / stride)."""
        y: Tensor = self.conv3_bn(self.conv2_bn_act(self.conv1_bn_act(x)))
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()


class Encoder(nn.Module):
    """ResNet-50 of deeplab2: input -> res2 ... res5 at strides 4, 8, 16, 32."""

    def __init__(self, inputs: int, layout: Layout) -> None:
        super().__init__()
        channels = layout.channels(64)
        self.stem = ConvNorm(inputs, channels, 7, 2)
        for i, count in enumerate(BLOCKS):
            inner, out = layout.channels(64 << i), layout.channels(256 << i)
            stage = nn.Module()
            for k in range(count):
                stage.add_module(f"block{k + 1}", Bottleneck(channels, inner, out, 2 if k == 0 else 1))
                channels = out
            self.add_module(f"stage{i + 2}", stage)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Name -> activated map of each stage."""
        x = self.stem(x)
        out = {}
        for i in range(2, 6):
            for block in self.get_submodule(f"stage{i}").children():
                x = block(x)
            out[f"res{i}"] = x
        return out


class _Unit(nn.Module):
    """A convolution one name deeper."""

    def __init__(self, *arguments: int) -> None:
        super().__init__()
        self.conv_bn_act = ConvNorm(*arguments)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_bn_act(x)
        return y


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling; its pooling window is a training crop, however large the input is."""

    def __init__(self, channels: int, out: int, pool: Size) -> None:
        super().__init__()
        self.conv_bn_act = ConvNorm(channels, out, 1)
        for i, rate in enumerate(RATES):
            self.add_module(f"aspp_conv{i + 1}", _Unit(channels, out, 3, 1, rate))
        self.aspp_pool = _Unit(channels, out, 1)
        self.proj_conv_bn_act = ConvNorm((len(RATES) + 2) * out, out, 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H, W)."""
        branches = [self.conv_bn_act(x), *(self.get_submodule(f"aspp_conv{i + 1}")(x) for i in range(len(RATES)))]
        pooled = self.aspp_pool(functional.avg_pool2d(x, self.pool, 1))
        y: Tensor = self.proj_conv_bn_act(torch.cat([*branches, enlarge(pooled, x)], 1))
        return y


class Decoder(nn.Module):
    """res5 through ASPP, then fused with res3 and with res2: a map at stride 4."""

    def __init__(self, layout: Layout, pool: Size, out: int, projections: Mapping[str, int]) -> None:
        super().__init__()
        channels = layout.channels(256)
        self.aspp = Aspp(layout.channels(2048), channels, pool)
        self.names = tuple(projections)
        for i, (name, projected) in enumerate(projections.items()):
            low = layout.channels(projected)
            self.add_module(f"low_level_conv{i + 1}", ConvNorm(layout.channels(64 << int(name[3:])), low, 1))
            self.add_module(f"fusion_conv{i + 1}", Stack(channels + low, layout.channels(out)))
            channels = layout.channels(out)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """(B, out, H / 4, W / 4)."""
        x: Tensor = self.aspp(maps["res5"])
        for i, name in enumerate(self.names):
            low = self.get_submodule(f"low_level_conv{i + 1}")(maps[name])
            x = self.get_submodule(f"fusion_conv{i + 1}")(torch.cat([enlarge(x, low), low], 1))
        return x


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the size of another map, corners on corners; a map of one cell is that cell everywhere."""
    if x.shape[2:] == (1, 1):
        return x.expand(-1, -1, *like.shape[2:])
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class DeepLab(nn.Module):
    """Maps of a picture at stride 4; all inputs are `value / 127.5 - 1` of red, green, blue.

    Args:
        layout: which network.
        crop: (width, height) of the training crops, which the pooling window is taken from.
    """

    def __init__(self, layout: Layout, crop: Size) -> None:
        super().__init__()
        self.layout = layout
        pool = (crop[1] - 1) // STRIDE + 1, (crop[0] - 1) // STRIDE + 1
        self.encoder = Encoder(7 if layout.motion else 3, layout)
        self.semantic_decoder = Decoder(layout, pool, 256, {"res3": 64, "res2": 32})
        self.instance_decoder = Decoder(layout, pool, 128, {"res3": 32, "res2": 16})
        self._add_head("semantic_head_without_last_layer", "semantic_last_layer", 256, 256, layout.classes)
        for name, out in (("instance_center", 1), ("instance_regression", 2), ("motion_regression", 2)):
            if layout.motion or name != "motion_regression":
                self._add_head(f"{name}_head_without_last_layer", f"{name}_head_last_layer", 128, 32, out)

    def _add_head(self, block: str, last: str, channels: int, inner: int, out: int) -> None:
        count = self.layout.channels
        self.add_module(block, Stack(count(channels), count(inner)))
        self.add_module(last, nn.Conv2d(count(inner), out, 1))

    @property
    def last_layers(self) -> tuple[str, ...]:
        """Names of the convolutions that give `outputs`."""
        return tuple(name for name, _ in self.named_children() if name.endswith("last_layer") and "without" not in name)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return ("image", "previous_image", "previous_heat") if self.layout.motion else ("image",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        names = ("semantic", "heat", "offset", "previous_offset")
        return names if self.layout.motion else names[:3]

    def forward(
        self, image: Tensor, previous_image: Tensor | None = None, previous_heat: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The maps of one picture, or of one that follows another.

        Args:
            image: (B, 3, H, W), sides 32 k + 1.
            previous_image: likewise, for Motion-DeepLab.
            previous_heat: (B, 1, H, W), 0..1; deeplab2 normalises it like a colour, and so does this.

        Returns:
            semantic: (B, classes, H/4, W/4) logits, sides rounded up.
            heat: (B, 1, H/4, W/4), about 0..1.
            offset: (B, 2, H/4, W/4), (dy, dx) from a cell to the centre of its object, in cells.
            previous_offset: likewise to where that centre was before; Motion-DeepLab's.
        """
        if previous_image is not None and previous_heat is not None:
            image = torch.cat([image, previous_image, previous_heat / 127.5 - 1], 1)
        maps = self.encoder(image)
        semantic, instance = self.semantic_decoder(maps), self.instance_decoder(maps)
        out = [self.semantic_last_layer(self.semantic_head_without_last_layer(semantic))]
        for name in ("instance_center", "instance_regression", "motion_regression")[: 3 if self.layout.motion else 2]:
            x = self.get_submodule(f"{name}_head_without_last_layer")(instance)
            out.append(self.get_submodule(f"{name}_head_last_layer")(x))
        return tuple(out)


@torch.no_grad()
def initialise(network: DeepLab, seed: int) -> None:
    """Random weights of a network that finds something everywhere; it is left in evaluation mode.

    Normalisations measure random pictures of patches, so that every layer has the spread of the one before it, and the
    last biases centre the outputs there: all classes are seen, centres are rare, offsets are about a cell.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            gain = 1.0 if name.endswith("last_layer") else 2.0
            nn.init.normal_(module.weight, 0.0, (gain / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            # figures of all that was seen; hardly anything varies in what was pooled from whole pictures
            module.momentum = 0.0 if "aspp_pool" in name else None
            if "conv3_bn" in name:
                nn.init.constant_(module.weight, 0.25)  # tame blocks: else fifty random layers blow rounding up
    height, width = (STRIDE * (side - 1) + 1 for side in network.semantic_decoder.aspp.pool)
    patches = torch.rand(4, 7, height // 16 + 1, width // 16 + 1, generator=generator)
    pictures = functional.interpolate(2 * patches - 1, scale_factor=16.0)[:, :, :height, :width]
    given = pictures[:, :3], pictures[:, 3:6], pictures[:, 6:].abs()
    network.train()(*given[: len(network.inputs)])
    outputs = network.eval()(*given[: len(network.inputs)])
    for name, output in zip(network.last_layers, outputs, strict=True):
        network.get_submodule(name).bias.sub_(output.mean((0, 2, 3)) + (0.5 if "center" in name else 0.0))
