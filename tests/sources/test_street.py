"""The synthetic street: same bits for the same seed, truth that fits its pixels, lives that make sense."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tests.reference.street import cast_slowly, census_slowly, covered_slowly, develop_slowly
from tracker.errors import ConfigError, FrameError
from tracker.sources.street import STREET_CLASSES, Scene, Street, StreetConfig
from tracker.sources.street import paint as brush
from tracker.sources.street.world import DRIVER, WALKER, U, V
from tracker.types import Frame

PERSON, CAR = STREET_CLASSES.index("person"), STREET_CLASSES.index("car")
SMALL = (320, 180)
RECORDED = "a1d7ea9ea6df0300"


def same(a: Scene, b: Scene) -> bool:
    names = ("image", "ids", "classes", "object_ids", "labels", "boxes", "visibility")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


# ---------------------------------------------------------------- determinism
def test_any_order_gives_the_same_bits() -> None:
    options = {"seed": 3, "size": SMALL, "frames": 40, "shake": 3, "pan": 60, "blackout": 0.5, "light": 1}
    forward, backward = Street(**options), Street(**options)
    there = [forward.render(i) for i in range(0, 40, 3)]
    back = [backward.render(i) for i in reversed(range(0, 40, 3))][::-1]
    assert all(same(a, b) for a, b in zip(there, back, strict=True))
    assert same(forward.render(0), there[0])


def test_a_longer_video_has_the_same_beginning() -> None:
    options = {"seed": 5, "size": SMALL, "shake": 3, "pan": 50, "blackout": 0.8, "light": 1}
    short, long = (Street(frames=n, **options) for n in (12, 90))
    assert all(same(short.render(i), long.render(i)) for i in (0, 5, 11))


def test_bits_are_those_of_every_other_machine() -> None:
    """Recorded by this very line; a change of the street's look changes them, and the embedded model wants training."""
    scene = Street(seed=7, size=SMALL, frames=30).render(20)
    digest = hashlib.blake2b(digest_size=8)
    for array in (scene.image, scene.ids, scene.classes, scene.boxes, scene.visibility):
        digest.update(array.tobytes())
    assert digest.hexdigest() == RECORDED


def test_seeds_differ_in_layout_light_and_clothes() -> None:
    scenes = [Street(seed=s, size=SMALL, frames=1, noise=0, objects=8).render(0) for s in range(6)]
    for i, a in enumerate(scenes):
        for b in scenes[:i]:
            assert (np.abs(a.image.astype(int) - b.image) > 8).mean() > 0.5
            assert (a.classes != b.classes).mean() > 0.02


def test_a_render_is_not_touched_by_a_later_one() -> None:
    street = Street(seed=2, size=SMALL, frames=3)
    first = street.render(0)
    image, ids = first.image.copy(), first.ids.copy()
    first.image[:] = 0
    assert np.array_equal(street.render(0).image, image)
    assert np.array_equal(street.render(0).ids, ids)


# ---------------------------------------------------------------- truth
@pytest.mark.parametrize("seed", [1, 4, 9])
def test_truth_fits_its_pixels(seed: int) -> None:
    street = Street(seed=seed, size=SMALL, frames=60, objects=25, shake=2)
    for index in (0, 31, 59):
        scene = street.render(index)
        assert scene.image.shape == (180, 320, 3) and scene.image.dtype == np.uint8
        assert scene.ids.dtype == np.int32 and scene.classes.dtype == np.uint8
        assert scene.object_ids.tolist() == sorted(set(np.unique(scene.ids).tolist()) - {0})
        boxes, areas = census_slowly(scene.ids, scene.object_ids)
        assert np.array_equal(scene.boxes, boxes) and areas.min() > 0
        assert ((scene.visibility > 0) & (scene.visibility <= 1)).all()
        things = scene.classes >= PERSON
        assert np.array_equal(things, scene.ids > 0)
        assert scene.classes.max() < len(STREET_CLASSES)
        for ident, label in zip(scene.object_ids, scene.labels, strict=True):
            assert (scene.classes[scene.ids == ident] == label).all()


