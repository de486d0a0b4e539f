"""Scores of tiny sequences: ours, peers where they are installed, and the files and flags around them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as command
from bench import competitors, peers, quality, report, result
from bench.result import BenchError
from tracker.evaluation.sequences import Span
from tracker.formats.mot import read_mot, write_row, write_truth_row

FRAMES = 24


def write_sequence(folder: Path, name: str, size: int = 4) -> None:
    """`size` people who walk in rows far from each other, and doubtful boxes on top of them, which are only noise."""
    rng = np.random.default_rng(len(name))
    truth, detections = [], []
    for frame in range(FRAMES):
        for k in range(size):
            x, y = 60.0 + 3 * frame, 40.0 + 110 * k
            truth.append(write_truth_row(frame, k + 1, (x, y, x + 40, y + 90), 1, 1, 1.0))
            if rng.random() < 0.9 or frame < 4:
                box = (np.array([x, y, x + 40, y + 90]) + rng.normal(0, 0.5, 4)).tolist()
                detections.append(write_row(frame, -1, box, 0.9))
        detections.append(
            write_row(frame, -1, (600.0 + 50 * (frame % 7), 300.0, 640.0 + 50 * (frame % 7), 390.0), 0.05)
        )
    (folder / "gt" / name / "gt").mkdir(parents=True)
    (folder / "det").mkdir(exist_ok=True)
    (folder / "gt" / name / "gt" / "gt.txt").write_text("".join(truth))
    ini = f"[Sequence]\nseqLength={FRAMES + 2}\nimWidth=800\nimHeight=500\n"
    (folder / "gt" / name / "seqinfo.ini").write_text(ini)
    (folder / "det" / f"{name}.txt").write_text("".join(detections))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    write_sequence(folder, "A")
    write_sequence(folder, "BB", size=3)
    return folder


def words(files: Path, *more: str) -> list[str]:
    return ["quality", "--detections", str(files / "det"), "--gt", str(files / "gt"), *more]


@pytest.fixture(scope="module")
def found(files: Path) -> dict:
    path = files / "all.json"
    assert command.main(words(files, "--peers", "--save", str(files / "tracks"), "-o", str(path))) == 0
    return result.read(path)


def test_every_system_that_needs_boxes_only_takes_part(found: dict) -> None:
    rows = {(row["competitor"], row["scene"]): row for row in found["rows"]}
    names = [f"trackstream {name}" for name in competitors.box_systems()]
    assert list(dict.fromkeys(name for name, _ in rows)) == names
    for name in names:
        one, other, whole = (rows[name, scene]["figures"] for scene in ("A", "BB", quality.COMBINED))
        assert tuple(whole) == quality.FIGURES and whole["IDSW"] == one["IDSW"] + other["IDSW"]
        for figure in ("MOTA", "DetA"):
            assert min(one[figure], other[figure]) <= whole[figure] <= max(one[figure], other[figure])
        assert whole["IDF1"] > 60 and whole["IDSW"] < 12, name
        assert rows[name, quality.COMBINED]["settings"] and rows[name, quality.COMBINED]["frames"] == 2 * (FRAMES + 2)


def test_scores_are_those_of_the_saved_tracks(found: dict, files: Path) -> None:
    from tracker.evaluation.datasets import COMBINED, evaluate

    for row in found["rows"]:
        if row["scene"] == quality.COMBINED:
            folder = files / "tracks" / f"{row['competitor']} 0.1".replace(" ", "-")
            *_, (_, report_of_all) = evaluate("mot17", files / "gt", folder)
            scores = report_of_all.scores["pedestrian"][COMBINED]
            assert abs(100 * scores["hota"].result()["HOTA"] - row["figures"]["HOTA"]) < 1e-4
            assert abs(100 * scores["identity"].result()["IDF1"] - row["figures"]["IDF1"]) < 1e-4
            assert scores["clear"].result()["IDSW"] == row["figures"]["IDSW"]


def test_a_half_is_scored_but_all_is_run(files: Path) -> None:
    (sequence,) = quality.find_sequences(files / "det", files / "gt", ["A"], Span("second"), "mot17")
    assert (sequence.begin, sequence.end) == (14, 26) and len(sequence.scene.frames) == FRAMES + 2
    assert (sequence.scene.width, sequence.scene.height) == (800, 500)
    sort = competitors.ours("sort")
    tracks = quality.follow(sort, sequence.scene)
    assert tracks.frames.min() < 4 and set(tracks.ids.tolist()) == set(range(1, tracks.ids.max() + 1))
    rows = quality.judge(sort, [sequence], {"A": tracks}, "mot17", "")
    early = tracks.frames < sequence.begin
    moved = np.where(early[:, None], tracks.boxes + 1000, tracks.boxes)
    wrong = quality.judge(sort, [sequence], {"A": quality.replace(tracks, boxes=moved)}, "mot17", "")
    assert early.any() and rows[0]["figures"] == wrong[0]["figures"], "what was before is not scored"
    assert rows[0]["frames"] == 12 and rows[0]["tracks_sha256"] != wrong[0]["tracks_sha256"]


def test_doubtful_rows_are_fed_from_the_least_score_on(files: Path) -> None:
    path = files / "scores.json"
    more = ("--peers", "--trackers", "sort", "--sequences", "A", "--min-score", "0.01", "0.1", "0.95")
    assert command.main(words(files, *more, "-o", str(path))) == 0
    rows = [row for row in result.read(path)["rows"] if row["scene"] == "A"]
    objects = {row["mode"]: row["objects"] for row in rows}
    assert objects["scores from 0.01"] > objects["scores from 0.1"] > objects["scores from 0.95"] == 0
    table = report.quality(result.read(path)["rows"])
    assert table.count("| trackstream sort |") == 6 and "HOTA of each sequence, scores from 0.95." in table


@pytest.mark.parametrize("package", peers.PEERS)
def test_a_peer_is_scored(package: str, files: Path) -> None:
    found, notes = peers.installed_peers([package])
    if not found:
        assert notes and all(note.startswith(f"{package} is ") for note in notes)
        pytest.skip(notes[0])
    sequences = quality.find_sequences(files / "det", files / "gt", None, Span(), "mot17")
    for peer in found:
        tracks = {each.scene.name: quality.follow(peer, each.scene) for each in sequences}
        whole = quality.judge(peer, sequences, tracks, "mot17", "")[-1]
        assert whole["figures"]["IDF1"] > 50 and whole["figures"]["DetA"] > 50, (peer.name, whole)
        assert json.loads(json.dumps(whole["settings"])) == whole["settings"] and len(whole["settings"]) > 2


def test_peers_are_read_by_their_own_rules() -> None:
    from types import SimpleNamespace as Some

    from bench.scenes import Scene

    scene = Scene("s", [], width=200, height=100)
    boxes = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3]])
    ids, places = peers.read_supervision(Some(tracker_id=np.array([-1, 4]), xyxy=boxes), (), scene)
    assert ids == [4] and places.tolist() == [[1, 1, 3, 3]]
    assert peers.read_supervision(Some(tracker_id=None, xyxy=boxes), (), scene) == ([], [])
    shares = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.5, 1.0]])
    ids, places = peers.read_edgefirst([None, Some(uuid="u")], (shares,), scene)
    assert ids == ["u"] and np.allclose(places, [[20, 20, 100, 100]])
    assert np.shape(peers.read_edgefirst([None, None], (shares,), scene)[1]) == (0, 4)
    box = Some(as_ltwh=lambda: Some(left=1.0, top=2.0, width=3.0, height=4.0))
    assert peers.read_similari([Some(id=7, predicted_bbox=box)], (), scene) == ([7], [(1.0, 2.0, 4.0, 6.0)])
    ids, places = peers.read_norfair([Some(id=7, estimate=np.array([[1.0, 2], [4, 6]]))], (), scene)
    assert ids == [7] and places.tolist() == [[1, 2, 4, 6]] and np.shape(peers.read_norfair([], (), scene)[1]) == (0, 4)
    ids, places = peers.read_boxmot(np.array([[1.0, 2, 4, 6, 9, 0.5, 0, 0]]), (), scene)
    assert ids == [9] and places.tolist() == [[1, 2, 4, 6]]


def test_one_file_against_one_file(files: Path) -> None:
    (sequence,) = quality.find_sequences(
        files / "det" / "A.txt", files / "gt" / "BB" / "gt" / "gt.txt", None, Span(), "mot17"
    )
    assert sequence.scene.name == "A" and len(np.unique(sequence.truth.ids)) == 3, "their names say nothing"


def test_errors_name_what_is_missing(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, text in (
        (("--trackers", "nothing"), "no system 'nothing'"),
        (("--peers", "nothing"), "no peer 'nothing'"),
        (("--sequences", "A", "C"), "ground truth of C"),
    ):
        assert command.main(words(files, *more, "-o", str(tmp_path / "x.json"))) == 2
        assert text in capsys.readouterr().err
    with pytest.raises(BenchError, match="no detections"):
        quality.find_sequences(tmp_path, files / "gt", None, Span(), "mot17")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [("sort", (62.68, 74.95, 70.17)), ("ocsort", (66.05, 75.19, 77.04)), ("bytetrack", (67.52, 77.57, 79.06))],
)
def test_the_authors_figures_come_out(name: str, expected: tuple[float, ...], shared: Path) -> None:
    """TrackEval on the tracks of the authors' own code, second halves of MOT17, YOLOX-X; see golden/README.md there."""
    data = shared / "data"
    sequences = quality.find_sequences(
        data / "detections/mot17_val_half", data / "gt/mot17_train", None, Span("second"), "mot17"
    )
    system = competitors.ours(name)
    fed = [quality.replace(each, scene=quality._above(each.scene, 0.1)) for each in sequences]
    found = {each.scene.name: quality.follow(system, each.scene) for each in fed}
    figures = quality.judge(system, fed, found, "mot17", "")[-1]["figures"]
    assert np.allclose([figures[name] for name in ("HOTA", "MOTA", "IDF1")], expected, rtol=0, atol=0.006)


