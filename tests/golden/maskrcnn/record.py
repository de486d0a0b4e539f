"""Records what torchvision itself names, computes and pastes. Needs torch and torchvision 0.28; see README.md."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.roi_heads import paste_masks_in_image

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.golden.maskrcnn.weights import FRAME, SIZE, SPREADS, weights

BUILDERS = {"v1": maskrcnn_resnet50_fpn, "v2": maskrcnn_resnet50_fpn_v2}


def picture() -> np.ndarray:
    """(3, h, w) float32 RGB in 0..1, smooth."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((1, 3, 9, 13), np.float32))
    return torch.nn.functional.interpolate(coarse, size=FRAME[::-1], mode="bilinear")[0].numpy()


def record(folder: Path) -> None:
    """Write all files."""
    for kind, build in BUILDERS.items():
        with torch.device("meta"):
            names = build(weights=None, weights_backbone=None, num_classes=91).state_dict()
        rows = [f"{k}\t{','.join(map(str, v.shape))}\n" for k, v in names.items() if not k.endswith("_tracked")]
        (folder / f"{kind}.tsv").write_text("".join(rows))
        found, inputs, gains = run(build)
        np.savez_compressed(
            folder / f"{kind}.npz", image=inputs.tensors.numpy()[0, :, : SIZE[1], : SIZE[0]],
            gains=np.array(gains, np.float32), **{k: found[k].numpy() for k in ("boxes", "scores", "labels")},
            bits=np.packbits(found["masks"][:, 0].numpy() > 0.5, axis=None),
        )  # fmt: skip
    rng = np.random.default_rng(1)
    near = rng.uniform(-5, (250, 150), (40, 2))
    boxes = np.concatenate([near, near + rng.exponential(60, (40, 2)) + 0.5], 1).astype(np.float32)
    maps = torch.from_numpy(rng.random((40, 1, 7, 7), np.float32))
    maps = torch.nn.functional.interpolate(maps, size=(28, 28), mode="bilinear")
    pasted = paste_masks_in_image(maps, torch.from_numpy(boxes), (160, 260))[:, 0] > 0.5
    np.savez_compressed(
        folder / "pasted.npz", maps=maps[:, 0].numpy(), boxes=boxes, size=[160, 260],
        bits=np.packbits(pasted.numpy().reshape(40, -1), axis=1),
    )  # fmt: skip


@torch.no_grad()
def run(build):  # type: ignore[no-untyped-def]
    """What a network of `weights` finds in `picture`, its scaled input, and the gains on `SPREADS`."""
    network = build(weights=None, weights_backbone=None, num_classes=6, min_size=128, max_size=SIZE[0]).eval()
    state = {k: v.shape for k, v in network.state_dict().items() if not k.endswith("_tracked")}
    network.load_state_dict(weights(state), strict=False)
    image, gains = [torch.from_numpy(picture())], []
    for name, spread in SPREADS.items():
        layer, seen = network.get_submodule(name), []
        handle = layer.register_forward_hook(lambda module, given, out, seen=seen: seen.append(float(out.std())))
        network(image)
        handle.remove()
        gains.append(spread / seen[0])
        layer.weight.mul_(gains[-1])
    return network(image)[0], network.transform(image)[0], gains


if __name__ == "__main__":
    record(Path(sys.argv[1]))
