"""Scores that may not fall: a regression gate for `quality`.

A floor file is TOML, one table per row of the result, `["SCENE, MODE, COMPETITOR"]`, with the least value of a figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.result import BenchError, Row

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def check_floors(rows: list[Row], path: Path) -> int:
    """Compare rows with recorded floors.

    Returns:
        How many figures were compared; rows without floors are not.

    Raises:
        BenchError: a figure is below its floor, a row or figure with a floor is missing, or the file has none.
    """
    found = {f"{row['scene']}, {row['mode']}, {row['competitor']}": row["figures"] for row in rows}
    try:
        floors = tomllib.loads(path.read_text("utf-8"))
    except ValueError as reason:
        raise BenchError(f"expected floors as TOML in {path.name}: {reason}") from None
    fallen, count = [], 0
    for name, least in floors.items():
        for figure, floor in least.items():
            count += 1
            got = found.get(name, {}).get(figure)
            if got is None:
                fallen.append(f"{name}: {figure} is missing")
            elif not got >= floor:
                fallen.append(f"{name}: {figure} {got:.2f} is below {floor:g}")
    if fallen:
        raise BenchError(f"{len(fallen)} of {count} figures have fallen: {'; '.join(fallen)}")
    if not count:
        raise BenchError(f"expected floors in {path.name}, got none")
    return count
