"""What the benchmarks run on: seeded crowds, heaps and masks, strangers that never match, and MOTChallenge files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.result import BenchError
from tracker.formats.mot import read_mot
from tracker.types import Detections

WIDTH, HEIGHT = 1920, 1080
_COVERED = 0.35  # share of the frame that the boxes of a crowd cover together


@dataclass(frozen=True)
class Scene:
    """Detections of consecutive frames, 30 per second.

    Attributes:
        name: what results call it.
        frames: one `Detections` per frame, empty ones included.
        width, height: frame in pixels; some competitors want boxes as shares of it.
    """

    name: str
    frames: list[Detections]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def objects(self) -> float:
        """Mean detections per frame."""
        return float(np.mean([len(detections) for detections in self.frames]))


def crowd(count: int, frames: int, seed: int = 7) -> Scene:
    """`count` people who walk in all directions and turn back at the border; equally dense for every count.

    A tenth of them is missed in every frame and a twentieth as many detections is noise. Scores are distributed as
    those of YOLOX-X on MOT17-04, where 86 % lie above 0.7: a tenth is low, the others are about 0.87.
    """
    rng = np.random.default_rng([seed, count])
    height = min(250.0, (_COVERED * WIDTH * HEIGHT / (0.4 * count)) ** 0.5) * rng.uniform(0.7, 1.3, count)
    size = np.stack([0.4 * height, height], 1)
    area = np.array([WIDTH, HEIGHT])
    place = rng.uniform(0, 1, (count, 2)) * (area - size)
    speed = rng.normal(0, 0.02, (count, 2)) * height[:, None]
    out = []
    for _ in range(frames):
        place += speed
        speed = np.where((place < 0) | (place > area - size), -speed, speed)
        place = np.clip(place, 0, area - size)
        seen = np.flatnonzero(rng.random(count) > 0.1)
        noise = rng.normal(0, 0.02, (2, len(seen), 2)) * height[seen, None]
        corner, extent = place[seen] + noise[0], np.maximum(size[seen] + noise[1], 4)
        score = np.where(rng.random(len(seen)) < 0.1, rng.uniform(0.15, 0.5, len(seen)), rng.beta(20, 3, len(seen)))
        ghosts = rng.integers(0, max(count // 10, 1) + 1)
        away = rng.uniform(0, 1, (ghosts, 2)) * area
        corner, score = np.vstack([corner, away]), np.concatenate([score, rng.uniform(0.1, 0.6, ghosts)])
        extent = np.vstack([extent, rng.choice(size, ghosts)])
        out.append(_shuffled(corner, extent, score, rng))
    return Scene(f"crowd-{count}", out)


def heap(count: int, frames: int, seed: int = 7) -> Scene:
    """Everybody on top of everybody: `count` boxes of 40 x 80 px, corners within 100 x 60 (200 x 120 from 500 on)."""
    rng = np.random.default_rng([seed, count, 1])
    area = np.array([200.0, 120.0] if count >= 500 else [100.0, 60.0])
    place = rng.uniform(0, 1, (count, 2)) * area + 400
    out = []
    for _ in range(frames):
        place = np.clip(place + rng.normal(0, 1, (count, 2)), 400, 400 + area)
        out.append(_shuffled(place, np.tile([40.0, 80.0], (count, 1)), rng.beta(8, 2, count), rng))
    return Scene(f"heap-{count}", out)


def strangers(count: int, frames: int) -> list[Detections]:
    """Frames of which no detection matches one of another frame: every box stands where none was before."""
    if count * frames > 190 * 107:
        raise BenchError(f"expected at most {190 * 107} places for strangers, got {count} x {frames}")
    number = np.arange(count * frames)
    corner = np.stack([number % 190 * 10.0, number // 190 * 10.0], 1)
    boxes = np.hstack([corner, corner + 8]).astype(np.float32).reshape(frames, count, 4)
    return [Detections(frame, np.full(count, 0.9, np.float32)) for frame in boxes]


def recorded(folder: Path, only: list[str] | None = None, most: int | None = None) -> list[Scene]:
    """Scenes from MOTChallenge detections: `folder/NAME.txt`, or `folder/NAME/det/det.txt`, or one such file.

    Raises:
        BenchError: no such file.
    """
    if folder.is_file():
        files = {folder.stem: folder}
    else:
        files = {path.stem: path for path in folder.glob("*.txt")}
        files |= {path.parent.parent.name: path for path in folder.glob("*/det/det.txt")}
    chosen = {name: path for name, path in sorted(files.items()) if only is None or name in only}
    if not chosen:
        raise BenchError(f"no detections in {folder}: expected NAME.txt or NAME/det/det.txt")
    scenes = []
    for name, path in chosen.items():
        rows = read_mot(path)
        order = np.argsort(rows.frames, kind="stable")
        last = int(rows.frames.max(initial=-1)) + 1
        starts = np.searchsorted(rows.frames[order], np.arange(last + 1))
        frames = []
        for k in range(last if most is None else min(most, last)):
            these = order[starts[k] : starts[k + 1]]
            frames.append(Detections(rows.boxes[these].astype(np.float32), rows.scores[these].astype(np.float32)))
        scenes.append(Scene(name, frames))
    return scenes


def people(count: int, seed: int = 7) -> tuple[list[NDArray[np.bool_]], NDArray[np.int64]]:
    """Masks as a decoder has them: `count` ellipses about 2.5 times as high as wide, cut out, and their corners."""
    rng = np.random.default_rng([seed, count, 2])
    crops, corners = [], []
    for _ in range(count):
        h = int(rng.uniform(150, 380))
        w = int(h * rng.uniform(0.3, 0.5))
        y, x = np.ogrid[:h, :w]
        crops.append((((y + 0.5) / h * 2 - 1) ** 2 + ((x + 0.5) / w * 2 - 1) ** 2) <= 1)
        corners.append((int(rng.uniform(0, WIDTH - w)), int(rng.uniform(0, HEIGHT - h))))
    return crops, np.array(corners, np.int64)


def moved(crops: list[NDArray[np.bool_]], corners: NDArray[np.int64], seed: int = 8) -> NDArray[np.int64]:
    """The corners one frame later: up to 12 px away, inside the frame."""
    steps = np.random.default_rng(seed).integers(-12, 13, corners.shape)
    room = np.array([(WIDTH - crop.shape[1], HEIGHT - crop.shape[0]) for crop in crops])
    return np.clip(corners + steps, 0, room)


def _shuffled(
    corner: NDArray[np.float64], extent: NDArray[np.float64], score: NDArray[np.float64], rng: np.random.Generator
) -> Detections:
    boxes = np.hstack([corner, corner + extent])
    order = rng.permutation(len(boxes))
    return Detections(boxes[order].astype(np.float32), np.clip(score, 0.01, 0.99)[order].astype(np.float32))
