"""The synthetic street as a source of frames with exact truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import ConfigError, FrameError
from tracker.masks import Masks
from tracker.sources.street.backdrop import Backdrop, paint_backdrop
from tracker.sources.street.car import pose_car, shade_car
from tracker.sources.street.classes import BUILDING, CAR, PERSON, SIDEWALK
from tracker.sources.street.config import StreetConfig
from tracker.sources.street.furniture import pose_post
from tracker.sources.street.layout import COS, SIN, SUN, SUN_X, Layout, lay_out
from tracker.sources.street.looks import look_of
from tracker.sources.street.paint import WIDTH, cast, census, develop, paint, stamp
from tracker.sources.street.walker import pose_walker, shade_walker
from tracker.sources.street.world import WALKER, U, V, World, live
from tracker.types import Detections, Frame

_NOISE_RING = 1 << 16
_MAX_PARTS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One rendered picture and its truth. Row i of the arrays is object i; rows ascend by id.

    Attributes:
        index: frame number.
        time_s: frame number / fps.
        image: (H, W, 3) uint8 BGR.
        ids: (H, W) int32, the object that each pixel shows, 0 for stuff.
        classes: (H, W) uint8 index into STREET_CLASSES.
        object_ids: (N,) int64 ids of all objects with at least one visible pixel; they keep it for life, from 1.
        labels: (N,) int32 index into STREET_CLASSES: person or car.
        boxes: (N, 4) float32 xyxy, half-open, tight around the visible pixels.
        visibility: (N,) float32 in (0, 1]: visible pixels / pixels that the object covers inside the picture.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]
    ids: NDArray[np.int32]
    classes: NDArray[np.uint8]
    object_ids: NDArray[np.int64]
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32]
    visibility: NDArray[np.float32]

    @property
    def frame(self) -> Frame:
        """The picture alone, as the engine takes it."""
        return Frame(self.index, self.time_s, self.image)

    def detections(self, min_pixels: int = 1) -> tuple[Detections, NDArray[np.int64]]:
        """What a perfect network would see, with masks and score 1, and the true id of each row.

        Args:
            min_pixels: objects with fewer visible pixels are left out.
        """
        row_of = np.zeros(int(self.object_ids.max(initial=0)) + 1, np.int32)
        row_of[self.object_ids] = np.arange(1, len(self.object_ids) + 1)
        masks = Masks.from_label_map(row_of[self.ids], len(self.object_ids))
        seen = Detections(self.boxes, np.ones(len(self.boxes), np.float32), self.labels, masks)
        keep = masks.areas >= min_pixels
        return seen.select(keep), self.object_ids[keep]


class Street:
    """A street with people and cars, rendered; also a `Source`: iterating gives its frames in order.

    `render(i)` depends on the config and i alone: any order, any number of threads, the same bits on every machine.
    The first access lays out the street (0.3 s for 960x540, after some seconds of compilation once per installation).

    Args:
        config: what to show; or nothing, and its fields as keyword arguments.

    Raises:
        ConfigError: a field that makes no sense or does not exist.
    """

    live = False
    dropped = 0

    def __init__(self, config: StreetConfig | None = None, **options: Any) -> None:
        known = StreetConfig.__dataclass_fields__
        for name in options:
            if name not in known:
                raise ConfigError(f"street: expected one of {', '.join(known)}, got {name!r}")
        if config is not None and options:
            raise ConfigError(f"street: expected a config or keyword options, got both ({', '.join(options)})")
        self.config = config if config is not None else StreetConfig(**options)
        self.name = f"street-{self.config.seed}"
        self.fps: float | None = float(self.config.fps)
        self.size: tuple[int, int] | None = self.config.size
        self.length: int | None = self.config.frames

    # ------------------------------------------------------------------ the Source protocol
    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.config.frames):
            yield self.render(index).frame

    def __enter__(self) -> Street:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open; the street can be rendered again afterwards."""

    # ------------------------------------------------------------------ what is simulated once
    @cached_property
    def layout(self) -> Layout:
        """Ground, houses, trees and light."""
        return lay_out(self.config)

    @cached_property
    def world(self) -> World:
        """Where everybody is in every frame."""
        return live(self.config, self.layout)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return _camera_motion(self.config)

    @cached_property
    def _backdrop(self) -> Backdrop:
        margin = np.abs(self._offsets).max(axis=0)
        return paint_backdrop(self.layout, self.config.size, (int(margin[0]), int(margin[1])))

    @cached_property
    def _looks(self) -> list[NDArray[np.float64]]:
        world = self.world
        cars = world.kinds[world.slots] != WALKER if len(world.kinds) else np.zeros(1, bool)
        return [look_of(self.config.seed, i, int(world.types[i]), bool(cars[i])) for i in range(len(world.types))]

    @cached_property
    def _noise(self) -> NDArray[np.int8]:
        rng = np.random.Generator(np.random.PCG64([self.config.seed, 5]))
        size = _NOISE_RING + 3 * self.config.size[0]
        bell = rng.integers(0, 256, (size, 4), np.uint8).sum(axis=1, dtype=np.int64) - 510  # variance 4 * 65535 / 12
        noise: NDArray[np.int8] = np.clip(np.floor(bell * (self.config.noise / 147.8) + 0.5), -127, 127).astype(np.int8)
        return noise

    # ------------------------------------------------------------------ pictures
    def render(self, index: int) -> Scene:
        """Frame `index` with its truth.

        Raises:
            FrameError: no such frame.
        """
        config = self.config
        if not 0 <= index < config.frames:
            raise FrameError(f"expected a frame in 0..{config.frames - 1} of {self.name}, got {index}")
        width, height = config.size
        back = self._backdrop
        shift = self._offsets[index]
        x, y = back.margin[0] - int(shift[0]), back.margin[1] - int(shift[1])
        image = back.image[y : y + height, x : x + width].copy()
        classes = back.classes[y : y + height, x : x + width].copy()
        ids = np.zeros((height, width), np.int32)
        here = np.flatnonzero((self.world.ids[index] > 0) & ~self.world.hidden[index])
        self._cast_shadows(index, here, shift, image, classes)
        full = self._paint_all(index, here, shift, image, ids, classes)
        self._develop(index, image)
        owners = np.sort(self.world.ids[index, here]).astype(np.int64)
        boxes = np.empty((len(owners), 4), np.float32)
        areas = np.zeros(len(owners), np.int64)
        if len(owners):
            census(ids, owners, boxes, areas)
        seen = areas > 0
        owners = owners[seen]
        whole = np.array([full[i] for i in owners.tolist()], np.float64)
        walker = self.world.kinds[self.world.slots[owners]] == WALKER if len(owners) else np.zeros(0, bool)
        return Scene(
            index=index, time_s=index / config.fps, image=image, ids=ids, classes=classes, object_ids=owners,
            labels=np.where(walker, PERSON, CAR).astype(np.int32), boxes=boxes[seen],
            visibility=(areas[seen] / whole).astype(np.float32),
        )  # fmt: skip

    def _cast_shadows(
        self, index: int, here: NDArray[np.int64], shift: NDArray[np.int64], image: NDArray[np.uint8],
        classes: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        world, camera = self.world, self.layout.camera
        rows = np.zeros((2 * len(here), 9))
        for k, slot in enumerate(here.tolist()):
            look = self._looks[world.ids[index, slot]]
            car = bool(world.kinds[slot] != WALKER)
            strength = 0.10 + 0.45 * float(camera[SUN])
            pose = world.poses[index, slot].astype(np.float64)
            shade = shade_car if car else shade_walker
            shade(look, pose, camera, int(shift[0]), int(shift[1]), strength, rows[2 * k : 2 * k + 2])
        cast(rows, len(rows), SIDEWALK, image, classes)

    def _paint_all(
        self, index: int, here: NDArray[np.int64], shift: NDArray[np.int64], image: NDArray[np.uint8],
        ids: NDArray[np.int32], classes: NDArray[np.uint8],
    ) -> dict[int, int]:  # fmt: skip
        """Painter's order, farthest first; returns how many pixels each object covers inside the picture."""
        world, layout = self.world, self.layout
        camera, posts = layout.camera, layout.posts
        sun = float(camera[SUN_X] * (0.4 + camera[SUN]))
        poses = world.poses[index, here].astype(np.float64)
        depths = np.concatenate(
            [
                poses[:, U] * camera[SIN] + poses[:, V] * camera[COS],
                posts[:, 0] * camera[SIN] + posts[:, 1] * camera[COS],
                [sprite.depth for sprite in self._backdrop.sprites],
            ]
        )
        parts = np.zeros((_MAX_PARTS, WIDTH))
        full: dict[int, int] = {}
        x, y = int(shift[0]), int(shift[1])
        for k in np.argsort(-depths, kind="stable").tolist():
            if k < len(here):
                owner = int(world.ids[index, here[k]])
                car = world.kinds[here[k]] != WALKER
                pose = pose_car if car else pose_walker
                count = pose(self._looks[owner], poses[k], camera, x, y, parts)
                full[owner] = paint(parts, count, owner, CAR if car else PERSON, owner, sun, image, ids, classes)
            elif k < len(here) + len(posts):
                count = pose_post(posts[k - len(here)], camera, x, y, parts)
                paint(parts, count, 0, BUILDING, layout.salt, sun, image, ids, classes)
            else:
                sprite = self._backdrop.sprites[k - len(here) - len(posts)]
                stamp(x + sprite.x, y + sprite.y, sprite.colours, sprite.cover, sprite.label, image, ids, classes)
        return full

    def _develop(self, index: int, image: NDArray[np.uint8]) -> None:
        """Colour of the light, its slow change, contrast, and the sensor's noise."""
        config = self.config
        turn = index / config.fps / 9.0 + config.seed % 7 / 7
        wave = 1.0 - 4.0 * abs(turn - np.floor(turn) - 0.5)  # -1..1, a triangle
        grey = np.arange(256) / 255.0
        curve = grey * (0.90 + 0.30 * grey * (1.0 - grey) + 0.10 * grey)  # soft contrast
        gain = self.layout.gain * (1.0 + 0.30 * config.light * wave)
        tone = np.clip(curve[None, :] * gain[:, None] * 255.0 + 0.5, 0, 255).astype(np.uint8)
        rng = np.random.Generator(np.random.PCG64([config.seed, 6, index]))
        offsets = rng.integers(0, _NOISE_RING, image.shape[0])
        develop(image, tone, self._noise, offsets)


def _camera_motion(config: StreetConfig) -> NDArray[np.int64]:
    """(F, 2) whole pixels by which the picture is shifted: smooth pan to and fro, and shake."""
    rng = np.random.Generator(np.random.PCG64([config.seed, 7]))
    time_s = np.arange(config.frames) / config.fps
    reach = config.pan_reach
    period_s = 8.0 * reach / config.pan if config.pan else 1.0
    turn = time_s / period_s
    x = 2.0 * (turn - np.floor(turn + 0.5))
    x = reach * 4.0 * x * (1.0 - np.abs(x))  # parabolas: steepest at 0, where dx/dt is 8 reach / period
    knots = rng.random((int(time_s[-1] * 8) + 3, 2)) * 2 - 1
    at = time_s * 8
    low = at.astype(np.int64)
    part = (at - low)[:, None]
    part = part * part * (3 - 2 * part)
    jitter = np.random.Generator(np.random.PCG64([config.seed, 9])).random((config.frames, 2)) * 2 - 1
    shake = (knots[low] * (1 - part) + knots[low + 1] * part) * 0.8 + jitter * 0.2
    offsets: NDArray[np.int64] = np.floor(np.column_stack([x, np.zeros(config.frames)]) + shake * config.shake + 0.5)
    return offsets.astype(np.int64)