def test_saved_tracks_can_be_read(found: dict, files: Path) -> None:
    rows = read_mot(files / "tracks" / "trackstream-sort-0.1" / "A.txt")
    assert len(rows) and rows.ids.min() == 1


def test_a_score_below_its_floor_fails(files: Path, found: dict, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {row["scene"]: row["figures"] for row in found["rows"] if row["competitor"] == "trackstream sort"}
    name = f'["{quality.COMBINED}, scores from 0.1, trackstream sort"]'
    given = words(files, "--peers", "--trackers", "sort", "--floors", str(files / "floors.toml"), "-o")

    def run(text: str) -> tuple[int, str]:
        (files / "floors.toml").write_text(text)
        return command.main([*given, str(files / "x.json")]), capsys.readouterr().err.splitlines()[-1]

    hota = figures[quality.COMBINED]["HOTA"]
    assert run(f"{name}\nHOTA = {hota - 0.01}\nMOTA = 1\n")[0] == 0
    assert "2 figures are not below floors.toml" in result.read(files / "x.json")["notes"]
    code, told = run(f"{name}\nHOTA = {hota + 0.01}\nMOTA = 1\n")
    assert code == 2 and "1 of 2 figures have fallen" in told and f"HOTA {hota:.2f} is below" in told
    for text, reason in (
        ('["COMBINED, scores from 0.1, trackstream ocsort"]\nHOTA = 1\n', "HOTA is missing"),
        ("", "expected floors in floors.toml, got none"),
        ("no toml", "expected floors as TOML"),
    ):
        code, told = run(text)
        assert code == 2 and reason in told


def test_the_recorded_floors_name_every_system_of_boxes() -> None:
    text = (Path(quality.__file__).parent / "floors.toml").read_text()
    assert all(f", trackstream {name}" in text for name in competitors.box_systems())
