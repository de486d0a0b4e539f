"""A trial of `tracker tune`: on every dataset the score that `tracker eval` gives for the files of the same tracks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tracker.cli import main
from tracker.cli.course import Course, qualities
from tracker.errors import ConfigError, FormatError
from tracker.evaluation.datasets import COMBINED, DATASETS, evaluate
from tracker.evaluation.judges import JUDGES
from tracker.evaluation.sequences import Span
from tracker.formats import FORMATS, FrameObjects
from tracker.formats.class_set import ClassSet
from tracker.formats.frame_objects import PixelMap
from tracker.formats.recording import BareFrame, Header, Recorder
from tracker.masks import Masks
from tracker.sinks import SINKS, RunInfo
from tracker.systems import create
from tracker.types import Detections, Panoptic, Tracks

NAMES = ("road", "car", "person")
SIZE = HEIGHT, WIDTH = 90, 160
FRAMES, NAME = 12, "0002"
SETTINGS = {"match_iou": 0.2, "birth_score": 0.55}
OF_DATASET = {  # dataset -> (format of its truth, sink of its results, how exactly the files hold the tracks)
    "mot17": ("mot-gt", "mot", 2e-3), "mot16": ("mot-gt", "mot", 2e-3), "mot20": ("mot-gt", "mot", 2e-3),
    "mot15": ("mot", "mot", 2e-3), "kitti": ("kitti", "kitti", 1e-6), "kitti-mots": ("kitti-mots", "mots", 1e-12),
    "mots-challenge": ("mots-challenge", "mots-challenge", 1e-12), "kitti-step": ("kitti-step", "kitti-step", 1e-12),
    "mot-step": ("mot-step", "mot-step", 1e-12), "davis": ("davis", "davis", 1e-12),
    "youtube-vis": ("youtube-vis-gt", "youtube-vis", 1e-12),
}  # fmt: skip


def boxes_at(t: int) -> np.ndarray:
    """Three cars and two persons; two of them cross."""
    x = np.array([5 + 6 * t, 90 - 6 * t, 10 + 4 * t, 120 - 2 * t, 60], float)
    y = np.array([8, 14, 40, 44 + t, 52], float)
    return np.stack([x, y, x + 34, y + 28], 1).clip(0, [WIDTH, HEIGHT, WIDTH, HEIGHT])


LABELS = np.array([1, 1, 2, 2, 1])
MISSED = {3: 0, 4: 2, 7: 4, 8: 3}  # in frame 3 object 0 is not seen, ...


def paint(boxes: np.ndarray) -> np.ndarray:
    rows = np.zeros(SIZE, np.int32)
    for k, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        rows[y0:y1, x0:x1] = k + 1
    return rows


def truth_at(t: int) -> FrameObjects:
    rows = paint(boxes_at(t))
    classes = np.concatenate([[0], LABELS])[rows].astype(np.uint8)
    picture = PixelMap(classes, rows, ClassSet(NAMES, (1, 2)))
    names = [NAMES[label] for label in LABELS]
    masks = Masks.from_label_map(rows, len(LABELS))
    return FrameObjects.from_masks(t, np.arange(5) + 1, names, masks, pixels=picture, names_of_all=NAMES)


def seen_at(t: int, panoptic: bool) -> Detections:
    """The truth shifted, with a miss, a doubtful row and overlapping masks."""
    rng = np.random.default_rng(t)
    boxes = (boxes_at(t) + rng.integers(-2, 3, (5, 1))).clip(0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    keep = np.flatnonzero(np.arange(5) != MISSED.get(t, 5))
    boxes, labels, scores = boxes[keep], LABELS[keep], rng.uniform(0.4, 0.9, len(keep))
    if not panoptic:
        masks = Masks.from_dense([paint(boxes[k : k + 1]) for k in range(len(keep))])
        return Detections(boxes, scores, labels, masks)
    rows = paint(boxes)
    classes = np.concatenate([[0], labels])[rows].astype(np.uint8)
    masks = Masks.from_label_map(rows, len(keep))
    return Detections(masks.boxes, scores, labels, masks, panoptic=Panoptic(classes, rows))


def tracks_of(panoptic: bool) -> Iterator[tuple[BareFrame, Tracks]]:
    associator = create("sort", frame_rate=10.0, class_names=NAMES, **SETTINGS)
    for t in range(FRAMES):
        frame = BareFrame(t, t / 10, WIDTH, HEIGHT)
        yield frame, associator.update(seen_at(t, panoptic), frame)


def record(path: Path, *, panoptic: bool = True, masks: bool = True) -> Path:
    with Recorder(path, Header(fps=10.0, size=(WIDTH, HEIGHT), class_names=NAMES, masks=masks)) as recorder:
        for frame, tracks in tracks_of(panoptic):
            recorder.write(frame, tracks)
    return path


def write_truth(folder: Path, dataset: str) -> Path:
    row = FORMATS[OF_DATASET[dataset][0]]
    path = folder / "truth" / f"{NAME}{row.suffix}"
    path.parent.mkdir()
    writer = row.open(path)
    if dataset == "youtube-vis":
        writer.begin(NAME)  # type: ignore[attr-defined]
    for t in range(FRAMES):
        frame = truth_at(t)
        writer.write(frame.select(np.flatnonzero(LABELS == 2)) if dataset == "mot15" else frame)
    writer.close()
    return path if dataset == "youtube-vis" else path.parent


def write_results(folder: Path, dataset: str) -> Path:
    sink, suffix = SINKS[OF_DATASET[dataset][1]][0], FORMATS[OF_DATASET[dataset][0]].suffix
    path = folder / "results" / f"{NAME}{suffix}"
    info = RunInfo("street", 10.0, (WIDTH, HEIGHT), NAMES, "model", "sort")
    output = sink(path, info)
    for frame, tracks in tracks_of(panoptic=True):
        persons = tracks.select(tracks.labels == 2) if dataset.startswith("mot1") or dataset == "mot20" else tracks
        output.write(frame, persons)
    output.close()
    return path if dataset == "youtube-vis" else path.parent


def test_every_dataset_can_be_tuned_on() -> None:
    assert JUDGES.keys() == DATASETS.keys() == OF_DATASET.keys()


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_trial_scores_what_eval_says(dataset: str, tmp_path: Path) -> None:
    truth, results = write_truth(tmp_path, dataset), write_results(tmp_path, dataset)
    record(tmp_path / f"{NAME}.trk")
    columns = {column: home for name, (home, column) in qualities(dataset).items() if "." not in name}
    *_, (_, report) = evaluate(dataset, truth, results, dict.fromkeys(columns.values()))
    scored = 0
    for column, home in columns.items():
        values = [of_class[COMBINED][home].result()[column] for of_class in report.scores.values()]
        if np.isfinite(values).any():
            score = Course(dataset, truth, tmp_path, column, Span()).score("sort", **SETTINGS)
            assert score == pytest.approx(np.nanmean(values), abs=OF_DATASET[dataset][2]), column
            scored += 0 < score < 1
    assert scored >= 3


def test_masks_alone_are_painted_on_void(tmp_path: Path) -> None:
    """The picture of confirmed tracks, painted pixel by pixel, through the metric's own update."""
    from tracker.evaluation import Stq
    from tracker.formats.class_set import KITTI_STEP

    truth = write_truth(tmp_path, "kitti-step")
    record(tmp_path / f"{NAME}.trk", panoptic=False)
    expected = Stq(KITTI_STEP)
    for frame, tracks in tracks_of(panoptic=False):
        shown, true = tracks.confirmed, truth_at(frame.index).pixels
        classes, ids = np.full(SIZE, 255, np.uint8), np.zeros(SIZE, np.int32)
        for row in np.argsort(shown.scores, kind="stable"):
            mask = shown.masks.to_dense()[row]  # type: ignore[union-attr]
            classes[mask], ids[mask] = {1: 13, 2: 11}[int(shown.labels[row])], shown.ids[row]
        assert true is not None
        picture = true.as_set(KITTI_STEP)
        expected.update(picture.classes, picture.ids, classes, ids)
    for name in ("STQ", "AQ", "SQ"):
        score = Course("kitti-step", truth, tmp_path, name, Span()).score("sort", **SETTINGS)
        assert score == pytest.approx(expected.result()[name], abs=1e-12) and 0 < score < 1


