"""Trackers on a synthetic street as if it were a video with its truth, and the rows that they are."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import __main__ as command
from bench import quality, result, videos
from bench.variants import MASKED, PLAIN, Variant, looks_variants, motion_variants, relinking, step_variants
from tests.models.followers import colour_network
from tests.models.test_reid import network as reid_network
from tracker.association import Tracker
from tracker.evaluation.datasets import COMBINED, evaluate
from tracker.formats.mot import MotRows, write_truth_row
from tracker.models import open_model
from tracker.sources.street import STREET_CLASSES, Street
from tracker.systems import plan
from tracker.types import Detections, Frame

FRAMES = 24
STREET = f"synth:street?seed=104&objects=6&size=480x270&frames={FRAMES}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The street's people as ground truth, and networks beside the detector."""
    folder = tmp_path_factory.mktemp("videos")
    street = Street(seed=104, objects=6, size=(480, 270), frames=FRAMES)
    lines = []
    for index in range(FRAMES):
        seen, ids = street.render(index).detections(40)
        people = np.flatnonzero(seen.labels == STREET_CLASSES.index("person"))
        lines += [write_truth_row(index, int(ids[k]), seen.boxes[k].tolist(), 1, 1, 1.0) for k in people]
    (folder / "gt.txt").write_text("".join(lines))
    return {
        "truth": str(folder / "gt.txt"),
        "reid": str(reid_network(folder / "reid.onnx")),
        "motion": str(colour_network(folder)),
        "folder": str(folder),
    }


def run(files: dict[str, str], name: str, *words: str) -> dict[str, Any]:
    path = Path(files["folder"], name)
    assert command.main(["videos", "--source", STREET, "--model", "street", *words, "-o", str(path)]) == 0
    return result.read(path)


@pytest.fixture(scope="module")
def found(files: dict[str, str]) -> dict[str, Any]:
    """All three tables."""
    words = ("--truth", files["truth"], "--reid", files["reid"], "--motion-model", files["motion"], "--every", "1", "3")
    return run(files, "all.json", *words)


def rows_of(found: dict[str, Any], table: str) -> dict[str, dict[str, Any]]:
    return {row["competitor"]: row for row in found["rows"] if row["mode"] == f"{table}, street"}


def test_all_variants_are_scored(found: dict[str, Any]) -> None:
    motion = motion_variants(["NanoTrack"], [1, 3])
    for table, variants in (("step", step_variants(0.3)), ("looks", looks_variants(0.3)), ("motion", motion)):
        rows = rows_of(found, table)
        assert list(rows) == [variant.name for variant in variants]
        assert len({variant.name for variant in variants}) == len(variants)
        for row in rows.values():
            assert row["frames"] == FRAMES and len(row["tracks_sha256"]) == 64 and row["scene"] == "synth:street"
            assert list(row["figures"]) == ["ids", "length", "fragments", "HOTA", "MOTA", "IDF1", "AssA", "IDSW"]
    assert rows_of(found, "step")["bytetrack"]["figures"]["MOTA"] > 40, "a network that knows the street"
    assert rows_of(found, "step")["step-b1"]["figures"]["MOTA"] > 40
    digests = {row["tracks_sha256"] for row in found["rows"] if row["competitor"] in ("bytetrack", "Kalman, every 1")}
    assert len(digests) == 1, "the same detections and tracker in each table"


def test_a_second_run_gives_the_same_tracks(found: dict[str, Any], files: dict[str, str]) -> None:
    again = run(files, "again.json", "--truth", files["truth"], "--tables", "step", "motion", "--every", "3")
    for row in again["rows"]:
        assert row == rows_of(found, row["mode"].split(",")[0])[row["competitor"]]


def test_fewer_detections_and_learned_motion_change_tracks(found: dict[str, Any]) -> None:
    motion = rows_of(found, "motion")
    assert len({row["tracks_sha256"] for row in motion.values()}) == 4


def test_each_kind_of_crops_is_described_once_a_frame() -> None:
    calls: list[tuple[int, bool]] = []

    class Spy:
        def describe(self, frame: Frame, found: Detections, *, masked: bool) -> Detections:
            calls.append((frame.index, masked))
            return replace(found, embeddings=np.ones((len(found), 2)))

    model = open_model("street")
    networks = videos.Networks(Spy(), {})  # type: ignore[arg-type]
    runs = videos.follow(STREET, model, networks, looks_variants(0.3), judged=True, most=3)
    assert len(runs) == len(looks_variants(0.3))
    assert sorted(calls) == [(index, masked) for index in range(3) for masked in (False, True)]


def test_scores_are_those_of_the_tracks_as_a_file(files: dict[str, str], tmp_path: Path) -> None:
    model = open_model("street")
    variant = Variant("step", "bytetrack", plan("bytetrack"))
    (done,) = videos.follow(STREET, model, videos.Networks(None, {}), [variant], judged=True, most=None)
    (tmp_path / "results").mkdir()
    quality.save(tmp_path / "results" / "street.txt", done.tracks())
    truth = Path(files["truth"])
    *_, (_, report) = evaluate("mot15", truth, tmp_path / "results" / "street.txt")
    scores = {k: v for each in report.scores["pedestrian"][COMBINED].values() for k, v in each.result().items()}
    figures = done.row("street", videos.read_mot(truth))["figures"]
    for name in ("HOTA", "MOTA", "IDF1", "AssA"):
        assert abs(figures[name] - 100 * scores[name]) <= 0.051, name
    assert figures["IDSW"] == scores["IDSW"]


