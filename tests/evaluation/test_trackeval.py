"""TrackEval itself as the oracle, where it is installed (extra `eval`), and how much faster the kernels are."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation import scenes
from tests.reference import evaluation as reference
from tracker.evaluation import Clear, Hota, Identity, Objects, Overlaps, compare_boxes
from tracker.evaluation.kitti_rules import compare_kitti
from tracker.evaluation.sequences import Sequence, Span

pytest.importorskip("trackeval", exc_type=ImportError)

NAMES = ("HOTA", "CLEAR", "Identity")


def oracle() -> list[Any]:
    from trackeval.metrics.clear import CLEAR
    from trackeval.metrics.hota import HOTA
    from trackeval.metrics.identity import Identity as Id

    with contextlib.redirect_stdout(io.StringIO()):
        return [HOTA(), CLEAR(), Id()]


def as_trackeval(overlaps: Overlaps) -> dict[str, Any]:
    frames = reference.frames_of(overlaps)
    truth, results = ([np.array(frame[side], int) for frame in frames] for side in (0, 1))
    return {
        "gt_ids": truth,
        "tracker_ids": results,
        "similarity_scores": [frame[2] for frame in frames],
        "num_timesteps": len(frames),
        "num_gt_dets": sum(map(len, truth)),
        "num_tracker_dets": sum(map(len, results)),
        "num_gt_ids": len({i for ids in truth for i in ids.tolist()}),
        "num_tracker_ids": len({i for ids in results for i in ids.tolist()}),
    }


def judge(metrics: list[Any], data: dict[str, Any]) -> list[dict[str, Any]]:
    with contextlib.redirect_stdout(io.StringIO()):
        return [metric.eval_sequence(data) for metric in metrics]


def ours(overlaps: Overlaps) -> list[Any]:
    metrics = [Hota(), Clear(), Identity()]
    for metric in metrics:
        metric.update(overlaps)
    return metrics


def assert_equal(metrics: list[Any], expected: list[dict[str, Any]], atol: float = 1e-9) -> None:
    for metric, values in zip(metrics, expected, strict=True):
        scores = {**metric.result(), **(metric.curves() if hasattr(metric, "curves") else {})}
        for name, value in values.items():
            np.testing.assert_allclose(scores[name], value, rtol=0, atol=atol, err_msg=name)


def random_scenes() -> list[Overlaps]:
    rng = np.random.default_rng(5)
    sizes = [(int(rng.integers(1, 60)), int(rng.integers(1, 12)), float(rng.uniform(10, 150))) for _ in range(120)]
    found = [scenes.overlaps(k, frames=f, objects=n, crowd=c) for k, (f, n, c) in enumerate(sizes)]
    return found + [scenes.one_sided(4, *counts) for counts in ((0, 0), (3, 0), (0, 3), (3, 3))]


def test_every_field_of_every_sequence_and_of_all_combined() -> None:
    metrics = oracle()
    totals = [Hota(), Clear(), Identity()]
    expected: list[dict[str, Any]] = [{}, {}, {}]
    for k, overlaps in enumerate(random_scenes()):
        own, theirs = ours(overlaps), judge(metrics, as_trackeval(overlaps))
        assert_equal(own, theirs)
        for side in range(3):
            totals[side].merge(own[side])
            expected[side][f"{k}"] = theirs[side]
    combined = [metric.combine_sequences(found) for metric, found in zip(metrics, expected, strict=True)]
    assert_equal(totals, combined)


def write_kitti(folder: Path, seed: int, frames: int = 20) -> tuple[Path, Path]:
    """Random KITTI labels and results with everything that its rules are about."""
    rng = np.random.default_rng(seed)
    truth, results = [], []
    for t in range(frames):
        for k, kind in enumerate(("Car", "Car", "Van", "Pedestrian", "Pedestrian", "Person", "Cyclist", "Car")):
            x, y = 40 * k + 3 * t + rng.normal(0, 1), 60 + 9 * (k % 3) + rng.normal(0, 1)
            box = np.array([x, y, x + 60 + 5 * k, y + rng.uniform(18, 45)])
            truncated, occluded = rng.choice([0, 1, 2], p=[0.8, 0.1, 0.1]), rng.choice(4)
            truth.append((t, k, kind, truncated, occluded, *box))
            if rng.random() < 0.8:
                seen = {"Van": "Car", "Person": "Pedestrian"}.get(kind, kind)
                number = k if rng.random() < 0.9 else 20 + k
                results.append((t, number, seen, -1, -1, *(box + rng.normal(0, 3, 4))))
        region = np.array([0.0, 30.0, 400.0, 90.0]) + rng.normal(0, 5)
        truth.append((t, -1, "DontCare", -1, -1, *region))
        for k, kind in enumerate(("Car", "Pedestrian")):
            x, y = rng.uniform(0, 450, 2) * (1, 0.3)
            results.append((t, 40 + k, kind, -1, -1, x, y, x + 40, y + rng.uniform(15, 60)))
    paths = folder / "gt" / "label_02" / "0000.txt", folder / "trackers" / "own" / "data" / "0000.txt"
    for path, rows in zip(paths, (truth, results), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        score = " 1" if rows is results else ""
        lines = [" ".join(map(str, (*row[:5], -10, *row[5:], -1, -1, -1, -1000, -1000, -1000, -10))) for row in rows]
        path.write_text("".join(f"{line}{score}\n" for line in lines))
    (folder / "gt" / "evaluate_tracking.seqmap.training").write_text(f"0000 empty 000000 {frames:06d}\n")
    return paths


@pytest.mark.parametrize("seed", range(3))
def test_the_rules_of_kitti(tmp_path: Path, seed: int) -> None:
    from trackeval.datasets.kitti_2d_box import Kitti2DBox

    truth, results = write_kitti(tmp_path, seed)
    config = {"GT_FOLDER": str(tmp_path / "gt"), "TRACKERS_FOLDER": str(tmp_path / "trackers"), "PRINT_CONFIG": False}
    dataset = Kitti2DBox(config)
    raw = dataset.get_raw_seq_data("own", "0000")
    found = compare_kitti(Sequence("0000", truth, results, length=20), Span())
    for name, overlaps in found.items():
        data = dataset.get_preprocessed_seq_data(raw, name)
        assert data["num_tracker_dets"] < sum(len(ids) for ids in raw["tracker_ids"])
        assert_equal(ours(overlaps), judge(oracle(), data))


@pytest.fixture(scope="module")
def mot17(shared: Path) -> tuple[Any, ...]:
    """True pedestrians of MOT17-04 and ByteTrack's tracks, as arrays: 1,050 frames of some 45 objects."""
    from tracker.formats.mot import read_mot

    truth = read_mot(shared / "data/gt/mot17_train/MOT17-04-SDP/gt/gt.txt")
    keep = (truth.scores != 0) & (truth.rest[:, 0] == 1)
    objects, order = Objects.sort(truth.frames[keep], truth.ids[keep], 1050)
    rows = np.load(shared / "golden/reference_tracks/bytetrack_MOT17-04-SDP.npz")["rows"]
    results, sequence = Objects.sort(rows[:, 0].astype(np.int64) - 1, rows[:, 5].astype(np.int64), 1050)
    return objects, truth.boxes[keep][order], results, rows[sequence, 1:5] - 1


def test_real_tracks_score_the_same(mot17: tuple[Any, ...]) -> None:
    overlaps = compare_boxes(*mot17)
    assert_equal(ours(overlaps), judge(oracle(), as_trackeval(overlaps)), atol=1e-10)