def test_every_class_is_in_the_picture_sometimes() -> None:
    seen = np.zeros(len(STREET_CLASSES), int)
    for seed in range(8):
        seen += np.bincount(Street(seed=seed, size=SMALL, frames=1).render(0).classes.ravel(), minlength=7) > 0
    assert seen.min() >= 3, dict(zip(STREET_CLASSES, seen.tolist(), strict=True))


def test_visibility_is_the_share_that_others_leave() -> None:
    street = Street(seed=6, size=SMALL, frames=30, objects=30, occluders=2)
    scene = street.render(10)
    assert scene.visibility.min() < 0.7, "a crowd of thirty without anybody hidden"
    assert scene.visibility.max() == 1.0
    # alone, an object covers what `visibility` divides by
    alone = int(np.argmin(scene.visibility))
    ident = int(scene.object_ids[alone])
    world = street.world
    world.hidden[:] = world.ids != ident
    street.layout.posts[:, 0] = 1e4
    street._backdrop.sprites.clear()
    whole = int((street.render(10).ids == ident).sum())
    visible = int((scene.ids == ident).sum())
    assert scene.visibility[alone] == np.float32(visible / whole)


def test_detections_carry_masks_and_ids() -> None:
    scene = Street(seed=4, size=SMALL, frames=5, objects=20).render(2)
    seen, ids = scene.detections()
    assert np.array_equal(ids, scene.object_ids) and np.array_equal(seen.boxes, scene.boxes)
    assert seen.masks is not None
    stack = seen.masks.to_dense()
    assert all(np.array_equal(stack[i], scene.ids == ident) for i, ident in enumerate(ids))
    large, large_ids = scene.detections(min_pixels=200)
    assert 0 < len(large) < len(seen) and set(large_ids) == {i for i in ids if (scene.ids == i).sum() >= 200}


# ---------------------------------------------------------------- lives
@pytest.fixture(scope="module")
def busy() -> Street:
    return Street(seed=11, size=SMALL, frames=900, objects=16, blackout=0.2)


def test_objects_keep_their_id_and_move_smoothly(busy: Street) -> None:
    world = busy.world
    for ident in np.unique(world.ids[world.ids > 0]).tolist():
        frames, slots = np.nonzero(world.ids == ident)
        assert len(set(slots.tolist())) == 1
        assert np.array_equal(frames, np.arange(frames[0], frames[-1] + 1)), "an id lives once, without a gap"
        pose = world.poses[frames, slots]
        step = np.abs(np.diff(pose[:, [U, V]], axis=0)).max(initial=0) * 30
        assert step < (4.0 if world.kinds[slots[0]] == WALKER else 10.0), "metres per second"
        turn = (pose[1:, 2:4] * pose[:-1, 2:4]).sum(1)
        assert turn.min(initial=1) > 0.9


def test_people_and_cars_enter_leave_turn_and_stop(busy: Street) -> None:
    world = busy.world
    first = set(world.ids[0].tolist())
    last = set(world.ids[-1].tolist())
    everybody = set(np.unique(world.ids).tolist()) - {0}
    assert len(everybody - first) > 10 and len(everybody - last) > 10
    walkers = world.kinds == WALKER
    heading, speed = world.poses[:, walkers, 2:4], world.poses[:, walkers, 4]
    alive = world.ids[:, walkers] > 0
    assert (np.abs(heading[..., 1])[alive] > 0.7).any(), "somebody walks across"
    assert ((speed < 0.05) & alive).any() and (speed > 1.0)[alive].any()
    cars = world.kinds == DRIVER
    pace = world.poses[:, cars, 4][world.ids[:, cars] > 0]
    assert pace.min() < 0.3 and pace.max() > 4