def test_another_setting_is_another_score(tmp_path: Path) -> None:
    truth = write_truth(tmp_path, "kitti-step")
    record(tmp_path / f"{NAME}.trk")
    course = Course("kitti-step", truth, tmp_path, "AQ", Span())
    first = course.score("sort", **SETTINGS)
    assert course.score("sort", match_iou=0.2, birth_score=0.85) != first
    assert course.score("sort", **SETTINGS) == first


def test_kitti_detections_as_text(tmp_path: Path) -> None:
    truth = write_truth(tmp_path, "kitti")
    score = Course("kitti", truth, truth, "MOTA", Span()).score("sort", confirm_hits=1)
    assert score == pytest.approx(1.0)  # its own labels as detections


def test_metrics_of_a_dataset() -> None:
    assert [next(iter(qualities(name))) for name in ("mot17", "kitti-mots", "kitti-step", "youtube-vis")] == [
        "HOTA", "HOTA", "STQ", "AP",
    ]  # fmt: skip
    assert qualities("kitti-mots")["sMOTSA"] == ("mots", "sMOTSA")
    assert qualities("kitti-mots")["mots-strict.sMOTSA"] == ("mots-strict", "sMOTSA")
    assert "IDSW" not in qualities("mot17") and "STQ" not in qualities("mot17")
    with pytest.raises(ConfigError, match="no metric 'IDSW' to be greatest on mot17; there are HOTA"):
        Course("mot17", Path(), Path(), "IDSW", Span())


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    truth = write_truth(tmp_path, "kitti-step")
    record(tmp_path / f"{NAME}.trk", masks=False)
    with pytest.raises(FormatError, match="holds no masks, but kitti-step is about masks"):
        Course("kitti-step", truth, tmp_path, "STQ", Span())
    with Recorder(tmp_path / f"{NAME}.trk", Header(class_names=("cat",), masks=True)):
        pass
    with pytest.raises(FormatError, match="names no class that kitti-step has"):
        Course("kitti-step", truth, tmp_path, "STQ", Span())
    with Recorder(tmp_path / f"{NAME}.trk", Header(class_names=NAMES, masks=True)) as recorder:
        small = Detections([[0, 0, 5, 5]], [0.9], [1], Masks.from_dense(np.ones((1, 5, 5), bool)))  # type: ignore[arg-type]
        recorder.write(BareFrame(0, 0.0, 5, 5), create("sort").update(small))
    with pytest.raises(FormatError, match="expected masks of 90 x 160 pixels as in the ground truth of frame 0"):
        Course("kitti-step", truth, tmp_path, "STQ", Span())


def test_a_search_for_stq(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    truth = write_truth(tmp_path, "kitti-step")
    record(tmp_path / f"{NAME}.trk")
    flags = "--gt", str(truth), "--detections", str(tmp_path), "--study", str(tmp_path / "tune.db")
    search = ["tune", *flags, "--format", "kitti-step", "--tracker", "step-b1", "--trials"]
    assert main([*search, "2"]) == 0
    assert main([*search, "3"]) == 0
    out = capsys.readouterr().out
    assert "after 2 trials of `tracker tune` on kitti-step" in out and "# STQ" in out and "after 3 trials" in out
