"""Where everything of a street stands: camera, strips of ground, houses, hedges, trees, posts, and the light.

World: u metres along the street to the right, v metres across it away from the camera, y metres up; the camera stands
at u = v = 0. Strips of ground lie at fixed v: near sidewalk, road, far sidewalk, verge, then the plane of the facades.
Pictures keep verticals vertical: the camera is turned about y only and the horizon is moved instead of pitching.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.sources.street.config import StreetConfig

Floats = NDArray[np.float64]

# Columns of `Layout.camera`
COS, SIN, FOCAL, CENTRE_X, HORIZON, CAMERA_Y, HAZE_M, HAZE_B, HAZE_G, HAZE_R, SUN_X, SUN = range(12)
# Columns of `Layout.strips`
NEAR, KERB, MIDDLE, FAR_KERB, VERGE, FACADE, ZEBRA, SLAB, GRASSY, PARKING = range(10)
NO_ZEBRA = 1e6

# sky above, sky at the horizon (both BGR), gain of the light per channel, strength of the sun
_LIGHTS = (
    ((226, 168, 96), (246, 232, 214), (0.98, 1.00, 1.03), 0.55),
    ((190, 142, 108), (160, 198, 246), (0.84, 0.95, 1.08), 0.65),
    ((206, 196, 186), (232, 228, 224), (1.00, 0.98, 0.96), 0.18),
    ((228, 190, 140), (228, 226, 244), (1.03, 1.00, 1.00), 0.42),
    ((168, 138, 104), (206, 198, 212), (1.00, 0.93, 0.92), 0.26),
)
# walls, BGR: brick, sand, cream, slate, sage, rose, ochre, white, sky
_WALLS = (
    (78, 96, 158), (148, 186, 214), (184, 212, 228), (138, 126, 118), (142, 166, 152),
    (158, 160, 206), (104, 160, 208), (216, 220, 222), (190, 172, 148), (92, 112, 138),
)  # fmt: skip
_AWNINGS = ((60, 60, 190), (70, 120, 60), (150, 90, 40), (60, 150, 220), (90, 60, 120), (110, 110, 40))


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A street without anybody in it.

    Attributes:
        camera: (12,) see the column names above.
        strips: (10,) v of the strips' ends in metres, u of the zebra crossing, and the paving.
        sky: (2, 3) BGR above and at the horizon.
        gain: (3,) BGR colour of the light.
        houses: (B, 22) from left to right: u0 u1 height, wall, trim, awning BGR, and eleven numbers of style.
        hedges: (G, 3) u0 u1 height.
        trees: (T, 5) u v height crown tone.
        posts: (P, 4) u v height kind (0 lamp, 1 sign, 2 bollard).
        bays: (K, 3) u v direction of parking bays.
        lanes: (L, 2) v and direction of traffic.
        salt: which grain textures have.
    """

    camera: Floats
    strips: Floats
    sky: Floats
    gain: Floats
    houses: Floats
    hedges: Floats
    trees: Floats
    posts: Floats
    bays: Floats
    lanes: Floats
    salt: int

    def view(self, v: float, extra: float = 0.0, wider: float = 1.0) -> tuple[float, float]:
        """Range of u that is seen: borders at v of a picture `wider` times the real one, plus `extra` metres."""
        c, s = self.camera[COS], self.camera[SIN]
        k = self.camera[CENTRE_X] / self.camera[FOCAL] * wider
        return v * (s - k * c) / (c + k * s) - extra, v * (s + k * c) / (c - k * s) + extra


def lay_out(config: StreetConfig) -> Layout:
    """The street of a config's seed; the same in every picture size of one aspect."""
    rng = np.random.Generator(np.random.PCG64([config.seed, 1]))
    width, height = config.size

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    sine = between(-0.34, 0.34)
    focal = max(width, height * 1.4) * between(0.82, 1.12)
    horizon, camera_y = height * between(0.24, 0.38), between(2.7, 5.0)
    above, low, gain, sun = _LIGHTS[int(rng.integers(len(_LIGHTS)))]
    sun_x = between(0.35, 0.9) * (1 if rng.random() < 0.5 else -1)
    camera = np.array(
        [math.sqrt(1 - sine * sine), sine, focal, width / 2, horizon, camera_y, between(110, 260), *low, sun_x, sun]
    )
    strips = _strips(rng, focal * camera_y / (height - horizon))
    layout = Layout(
        camera=camera, strips=strips, sky=np.array([above, low], float) * between(0.93, 1.04), gain=np.array(gain),
        houses=np.zeros((0, 22)), hedges=np.zeros((0, 3)), trees=np.zeros((0, 5)), posts=np.zeros((0, 4)),
        bays=np.zeros((0, 3)), lanes=_lanes(rng, strips), salt=int(rng.integers(1 << 20)),
    )  # fmt: skip
    left, right = layout.view(strips[MIDDLE])
    if rng.random() < 0.8:
        strips[ZEBRA] = left + (right - left) * between(0.2, 0.8)
    object.__setattr__(layout, "houses", _houses(rng, *layout.view(strips[FACADE], 10.0, 1.4)))
    object.__setattr__(layout, "hedges", _hedges(rng, *layout.view(strips[FACADE], 4.0, 1.4)))
    object.__setattr__(layout, "trees", _trees(rng, layout, config.occluders))
    object.__setattr__(layout, "posts", _posts(rng, layout, config.occluders))
    object.__setattr__(layout, "bays", _bays(rng, layout))
    return layout