@pytest.mark.parametrize("kind", [WALKER, DRIVER])
def test_speed_is_a_factor_on_everybodys_speed(kind: int) -> None:
    def pace(speed: float) -> float:
        world = Street(seed=3, size=SMALL, frames=90, objects=20, speed=speed).world
        mine = world.kinds == kind
        return float(np.percentile(world.poses[:, mine, 4][world.ids[:, mine] > 0], 75))

    assert 1.6 < pace(2.0) / pace(1.0) < 2.4 and 0.4 < pace(0.5) / pace(1.0) < 0.6


def test_cars_of_a_lane_never_overlap(busy: Street) -> None:
    world = busy.world
    cars = np.flatnonzero(world.kinds == DRIVER)
    for i, a in enumerate(cars):
        for b in cars[:i]:
            both = (world.ids[:, a] > 0) & (world.ids[:, b] > 0)
            same_lane = np.abs(world.poses[:, a, V] - world.poses[:, b, V]) < 1
            gap = np.abs(world.poses[:, a, U] - world.poses[:, b, U])[both & same_lane]
            assert gap.min(initial=99) > 3.9


def test_crossing_makes_people_meet() -> None:
    def meetings(crossing: float) -> int:
        total = 0
        for seed in range(12):
            world = Street(seed=seed, size=SMALL, frames=240, objects=8, cars=0, crossing=crossing).world
            u, v, head = world.poses[..., U], world.poses[..., V], world.poses[..., 2]
            for i in range(8):
                for j in range(i):
                    alive = (world.ids[:, i] > 0) & (world.ids[:, j] > 0)
                    near = (np.abs(u[:, i] - u[:, j]) < 0.5) & (np.abs(v[:, i] - v[:, j]) < 1.0)
                    total += bool((alive & near & (head[:, i] * head[:, j] < -0.5)).any())
        return total

    assert meetings(1.0) > 1.5 * meetings(0.0)


def test_blackout_hides_for_three_to_twenty_five_frames(busy: Street) -> None:
    world = busy.world
    runs = []
    for slot in range(world.hidden.shape[1]):
        hidden = np.concatenate([[0], world.hidden[:, slot].astype(int), [0]])
        starts, ends = np.flatnonzero(np.diff(hidden) == 1), np.flatnonzero(np.diff(hidden) == -1)
        for start, end in zip(starts, ends, strict=True):
            cut = end == len(world.ids) or world.ids[end, slot] != world.ids[start, slot]
            runs.append(end - start)
            assert end - start <= 25 and (cut or end - start >= 3)
    assert len(runs) > 20
    frame, slot = (int(i) for i in np.argwhere(world.hidden & (world.kinds == WALKER))[0])
    ident = world.ids[frame, slot]
    assert ident not in busy.render(frame).object_ids and not (busy.render(frame).ids == ident).any()
    assert not Street(seed=11, size=SMALL, frames=900, objects=16).world.hidden.any()


# ---------------------------------------------------------------- options of the camera
def test_shake_and_pan_move_the_whole_picture() -> None:
    plain, shaken, panned = (
        Street(seed=1, size=SMALL, frames=90, noise=0, objects=0, **o) for o in ({}, {"shake": 4}, {"pan": 30})
    )
    assert np.array_equal(plain.render(0).image, plain.render(50).image)
    offsets = shaken._offsets
    assert 2 <= np.abs(offsets).max() <= 4 and len(np.unique(offsets, axis=0)) > 10
    x = panned._offsets[:, 0]
    assert np.ptp(x) > 20 and np.abs(np.diff(x)).max() <= 2 and not panned._offsets[:, 1].any()
    dx = int(x[60])
    a, b = plain.render(60).classes, panned.render(60).classes
    moved = a[:, max(0, -dx) : a.shape[1] - max(0, dx)]
    assert (moved == b[:, max(0, dx) : b.shape[1] + min(0, dx)]).mean() > 0.99


