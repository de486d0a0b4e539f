"""What can be asked of the synthetic street."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real

from tracker.errors import ConfigError

_MAX_PIXELS = 1 << 25


@dataclass(frozen=True, slots=True)
class StreetConfig:
    """Everything that decides a street; the same config gives the same bits on every machine.

    Attributes:
        seed: which street: camera, houses, light, clothes and everybody's plans, 0 .. 2^63 - 1.
        objects: people and cars that are alive at a time, 0..200. Who leaves is replaced a little later.
        size: (width, height) in pixels, each at least 64.
        frames: length of the video, 1..36000.
        fps: frames per second, 1..240; frame i is seen at i / fps seconds.
        cars: share of the objects that are cars, 0..1; no more than the road can hold.
        speed: factor on everybody's speed, 0.1..5.
        crossing: share of the people who walk head-on into somebody else's line, so that one hides the other, 0..1.
        occluders: density of trees, lamp posts and signs in front of the people, 0..2; 0 for none.
        blackout: probability per object and second that it vanishes from the picture for 3 to 25 frames, 0..1.
        shake: amplitude of the camera's shake in pixels, 0..64.
        pan: greatest speed of a slow pan to and fro, in pixels per second, 0..400.
        light: depth of a slow change of light, 0..1.
        noise: standard deviation of the sensor's noise in grey levels, 0..50.
    """

    seed: int = 7
    objects: int = 12
    size: tuple[int, int] = (960, 540)
    frames: int = 300
    fps: float = 30.0
    cars: float = 0.3
    speed: float = 1.0
    crossing: float = 0.35
    occluders: float = 1.0
    blackout: float = 0.0
    shake: float = 0.0
    pan: float = 0.0
    light: float = 0.0
    noise: float = 2.0

    def __post_init__(self) -> None:
        size = self.size
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise ConfigError(f"street: expected size as (width, height), got {size!r}")
        for side in size:
            _check("size", side, 64, 8192, whole=True)
        if size[0] * size[1] > _MAX_PIXELS:
            raise ConfigError(f"street: expected a size of at most {_MAX_PIXELS} pixels, got {size[0]}x{size[1]}")
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))
        for f in fields(self):
            if f.name != "size":
                low, high = _RANGES[f.name]
                _check(f.name, getattr(self, f.name), low, high, whole=f.name in _WHOLE)

    @property
    def pan_reach(self) -> float:
        """Pixels that a pan goes to either side."""
        return min(self.size[0] / 6, 2.0 * self.pan)


_WHOLE = ("seed", "objects", "frames")
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, (1 << 63) - 1),
    "objects": (0, 200),
    "frames": (1, 36000),
    "fps": (1, 240),
    "cars": (0, 1),
    "speed": (0.1, 5),
    "crossing": (0, 1),
    "occluders": (0, 2),
    "blackout": (0, 1),
    "shake": (0, 64),
    "pan": (0, 400),
    "light": (0, 1),
    "noise": (0, 50),
}


def _check(name: str, value: object, low: float, high: float, *, whole: bool) -> None:
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"street: expected {name} to be {what} in {low:g}..{high:g}, got {value!r}")
