import numpy as np
import pytest

from tests.reference import regions as slow
from tracker.errors import FrameError
from tracker.models.siammot.regions import by_level, choose_proposals, levels_of, search_regions, suppress_inclusive
from tracker.models.siammot.resampling import resize_triangle


def some_boxes(seed, count, size=300):
    rng = np.random.default_rng(seed)
    near = rng.integers(-40, size, (count, 2))
    return np.concatenate([near, near + rng.integers(0, 120, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_iou", [0.25, 0.5, 0.75])  # exact in float32, so that ties at the limit are ties
def test_suppression_equals_the_slow_twin(seed, max_iou):
    boxes = some_boxes(seed, 120)
    scores = np.round(np.random.default_rng(seed).random(120), 1).astype(np.float32)
    for limit in (1000, 7, 0):
        found = suppress_inclusive(boxes, scores, np.float32(max_iou), limit)
        assert found.tolist() == slow.suppress_inclusive(boxes.tolist(), scores, max_iou, limit)


def test_an_overlap_of_exactly_the_limit_is_dropped():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 4]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert suppress_inclusive(boxes, scores, np.float32(0.5), 9).tolist() == [0]
    assert suppress_inclusive(boxes, scores, np.float32(0.51), 9).tolist() == [0, 1]


def test_suppression_equals_the_authors_operator(shared):
    data = np.load(shared / "golden" / "siammot" / "roialign_nms.npz")
    for tenths in (5, 7):
        kept = suppress_inclusive(data["nms_boxes"], data["nms_scores"], np.float32(tenths / 10), 1000)
        assert sorted(kept) == data[f"nms_keep_{tenths}"].tolist()


def test_levels():
    boxes = np.concatenate([some_boxes(0, 200, 900), some_boxes(1, 100) * 6, [[5, 5, 3, 9], [0, 0, 223, 223]]])
    levels = levels_of(boxes.astype(np.float32))
    assert levels.tolist() == [slow.level_of(box) for box in boxes]
    assert set(levels) == {0, 1, 2, 3}
    assert levels[-1] == 2  # 224 px a side is P4


def test_sorting_by_level_can_be_undone():
    boxes = some_boxes(3, 50)
    levels = np.random.default_rng(0).integers(0, 3, 50)  # nobody is at P5
    regions = by_level(boxes, levels)
    assert [len(part) for part in regions.rois] == [*np.bincount(levels), 0]
    np.testing.assert_array_equal(np.concatenate(regions.rois)[regions.order], boxes)
    none = by_level(boxes[:0], levels[:0])
    assert [part.shape for part in none.rois] == [(0, 4)] * 4
    assert len(none.order) == 0


def test_search_regions_by_hand():
    found = search_regions(np.array([[10, 20, 19, 24]], np.float32), 2.0)
    np.testing.assert_array_equal(found, [[5, 17.5, 24, 26.5]])  # 10 wide: 5 more on each side


def test_proposals_are_the_best_of_all_levels():
    boxes = np.concatenate([some_boxes(5, 60), some_boxes(5, 60)])  # suppression stays within a level
    scores = np.random.default_rng(5).random(120).astype(np.float32)
    found, values = choose_proposals(boxes, scores, (60, 60, 0), 0.7, 20)
    rows = [*slow.suppress_inclusive(boxes[:60], scores[:60], np.float32(0.7), 20)]
    rows += [60 + i for i in slow.suppress_inclusive(boxes[60:], scores[60:], np.float32(0.7), 20)]
    rows = sorted(rows, key=lambda i: -scores[i])[:20]
    np.testing.assert_array_equal(found, boxes[rows])
    np.testing.assert_array_equal(values, scores[rows])
    nothing, _ = choose_proposals(boxes[:0], scores[:0], (0, 0), 0.7, 20)
    assert nothing.shape == (0, 4)


@pytest.mark.parametrize("size", [(20, 11), (37, 29), (64, 48), (50, 40), (3, 1)])
def test_resizing_equals_the_slow_twin(size):
    image = np.random.default_rng(0).integers(0, 256, (29, 50, 3), np.uint8)
    difference = np.abs(resize_triangle(image, size).astype(int) - slow.resize_triangle(image, size))
    assert difference.max() <= 1  # a mean that lies half way between two grey levels
    assert (difference > 0).mean() < 1e-2


def test_resizing_equals_pillow(shared):
    data = np.load(shared / "golden" / "siammot" / "resize_pil.npz")
    for size in ((224, 128), (448, 256)):
        np.testing.assert_array_equal(resize_triangle(data["image"], size), data[f"pil_{size[0]}x{size[1]}"])


def test_bad_images_are_refused():
    for image in (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(FrameError, match="uint8"):
            resize_triangle(image, (8, 8))
