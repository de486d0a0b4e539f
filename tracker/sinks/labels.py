"""Places of the labels in a picture: each beside its box, and none over another where there is room."""

from __future__ import annotations

from collections.abc import Sequence

Box = Sequence[int]

_CELL = 4
"""Pixels of a side of the squares in which is noted what is taken: small against a label, few in a picture."""


def place_labels(
    boxes: Sequence[Box], widths: Sequence[int], height: int, size: tuple[int, int]
) -> list[tuple[int, int]]:
    """Corners of labels of one height; earlier rows choose first.

    A label stands above its box, below it, or inside at the top, flush with the left or the right side: at the first of
    these places that is in the picture and free. Where none is free it takes the first one, over other labels.

    Args:
        boxes: (N, 4) xyxy, pixels; they may lie anywhere.
        widths: (N,) pixels of each label.
        height: pixels of all labels.
        size: width and height of the picture.

    Returns:
        (N,) left upper corners, in the picture wherever a label fits into it.
    """
    taken = [0] * (size[1] // _CELL + 1)  # rows of squares; bit k is square k

    def squares(x: int, y: int, width: int) -> tuple[range, int]:
        rows = range(y // _CELL, min((y + height - 1) // _CELL + 1, len(taken)))
        return rows, (1 << (x + width - 1) // _CELL + 1) - (1 << x // _CELL)

    def free(x: int, y: int, width: int) -> bool:
        rows, bits = squares(x, y, width)
        return not any(taken[row] & bits for row in rows)

    corners = []
    for box, width in zip(boxes, widths, strict=True):
        places = _places(box, width, height, size)
        x, y = next((place for place in places if free(*place, width)), places[0])
        rows, bits = squares(x, y, width)
        for row in rows:
            taken[row] |= bits
        corners.append((x, y))
    return corners


def _places(box: Box, width: int, height: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Where a box's label may stand, the best first; at least one place."""
    x0, y0, x1, y1 = box
    right, bottom = max(size[0] - width, 0), max(size[1] - height, 0)
    columns = [min(max(x, 0), right) for x in (x0, x1 - width)]
    rows = [y for y in (y0 - height, y1, y0) if 0 <= y <= bottom]
    return [(x, y) for y in rows or [min(max(y0, 0), bottom)] for x in columns]
