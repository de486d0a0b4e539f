"""Mask IoU of a frame's instances with the next frame's at 1080p: ours against pycocotools, equal to 1e-12.

Three ways in: masks that are packed (or run-length encoded) already; the crops that a decoder leaves, both frames
encoded anew; label maps of disjoint objects, for which pycocotools has to make masks first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.flags import at_least_one
from bench.result import BenchError, Row, ratios, summary
from bench.scenes import HEIGHT, WIDTH, moved, people
from bench.timing import time_calls
from tracker.masks import Masks, label_map_iou


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--sizes", type=at_least_one, nargs="*", default=[20, 50, 100], help="instances per frame")
    parser.add_argument("--rounds", type=at_least_one, default=40, help="at most so many measurements of each")


def execute(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure; returns rows and notes."""
    try:
        from pycocotools import mask as coco
    except ModuleNotFoundError:
        raise BenchError("expected pycocotools to compare with: pip install pycocotools") from None
    rows: list[Row] = []
    for count in arguments.sizes:
        rows += _measure(count, arguments.rounds, coco)
    return rows, ["pycocotools encodes masks pasted straight into Fortran order: no copy is counted against it"]


def _measure(count: int, rounds: int, coco: Any) -> list[Row]:
    crops, corners = people(count)
    later = moved(crops, corners)
    packed = [Masks.from_crops(crops, places, HEIGHT, WIDTH) for places in (corners, later)]
    maps = [masks.disjoint().to_label_map() for masks in packed]
    small = [labels.astype(np.uint8) for labels in maps] if count < 256 else None
    crowd = [0] * count

    def paste(places: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.zeros((HEIGHT, WIDTH, count), np.uint8, order="F")
        for i, (crop, (x, y)) in enumerate(zip(crops, places.tolist(), strict=True)):
            out[y : y + crop.shape[0], x : x + crop.shape[1], i] = crop
        return out

    def split(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        columns = np.asfortranarray(labels)
        out = np.empty((HEIGHT, WIDTH, count), np.uint8, order="F")
        for i in range(count):
            np.equal(columns, i + 1, out=out[:, :, i].view(np.bool_))
        return out

    ready = [coco.encode(paste(places)) for places in (corners, later)]
    pairs: dict[str, dict[str, Callable[[], Any]]] = {
        "ready": {
            "trackstream Masks": lambda: packed[0].iou(packed[1]),
            "pycocotools": lambda: coco.iou(*ready, crowd),
        },
        "crops": {
            "trackstream Masks": lambda: Masks.from_crops(crops, corners, HEIGHT, WIDTH).iou(
                Masks.from_crops(crops, later, HEIGHT, WIDTH)
            ),
            "pycocotools": lambda: coco.iou(coco.encode(paste(corners)), coco.encode(paste(later)), crowd),
        },
        "label maps": {
            "trackstream label_map_iou int32": lambda: label_map_iou(*maps, count, count),
            **({"trackstream label_map_iou uint8": lambda: label_map_iou(*small, count, count)} if small else {}),
            "pycocotools": lambda: coco.iou(coco.encode(split(maps[0])), coco.encode(split(maps[1])), crowd),
        },
    }
    rows: list[Row] = []
    for mode, calls in pairs.items():
        _demand_equal(mode, {name: call() for name, call in calls.items()})
        times = time_calls(calls, rounds if mode == "ready" else max(rounds // 4, 5))
        theirs = times["pycocotools"][1]
        for name, (measured, cost) in times.items():
            row: Row = {
                "scene": f"{count} x {count} masks",
                "objects": count,
                "mode": mode,
                "competitor": name,
                "us": summary(measured),
            }
            if name != "pycocotools":
                row["times_faster"] = ratios(cost, theirs)
            rows.append(row)
    return rows


def _demand_equal(mode: str, results: dict[str, NDArray[np.float64]]) -> None:
    """Never time an answer that was not checked."""
    expected = results["pycocotools"]
    for name, found in results.items():
        apart = float(np.abs(found - expected).max())
        if not apart <= 1e-12:
            raise BenchError(f"{name} and pycocotools differ by {apart:.1e} on {mode}: nothing is timed")
