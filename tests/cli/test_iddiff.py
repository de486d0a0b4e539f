"""Two results: the same but for names, or where they part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sinks.scenes import COASTING, CONFIRMED, frame, tracks
from tracker.cli import main
from tracker.cli.comparison import Objects, compare, read_result
from tracker.formats.mot import write_row
from tracker.formats.recording import Header, Recorder
from tracker.sinks import SINKS, RunInfo

Rows = dict[int, list[tuple[int, float]]]  # frame -> (id, x) of 10-pixel boxes


def objects(rows: Rows) -> dict[int, Objects]:
    return {
        n: Objects(
            np.array([track for track, _ in row], np.int64),
            np.array([[x, 0, x + 10, 10] for _, x in row], np.float64).reshape(-1, 4),
        )
        for n, row in rows.items()
    }


def differ(a: Rows, b: Rows, **options: float):
    return compare(objects(a), objects(b), **options)


def test_names_and_rows_in_another_order_are_the_same() -> None:
    a = {0: [(1, 0), (2, 50)], 1: [(1, 1), (2, 51), (3, 90)], 4: [(3, 91)]}
    b = {0: [(7, 50), (9, 0)], 1: [(4, 90), (9, 1), (7, 51)], 2: [], 4: [(4, 91)]}
    found = differ(a, b)
    assert found.same and found.frames == (3, 3) and found.ids == (3, 3) and found.boxes == (6, 6)
    assert (found.frames_apart, found.largest_shift_px) == (0, 0)


def test_a_switch_is_found_where_it_happens() -> None:
    a = {n: [(1, 0), (2, 50)] for n in range(10)}
    b = {n: [(1, 0), (2, 50)] if n < 6 else [(2, 0), (1, 50)] for n in range(10)}
    found = differ(a, b)
    assert not found.same and [(e.frame, e.kind, e.a, e.b, e.expected) for e in found.first] == [
        (6, "id", 1, 2, (1, 2)),
        (6, "id", 2, 1, (2, 1)),
    ]
    assert (found.other_id, found.switches, found.frames_apart, found.only_a, found.only_b) == (8, 2, 4, 0, 0)


def test_a_broken_track_is_an_id_that_is_new() -> None:
    found = differ({n: [(1, n)] for n in range(5)}, {n: [(1 if n < 3 else 8, n)] for n in range(5)})
    assert [(e.frame, e.kind, e.a, e.b, e.expected, e.box[0]) for e in found.first] == [(3, "id", 1, 8, (1, None), 3)]
    assert (found.other_id, found.switches) == (2, 1)


def test_two_objects_may_not_share_a_name() -> None:
    found = differ({0: [(1, 0)], 1: [(2, 50)]}, {0: [(1, 0)], 1: [(1, 50)]})
    assert [(e.frame, e.kind, e.a, e.b, e.expected) for e in found.first] == [(1, "id", 2, 1, (None, 1))]


def test_objects_on_one_side_only() -> None:
    found = differ({0: [(1, 0)], 1: [(1, 0), (2, 50)], 3: [(2, 50)]}, {0: [(1, 0)], 1: [(1, 0)], 2: [(3, 90)]})
    assert [(e.frame, e.kind, e.a, e.b, e.box[0]) for e in found.first] == [(1, "only a", 2, None, 50)]
    assert (found.only_a, found.only_b, found.frames_apart) == (2, 1, 3)


def test_boxes_that_moved() -> None:
    a, b = {0: [(1, 0)], 1: [(1, 0)]}, {0: [(1, 0.25)], 1: [(1, 3)]}
    assert differ(a, b).same and differ(a, b).largest_shift_px == 3
    found = differ(a, b, max_shift_px=0.5)
    assert [(e.frame, e.kind) for e in found.first] == [(1, "shift")] and found.shifted == 1 and found.other_id == 0
    assert not differ({0: [(1, 0)]}, {0: [(1, 6)]}).same  # less than half in common: another object


def test_twins_on_top_of_each_other_keep_their_names() -> None:
    a = {0: [(1, 0), (2, 50)], 1: [(1, 20), (2, 20)]}
    for rows in ([(1, 20), (2, 20)], [(2, 20), (1, 20)]):
        assert differ(a, {0: [(2, 50), (1, 0)], 1: rows}).same


def test_nothing_is_the_same_as_nothing() -> None:
    assert differ({}, {}).same and differ({}, {3: []}).same and not differ({}, {3: [(1, 0)]}).same


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_any_renaming_is_found_and_any_change_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = {
        n: [(int(t), float(30 * t + rng.uniform(0, 9))) for t in rng.permutation(8)[: rng.integers(1, 9)]]
        for n in range(12)
    }
    name = dict(zip(range(8), rng.choice(1000, 8, replace=False).tolist(), strict=True))
    b = {n: [(name[t], x) for t, x in rng.permutation(np.array(rows, object)).tolist()] for n, rows in a.items()}
    assert differ(a, b).same and differ(b, a).same
    counts = {t: sum(t == u for rows in a.values() for u, _ in rows) for t in name}
    n = int(rng.integers(12))
    k = int(rng.integers(len(b[n])))
    old = b[n][k][0]
    if counts[next(t for t in name if name[t] == old)] < 2:
        return  # an id that is seen once may be called anything
    b[n][k] = (5000, b[n][k][1])
    found = differ(a, b)
    assert not found.same and found.first[0].frame >= n and differ(b, a).other_id == found.other_id > 0


# ---------------------------------------------------------------------- files


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Path]:
    """One run in all forms, with an empty frame, a coasting track and boxes that are no round numbers."""
    info = RunInfo("clip.mp4", 25.0, (64, 48), ("person", "car"), "net.onnx", "sort")
    sinks = {name: SINKS[name][0](tmp_path / SINKS[name][1], info) for name in ("mot", "mots", "jsonl")}
    recorder = Recorder(tmp_path / "run.trk", Header())
    for n in range(6):
        rows = [(1, CONFIRMED, (4 + n, 5, 20 + n, 40), 0.9, 0), (5, CONFIRMED, (30, 5, 50, 41), 0.8, 1)]
        scene = tracks([] if n == 3 else [*rows, (6, COASTING, (2, 2, 9, 9), 0.5, 0)])
        for sink in (*sinks.values(), recorder):
            sink.write(frame(n), scene)
    for sink in (*sinks.values(), recorder):
        sink.close()
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("a", ["run.trk", "tracks.txt", "masks.txt", "tracks.jsonl"])
@pytest.mark.parametrize("b", ["run.trk", "tracks.txt", "masks.txt", "tracks.jsonl"])
def test_every_form_of_a_run_agrees_with_every_other(
    results: dict[str, Path], a: str, b: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["iddiff", str(results[a]), str(results[b]), "--max-shift", "0.02"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"a: 5 frames, 2 ids, 10 boxes  {results[a]}"
    assert printed[2].startswith("same ids, up to their names; boxes of one object are at most")
    assert {n for n, found in read_result(str(results[a])).items() if len(found.ids)} == {0, 1, 2, 4, 5}


def test_where_two_files_part(results: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = results["tracks.txt"].read_text()
    other = tmp_path / "other.txt"
    other.write_text(text.replace("\n5,1,", "\n5,9,") + write_row(5, 12, (1, 1, 5, 5), 0.5))
    assert main(["iddiff", str(results["run.trk"]), str(other)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].startswith(
        "they differ from frame 4 on, in 2 frames: 1 boxes have another id (1 switches), 0 are only in a, 1 only in b"
    )
    assert printed[3:] == ["  frame 4: a's 1 is b's 9 at 8.0 5.0 24.0 40.0, but a's 1 was b's 1 so far"]
    assert main(["iddiff", str(other), str(results["run.trk"]), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["same"] and found["first"][0]["frame"] == 4 and found["first"][0]["kind"] == "id"
    assert found["only_a"] == 1 and found["ids"] == [4, 2]


def test_an_object_that_is_not_there(
    results: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.txt"
    lines = results["tracks.txt"].read_text().splitlines(keepends=True)
    other.write_text("".join(line for line in lines if not line.startswith("6,5,")))
    assert main(["iddiff", str(results["tracks.jsonl"]), str(other)]) == 1
    assert "  frame 5: a's 5 at 30.0 5.0 50.0 41.0 is not in b (there it was 5 so far)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        ("hello", "line 1: expected 6 to 10 columns"),
        ("1,-1,3,4,5,6,0.9\n", "detections without ids"),
        ('{"schema": "trackstream.tracks/1"}\n{"frame": 0, "tracks": [{"id": 1}]}\n', "line 2: not a line of tracks"),
        ('{"schema": "trackstream.tracks/1"}\n{"frame": 0, "tra', "line 2: not a line of tracks"),
        ("0 1 2 48 64 ???\n", "line 1"),
    ],
)
def test_files_that_are_no_results(
    results: dict[str, Path], tmp_path: Path, content: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    if content is not None:
        other.write_text(content)
    assert main(["iddiff", str(results["tracks.txt"]), str(other)]) == 2
    printed = capsys.readouterr()
    assert words in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""


def test_the_first_other_id_is_told_even_where_objects_were_missing_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {n: [(1, 2, 3), (2, 50 + n, 3)] for n in range(6)}
    for name, skipped, other in (("a", -1, 1), ("b", 2, 8)):
        (tmp_path / name).write_text(
            "".join(
                write_row(n, other if n > 3 and track == 1 else track, (x, y, x + 9, y + 20), 0.5)
                for n, row in rows.items()
                for track, x, y in row
                if (n, track) != (skipped, 2)
            )
        )
    assert main(["iddiff", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert capsys.readouterr().out.splitlines()[3:] == [
        "  frame 2: a's 2 at 52.0 3.0 61.0 23.0 is not in b (there it was 2 so far)",
        "the first other id:",
        "  frame 4: a's 1 is b's 8 at 2.0 3.0 11.0 23.0, but a's 1 was b's 1 so far",
    ]


def test_an_empty_result_is_a_result(results: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    assert main(["iddiff", str(tmp_path / "empty.txt"), str(tmp_path / "empty.txt")]) == 0
    assert main(["iddiff", str(tmp_path / "empty.txt"), str(results["tracks.txt"])]) == 1
