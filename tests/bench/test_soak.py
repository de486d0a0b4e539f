"""The soak of the whole engine: what it measures, and that the engine passes it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import report, soak


def test_a_short_soak_of_the_engine(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    assert command.main(["soak", "--trackers", "--engine", "1000", "--block", "50", "-o", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    figures = row["figures"]
    assert figures["frames"] == 1000 and figures["reported_tracks"] > 5 and figures["written_mb"] > 0.1
    assert figures["open_files_growth"] == 0 and figures["threads_growth"] == 0 and figures["open_files"] > 4
    documented = set(re.findall(r"`(\w+)`", (Path(report.__file__).parent / "README.md").read_text()))
    assert {*row, *figures} <= documented
    assert "| trackstream engine bytetrack | 1,000 |" in report.soak([row])


def test_growth_and_drift_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = soak.Meter(1000, 10)
    memory, clock = iter(range(10**6, 10**9, 70)), iter(range(10**9))
    monkeypatch.setattr(soak, "resident_bytes", lambda: next(memory))
    monkeypatch.setattr(soak.time, "process_time_ns", lambda: (k := next(clock)) * k)
    meter.start()
    for _ in range(meter.blocks):
        meter.end_block()
    figures = meter.figures()
    assert figures["bytes_per_frame"] == pytest.approx(7 * 80 / 80, rel=0.2) and figures["drift_percent"] > 400
    with pytest.raises(soak.BenchError, match="20 blocks"):
        soak.Meter(100, 10)


@pytest.mark.slow
def test_ten_minutes_of_the_engine_stay_flat() -> None:
    """18,000 frames; `python -m bench soak --engine 108000` runs an hour's worth, and says whether it gets slower."""
    figures = soak.soak_engine(18_000, 500)["figures"]
    assert figures["open_files_growth"] == 0 and figures["threads_growth"] == 0
    assert figures["bytes_per_frame"] < 200, "3 MB: allocators breathe"
