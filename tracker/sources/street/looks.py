"""What people wear and what colour cars have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.sources.street import paint, rig
from tracker.sources.street.walker import COAT
from tracker.sources.street.world import CAR_TYPES

# all BGR
_SKINS = ((150, 182, 224), (126, 160, 206), (92, 128, 178), (62, 92, 140), (46, 66, 102), (164, 196, 234))
_HAIRS = ((32, 36, 44), (40, 54, 78), (60, 92, 134), (112, 168, 206), (146, 150, 154), (38, 58, 116), (24, 24, 28))
_CLOTHES = (
    (60, 58, 196), (188, 96, 48), (92, 148, 58), (66, 178, 232), (214, 218, 222), (52, 50, 56), (166, 88, 148),
    (150, 158, 60), (80, 128, 224), (176, 156, 190), (106, 84, 62), (120, 176, 196), (198, 172, 120), (74, 66, 132),
    (60, 108, 76), (150, 200, 150),
)  # fmt: skip
_LEGS = (
    (112, 78, 54),
    (70, 56, 44),
    (44, 44, 48),
    (108, 118, 128),
    (120, 150, 176),
    (62, 80, 98),
    (140, 116, 92),
    (70, 84, 70),
)
_SHOES = ((40, 42, 48), (210, 214, 218), (50, 70, 110), (90, 84, 80))
_BAGS = ((44, 60, 92), (52, 48, 150), (60, 60, 64), (150, 110, 60), (80, 140, 190), (190, 196, 204))
_PAINTS = (
    (44, 40, 176), (156, 84, 36), (206, 208, 212), (62, 58, 56), (168, 164, 158), (44, 126, 190), (96, 118, 58),
    (198, 170, 110),     (52, 52, 96), (226, 228, 230), (120, 80, 60), (74, 176, 220),
)  # fmt: skip
_PRINTS = (paint.PLAIN, paint.PLAIN, paint.PLAIN, paint.STRIPES, paint.BARS, paint.CHECKS, paint.DOTS, paint.BLOCKS)


def look_of(seed: int, ident: int, car_type: int, car: bool) -> NDArray[np.float64]:
    """The look of object `ident` of a street: (LOOK,) as `rig` names its columns.

    One person in six wears what somebody else on this street wears too.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 3, ident]))
    return _car(rng, car_type) if car else _walker(seed, rng)


def _pick(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...], spread: float) -> NDArray[np.float64]:
    colour = np.array(colours[int(rng.integers(len(colours)))], float)
    return np.asarray(np.clip(colour * (1 + spread * (2 * rng.random(3) - 1)), 12, 245))


def _walker(seed: int, rng: np.random.Generator) -> NDArray[np.float64]:
    look = np.zeros(rig.LOOK)
    child = rng.random() < 0.08
    look[rig.TALL] = (1.05 + 0.35 * rng.random()) if child else (1.55 + 0.36 * rng.random())
    look[rig.STOUT] = 0.88 + 0.34 * rng.random()
    look[rig.SKIN : rig.SKIN + 3] = _pick(rng, _SKINS, 0.04)
    look[rig.HAIR : rig.HAIR + 3] = _pick(rng, _HAIRS, 0.1)
    twin = rng.random() < 1 / 6
    clothes = np.random.Generator(np.random.PCG64([seed, 4])) if twin else rng
    look[rig.SHIRT : rig.SHIRT + 3] = _pick(clothes, _CLOTHES, 0.1)
    look[rig.INK : rig.INK + 3] = _pick(clothes, _CLOTHES, 0.1)
    look[rig.LEGS : rig.LEGS + 3] = _pick(clothes, _LEGS, 0.12)
    look[rig.SHOES : rig.SHOES + 3] = _pick(clothes, _SHOES, 0.1)
    look[rig.EXTRA : rig.EXTRA + 3] = _pick(clothes, _BAGS, 0.1)
    look[rig.PRINT] = _PRINTS[int(clothes.integers(len(_PRINTS)))]
    look[rig.PRINT_M] = 0.11 + 0.12 * clothes.random()
    look[rig.STYLE] = (0, 0, 0, 1, 2, 3)[int(clothes.integers(6))]
    look[rig.BAG] = (0, 0, 0, 1, 2, 3)[int(rng.integers(6))]
    look[rig.HAT] = float(rng.random() < 0.15)
    look[rig.SLEEVE] = float(clothes.random() < 0.4 and look[rig.STYLE] != COAT)
    return look


def _car(rng: np.random.Generator, car_type: int) -> NDArray[np.float64]:
    look = np.zeros(rig.LOOK)
    look[rig.LENGTH : rig.LENGTH + 6] = CAR_TYPES[car_type]
    look[rig.HIGH] *= 0.97 + 0.06 * rng.random()
    look[rig.PAINT : rig.PAINT + 3] = _pick(rng, _PAINTS, 0.08)
    look[rig.RIM : rig.RIM + 3] = 150 + 60 * rng.random()
    return look