def test_noise_has_the_asked_strength_and_light_changes() -> None:
    clean, noisy = (Street(seed=1, size=SMALL, frames=200, objects=0, noise=n) for n in (0, 5))
    a, b = clean.render(0).image.astype(int), noisy.render(0).image.astype(int)
    middle = (a > 30) & (a < 220)
    assert abs((b - a)[middle].std() - 5) < 0.3 and abs((b - a)[middle].mean()) < 0.2
    assert not np.array_equal(noisy.render(1).image, noisy.render(0).image)
    dim = Street(seed=1, size=SMALL, frames=200, objects=0, noise=0, light=1)
    means = [dim.render(i).image.mean() for i in range(0, 200, 20)]
    assert max(means) - min(means) > 10


@pytest.mark.parametrize("size", [(97, 65), (64, 64), (65, 400), (1920, 1080)])
def test_any_size_works(size: tuple[int, int]) -> None:
    scene = Street(seed=8, size=size, frames=2, shake=5, pan=20).render(1)
    assert scene.image.shape == (size[1], size[0], 3)
    assert len(scene.boxes) == len(scene.object_ids)
    assert (scene.boxes >= 0).all() and (scene.boxes <= [*size, *size]).all()


def test_an_empty_street_has_no_objects() -> None:
    scene = Street(seed=8, size=SMALL, objects=0, frames=1).render(0)
    assert not scene.ids.any() and scene.boxes.shape == (0, 4) and scene.visibility.shape == (0,)
    assert scene.object_ids.dtype == np.int64 and scene.labels.dtype == np.int32
    seen, ids = scene.detections()
    assert len(seen) == 0 and len(ids) == 0


def test_a_full_street_works() -> None:
    street = Street(seed=8, size=SMALL, objects=200, frames=20)
    assert (street.world.ids[0] > 0).sum() > 150
    assert len(street.render(19).object_ids) > 40


@pytest.mark.parametrize("cars", [0, 1])
def test_share_of_cars(cars: int) -> None:
    scene = Street(seed=4, size=SMALL, objects=6, cars=cars, frames=1).render(0)
    labels = set(scene.labels.tolist())
    assert PERSON in labels if cars == 0 else CAR in labels
    assert cars or CAR not in labels


# ---------------------------------------------------------------- the source
def test_it_is_a_source() -> None:
    with Street(seed=2, size=(160, 90), frames=4, fps=25) as street:
        assert (street.fps, street.size, street.length, street.live, street.dropped) == (25.0, (160, 90), 4, False, 0)
        assert street.name == "street-2" and len(street) == 4
        frames = list(street)
        again = list(street)
    assert all(isinstance(f, Frame) for f in frames)
    assert [f.index for f in frames] == [0, 1, 2, 3]
    assert [f.time_s for f in frames] == [0, 0.04, 0.08, 0.12]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True))
    for index in (-1, 4):
        with pytest.raises(FrameError, match=r"expected a frame in 0\.\.3"):
            street.render(index)


