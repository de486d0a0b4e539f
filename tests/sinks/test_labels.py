"""Labels: beside their boxes, in the picture, and over no other one where there is a free place."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.sinks.labels import place_labels

HIGH, SIZE = 18, (640, 480)


def overlap(a, b, widths, i, j):
    """Whether two labels share a square of four pixels."""
    (ax, ay), (bx, by) = a, b
    across = ax // 4 <= (bx + widths[j] - 1) // 4 and bx // 4 <= (ax + widths[i] - 1) // 4
    return across and ay // 4 <= (by + HIGH - 1) // 4 and by // 4 <= (ay + HIGH - 1) // 4


def choices(box, width):
    """The obvious twin: every corner that a label may have, the best first."""
    columns = [int(np.clip(x, 0, max(SIZE[0] - width, 0))) for x in (box[0], box[2] - width)]
    rows = [y for y in (box[1] - HIGH, box[3], box[1]) if 0 <= y <= SIZE[1] - HIGH]
    rows = rows or [int(np.clip(box[1], 0, SIZE[1] - HIGH))]
    return [(x, y) for y in rows for x in columns]


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((100, 100, 130, 200), (100, 82)),  # above
        ((100, 10, 130, 200), (100, 200)),  # no room above: below
        ((100, 10, 130, 470), (100, 10)),  # neither: inside
        ((620, 100, 640, 200), (560, 82)),  # pushed back into the picture
        ((-90, -90, -30, -20), (0, 0)),  # as near as it can be
        ((10**6, 10**6, 2 * 10**6, 2 * 10**6), (560, 462)),
    ],
)
def test_a_label_alone_is_beside_its_box(box, corner):
    assert place_labels([box], [80], HIGH, SIZE) == [corner]


def test_the_first_row_keeps_the_best_place():
    boxes = [(100, 100, 140, 200), (110, 105, 150, 205), (120, 110, 160, 210)]
    assert place_labels(boxes, [60] * 3, HIGH, SIZE) == [(100, 82), (110, 205), (120, 110)]


@pytest.mark.parametrize("seed", range(20))
def test_crowds_take_the_first_free_place(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(-20, (660, 500), (40, 2))
    boxes = np.hstack([corners, corners + rng.integers(5, 150, (40, 2))]).tolist()
    widths = rng.integers(20, 120, 40).tolist()
    placed = place_labels(boxes, widths, HIGH, SIZE)
    for i, (box, width) in enumerate(zip(boxes, widths)):
        possible = choices(box, width)
        free = [p for p in possible if not any(overlap(p, placed[j], widths, i, j) for j in range(i))]
        assert placed[i] == (free or possible)[0]
        assert 0 <= placed[i][0] <= SIZE[0] - width and 0 <= placed[i][1] <= SIZE[1] - HIGH


def test_tiny_pictures_and_no_labels():
    assert place_labels([], [], HIGH, SIZE) == []
    assert place_labels([(0, 0, 1, 1)], [50], HIGH, (3, 3)) == [(0, 0)]