def test_without_a_truth_everything_is_followed_and_counted(found: dict[str, Any], files: dict[str, str]) -> None:
    free = run(files, "free.json", "--frames", "12", "--tables", "step", "looks")
    assert {row["mode"] for row in free["rows"]} == {"step, street"}, "looks are people's"
    assert all(list(row["figures"]) == ["ids", "length", "fragments"] for row in free["rows"])
    assert all(row["frames"] == 12 for row in free["rows"])
    people, all_classes = (rows_of(each, "step")["step-b1"]["figures"]["ids"] for each in (found, free))
    assert all_classes > 0 and people > 0
    assert any("no --reid" in note for note in free["notes"])
    assert "synth:street is not in table looks: no --truth of people" in free["notes"]


def test_tracks_are_counted() -> None:
    frames, ids = np.array([0, 1, 2, 0, 2, 5]), np.array([1, 1, 1, 4, 4, 4])
    rows = MotRows(frames, ids, np.zeros((6, 4)), np.ones(6), np.full((6, 3), np.nan))
    shuffled = np.array([3, 0, 5, 2, 1, 4])
    mixed = MotRows(frames[shuffled], ids[shuffled], rows.boxes, rows.scores, rows.rest)
    assert videos.count(rows) == videos.count(mixed) == {"ids": 2, "length": 3.0, "fragments": 2}
    none = MotRows(frames[:0], ids[:0], rows.boxes[:0], rows.scores[:0], rows.rest[:0])
    assert videos.count(none) == {"ids": 0, "length": 0.0, "fragments": 0}


def test_windows_are_the_systems_own() -> None:
    rows = {variant.name: variant for variant in looks_variants(0.3)}
    for crops in (PLAIN, MASKED):
        assert rows[f"motsnet, window 12, {crops}"].plan == plan("motsnet", min_score=0.3)
        reach = [rows[f"motsnet, window {n}, {crops}"].plan.max_coast_frames for n in (1, 12, 30)]
        assert reach == [0, 11, 29]
    assert {row.name for row in rows.values() if row.needs_masks} == {name for name in rows if MASKED in name}


def look(x: float, vector: tuple[float, float]) -> Detections:
    return Detections([[x, 50, x + 40, 150]], [0.9], embeddings=[vector])


@pytest.mark.parametrize(("vector", "known"), [((1.0, 0.1), True), ((0.0, 1.0), False)])
def test_relinked_tracks_come_back_by_their_looks(vector: tuple[float, float], known: bool) -> None:
    ids = {}
    for name, chosen in (("bytetrack", plan("bytetrack")), ("relinking", relinking(plan("bytetrack")))):
        tracker = Tracker(chosen)
        for frame in range(10):
            first = tracker.update(look(10.0 + frame, (1.0, 0.0))).confirmed.ids.tolist()
        for _ in range(60):
            tracker.update(Detections.empty())
        for frame in range(5):
            last = tracker.update(look(400.0 + frame, vector)).confirmed.ids.tolist()
        ids[name] = first == last
    assert ids == {"bytetrack": False, "relinking": known}


def test_scenes_have_names() -> None:
    assert videos.scene_of("data/TUD-Campus/img1") == "TUD-Campus"
    assert videos.scene_of("data/vtest.avi") == "vtest.avi" and videos.scene_of(STREET) == "synth:street"


def test_tables_have_videos_across() -> None:
    def row(scene: str, name: str, **scores: float) -> result.Row:
        figures = {"ids": 7, "length": 20.5, "fragments": 1, **scores}
        return {"mode": "step, yolo", "scene": scene, "competitor": name, "frames": 1200, "figures": figures}

    scores = {"HOTA": 50.2, "MOTA": 60.0, "IDF1": 70.0, "AssA": 1.0, "IDSW": 3}
    text = videos.tabulate([row("a", "b1", **scores), row("a", "b3", **scores), row("b", "b1"), row("b", "b3")])
    assert "Table `step`, detections of yolo" in text
    assert "|  | a, 1,200 frames | b, 1,200 frames |" in text
    assert "| b3 | 50.2 / 70.0 / 3, 7 x 20.5 | 7 x 20.5 |" in text


def test_what_cannot_be_run_is_refused(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    base = ["videos", "--source", STREET, "--model", "street", "-o", str(Path(files["folder"], "x.json"))]
    for words, reason in (
        (["--truth", files["truth"], files["truth"]], "a source for each of 2 truths"),
        (["--tables", "looks"], "needs a --truth"),
        (["--reid", "street"], "street"),
        (["--motion-model", files["motion"], files["motion"]], "different kinds"),
    ):
        assert command.main([*base, *words]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("error: ") and reason in told, told


def test_a_detector_of_boxes_has_no_masks() -> None:
    class Boxes:
        gives: frozenset[str] = frozenset()

        class session:
            path = Path("boxes.onnx")

    given = argparse.Namespace(min_score=0.3, every=[1], tables=["step"])
    chosen, notes = videos.choose(given, Boxes, videos.Networks(None, {}))  # type: ignore[arg-type]
    assert [each.name for each in chosen] == ["bytetrack", "step-b2"] and len(notes) == 2
    assert notes[0] == "step-b1 is left out: boxes.onnx gives no masks"
