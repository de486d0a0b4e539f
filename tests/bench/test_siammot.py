"""`python -m bench siammot` on a toy set of graphs."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench import siammot
from tests.models.siammot_set import write_set
from tracker.errors import ModelError

STAGES = ("preprocess", "trunk", "proposals", "motion", "boxes", "template", "frame")


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    siammot.add_arguments(parser)
    return parser.parse_args(words)


def test_every_stage_is_timed_for_every_number_of_targets(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [[10, 10, 29, 39]])
    rows, notes = siammot.execute(options("--model", str(folder), "--targets", "0", "3", "--quick"))
    assert [row["competitor"] for row in rows] == [f"{stage} {count}" for count in (0, 3) for stage in STAGES]
    assert all(row["us"]["n"] == 2 and row["us"]["p50"] > 0 for row in rows) and notes
    assert rows[0]["scene"] == "128x64" and rows[0]["mode"] == "emm" and rows[0]["model"]


def test_other_networks_are_refused() -> None:
    with pytest.raises(ModelError, match="siammot"):
        siammot.execute(options("--model", "street", "--quick"))