def _strips(rng: np.random.Generator, bottom: float) -> Floats:
    """Ends of the strips; `bottom` is the depth at the picture's lower border."""
    r = rng.random(9)
    kerb = bottom * 0.98 + 2.6 + 2.2 * r[0]
    parking = 2.3 if r[1] < 0.7 else 0.0
    far_kerb = kerb + 6.4 + 1.2 * r[2] + parking
    verge = far_kerb + 2.8 + 2.0 * r[3]
    facade = verge + 1.0 + 3.2 * r[4]
    middle = kerb + (far_kerb - parking - kerb) / 2
    return np.array(
        [bottom * 0.9, kerb, middle, far_kerb, verge, facade, NO_ZEBRA, 0.5 + 0.9 * r[5], float(r[6] < 0.7), parking]
    )


def _lanes(rng: np.random.Generator, strips: Floats) -> Floats:
    half = (strips[MIDDLE] - strips[KERB]) / 2
    way = 1.0 if rng.random() < 0.7 else -1.0
    return np.array([[strips[MIDDLE] - half, way], [strips[MIDDLE] + half, -way]])


def _houses(rng: np.random.Generator, left: float, right: float) -> Floats:
    rows: list[list[float]] = []
    u = left - 8 * rng.random()
    storey_limit = 2 + int(rng.integers(4))
    before = -1
    while u < right:
        r = rng.random(16)
        wide = 6.0 + 8.0 * r[0]
        wall = int(r[1] * len(_WALLS))
        wall = (wall + 1) % len(_WALLS) if wall == before else wall
        before = wall
        tone = 0.86 + 0.24 * r[2]
        storey = 2.9 + 0.7 * r[3]
        high = 4.0 + storey * (1 + int(r[4] * storey_limit)) + 0.6
        if r[5] < 0.14 and rows:
            high = 0.0
        bays = max(2, int(wide / (1.7 + 1.5 * r[6])))
        trim = np.array([206, 212, 216]) if r[7] < 0.6 else np.array(_WALLS[wall]) * 0.55
        style = [
            wide / bays, storey, 0.36 + 0.24 * r[8], 0.45 + 0.2 * r[9], float(int(r[10] * 3)), float(r[11] < 0.65),
            float(int(r[12] * 1e6)), r[13], float(int(r[14] * bays)), 0.0,
        ]  # fmt: skip
        awning = np.array(_AWNINGS[int(r[15] * len(_AWNINGS))], float)
        rows.append([u, u + wide, high, *(np.array(_WALLS[wall]) * tone), *trim, *awning, *style])
        u += wide
    return np.array(rows)


def _hedges(rng: np.random.Generator, left: float, right: float) -> Floats:
    rows = []
    u = left
    while u < right:
        r = rng.random(3)
        if r[0] < 0.45:
            rows.append([u, u + 2 + 6 * r[1], 0.6 + 0.7 * r[2]])
        u += 3 + 8 * r[1]
    return np.array(rows).reshape(-1, 3)


def _spread(rng: np.random.Generator, layout: Layout, v: float, mean: float, apart: float) -> list[float]:
    """Places along the street that the camera sees, about `mean` of them, none within `apart` of another."""
    left, right = layout.view(v)
    places: list[float] = []
    for _ in range(int(mean + rng.random())):
        u = left + (right - left) * (0.04 + 0.92 * float(rng.random()))
        if all(abs(u - other) > apart for other in places) and abs(u - layout.strips[ZEBRA]) > 2.6:
            places.append(u)
    return places


def _trees(rng: np.random.Generator, layout: Layout, density: float) -> Floats:
    """Behind the far sidewalk for looks (always), at the far and the near kerb as occluders."""
    strips = layout.strips
    rows = []
    rows_of_trees = (
        (strips[VERGE] + 0.8, 2.6, 4.2, 3.4, 1.0),
        (strips[FAR_KERB] + 0.5, 1.8 * density, 3.4, 2.4, 1.0),
        (strips[KERB] - 0.5, 0.6 * density, 3.0, 1.2, 0.62),
    )
    for v, mean, high, spread, broad in rows_of_trees:
        for u in _spread(rng, layout, v, mean, 2.2):
            r = rng.random(3)
            rows.append([u, v, high + spread * r[0], broad * (0.30 + 0.14 * r[1]), r[2]])
    return np.array(rows).reshape(-1, 5)


def _posts(rng: np.random.Generator, layout: Layout, density: float) -> Floats:
    strips = layout.strips
    rows = []
    for v, mean in ((strips[FAR_KERB] + 0.35, 1.8), (strips[KERB] - 0.35, 1.3), (strips[NEAR] + 0.6, 0.4)):
        for u in _spread(rng, layout, v, mean * density, 1.2):
            r = rng.random(2)
            kind = int(r[0] * 3) if v > strips[NEAR] + 1 else 0
            rows.append([u, v, (5.2 + r[1], 2.3 + 0.5 * r[1], 0.95)[kind], float(kind)])
    return np.array(rows).reshape(-1, 4)


def _bays(rng: np.random.Generator, layout: Layout) -> Floats:
    strips = layout.strips
    if not strips[PARKING]:
        return np.zeros((0, 3))
    v = strips[FAR_KERB] - strips[PARKING] / 2 - 0.05
    left, right = layout.view(v, -1.5)
    rows = []
    for u in np.arange(left + 2 * rng.random(), right, 6.2).tolist():
        way = layout.lanes[1, 1] if rng.random() < 0.85 else -layout.lanes[1, 1]
        if abs(u - strips[ZEBRA]) > 5.0:
            rows.append([u + 0.4 * rng.random(), v + 0.1 * rng.random(), way])
    return np.array(rows).reshape(-1, 3)[rng.permutation(len(rows))]