@pytest.mark.parametrize(
    "options",
    [
        {"objects": 201}, {"objects": -1}, {"objects": 2.5}, {"objects": True}, {"size": (63, 64)}, {"size": 640},
        {"size": (640, 360.5)}, {"size": (8192, 8192)}, {"frames": 0}, {"fps": 0}, {"fps": float("nan")}, {"seed": -1},
        {"seed": "7"}, {"blackout": 1.5}, {"shake": -1}, {"pan": float("inf")}, {"noise": 51}, {"speed": 0},
        {"crossing": 2}, {"light": -0.1}, {"cars": 1.1}, {"occluders": 3}, {"colour": 1},
    ],
)  # fmt: skip
def test_a_bad_config_is_one_clear_line(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Street(**options)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("street: expected") and "got" in text


def test_config_or_options_but_not_both() -> None:
    assert Street(StreetConfig(seed=3)).config.seed == 3
    with pytest.raises(ConfigError, match="both"):
        Street(StreetConfig(), seed=3)


# ---------------------------------------------------------------- kernels against their slow twins
@pytest.mark.parametrize("seed", range(6))
def test_brush_covers_what_the_slow_twin_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = np.zeros((3, brush.WIDTH))
    grey = np.array([90.0, 120.0, 150.0])
    brush.capsule(parts[0], *rng.uniform(5, 55, 2), 5.0, *rng.uniform(5, 55, 2), 2.5, grey, 0.3)
    brush.ellipse(parts[1], *rng.uniform(0, 60, 2), 9.0, rng.uniform(-3, 3), rng.uniform(-3, 3), 5.0, grey, 0.2)
    brush.polygon(parts[2], 4, grey, 0.1)
    x, y = rng.uniform(-5, 40, 2)
    for k, (dx, dy) in enumerate([(0, 0), (17.3, 2), (14, 21), (-3.5, 18)]):
        brush.corner(parts[2], k, x + dx, y + dy)
    image, ids, classes = np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60), np.int32), np.zeros((60, 60), np.uint8)
    area = brush.paint(parts, 3, 4, 5, 0, 0.5, image, ids, classes)
    expected = covered_slowly(parts, 60, 60)
    assert np.array_equal(ids == 4, expected) and np.array_equal(classes == 5, expected)
    assert area == expected.sum()
    assert image[ids == 4].min() > 0


def test_census_equals_the_slow_twin() -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice(np.array([0, 0, 0, 2, 5, 9], np.int32), (40, 50)).astype(np.int32)
    ids[:, 30:] = 0
    owners = np.array([2, 5, 9], np.int64)
    boxes, areas = np.empty((3, 4), np.float32), np.zeros(3, np.int64)
    brush.census(ids, owners, boxes, areas)
    slow_boxes, slow_areas = census_slowly(ids, owners)
    assert np.array_equal(boxes, slow_boxes) and np.array_equal(areas, slow_areas)


@pytest.mark.parametrize("square", [0.0, 1.0])
def test_shadow_equals_the_slow_twin(square: float) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    classes = rng.integers(0, 4, (40, 50)).astype(np.uint8)
    row = np.array([22.3, 17.8, 14.0, 2.0, -3.0, 9.0, 0.6, square, 0.5])
    slow = image.copy()
    cast_slowly(row, 1, slow, classes)
    brush.cast(row[None], 1, 1, image, classes)
    # the powers of the twin round otherwise than products do
    assert np.abs(image.astype(int) - slow).max() <= 1


@pytest.mark.parametrize(("x", "y"), [(3, 4), (-2, -3), (17, 12), (90, 0)])
def test_stamp_hides_what_stands_behind(x: int, y: int) -> None:
    rng = np.random.default_rng(2)
    image, ids = rng.integers(0, 256, (16, 20, 3), np.uint8), rng.integers(0, 5, (16, 20)).astype(np.int32)
    classes = rng.integers(0, 7, (16, 20)).astype(np.uint8)
    colours, cover = rng.integers(0, 256, (6, 7, 3), np.uint8), rng.random((6, 7)) < 0.5
    slow = image.copy(), ids.copy(), classes.copy()
    for j, i in np.argwhere(cover).tolist():
        if 0 <= y + j < 16 and 0 <= x + i < 20:
            slow[0][y + j, x + i], slow[1][y + j, x + i], slow[2][y + j, x + i] = colours[j, i], 0, 3
    brush.stamp(x, y, colours, cover, 3, image, ids, classes)
    assert all(np.array_equal(a, b) for a, b in zip((image, ids, classes), slow, strict=True))


def test_develop_equals_the_slow_twin() -> None:
    rng = np.random.default_rng(3)
    image, tone = rng.integers(0, 256, (12, 9, 3), np.uint8), rng.integers(0, 256, (3, 256)).astype(np.uint8)
    noise, offsets = rng.integers(-60, 60, 200).astype(np.int8), rng.integers(0, 5000, 12)
    slow = develop_slowly(image, tone, noise, offsets)
    brush.develop(image, tone, noise, offsets)
    assert np.array_equal(image, slow)
