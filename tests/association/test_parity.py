"""The authors' own tracks, frame by frame."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.reference.association import differing_frames, dressed, make, read_mot, recorded
from tracker.association.motion import FORMS, correct, measure, predict, start, write_boxes
from tracker.association.state import BOX, P00, P01, P11, SEEN, STEP, State, V, X
from tracker.systems import SYSTEMS, create, plan
from tracker.types import Detections

NAMES = [name for name, system in SYSTEMS.items() if system.needs == ("boxes",)]
MOT15 = ("TUD-Campus", "KITTI-13", "ETH-Bahnhof", "PETS09-S2L1")
MOT17 = ("MOT17-02-SDP", "MOT17-04-SDP", "MOT17-09-SDP", "MOT17-11-SDP")


@pytest.mark.parametrize("name", NAMES)
def test_recorded_street(golden, name):
    """What every system returned on the day when it agreed with its authors' tracks."""
    file = golden / "association" / "street.npz"
    frames, reference = recorded(file), np.load(file)[name]
    assert len(frames) == 240 and len(reference) > 1000
    assert differing_frames(create(name), frames, reference) == []


@pytest.mark.parametrize("sequence", MOT15 + MOT17)
@pytest.mark.parametrize("name", ["sort", "bytetrack", "ocsort"])
def test_all_sequences(shared, name, sequence):
    detections = shared / "data" / "detections"
    mot15 = detections / "mot15" / sequence / "det" / "det.txt"
    file = mot15 if sequence in MOT15 else detections / "mot17_val_half" / f"{sequence}.txt"
    reference = np.load(shared / "golden" / "reference_tracks" / f"{name}_{sequence}.npz")["rows"]
    assert differing_frames(create(name), read_mot(file), reference) == []


@pytest.mark.parametrize(("case", "coast", "hits"), [("s1", 1, 3), ("s2", 3, 1)])
def test_sort_on_synthetic_detections(golden, case, coast, hits):
    data = np.load(golden / "association" / "sort.npz")
    tracker = create("sort", max_coast_frames=coast, confirm_hits=hits, grace_frames=hits)
    frames, reference = [], [np.zeros((0, 6))]
    for k in range(40):
        rows = data[f"{case}/det/{k}"]
        frames.append((k, Detections.from_array(rows)))
        out = data[f"{case}/out/{k}"].reshape(-1, 5)
        reference.append(np.column_stack([np.full(len(out), k), out]))
    assert sum(map(len, reference)) > 50
    assert differing_frames(tracker, frames, np.concatenate(reference)) == []


def test_sort_kalman_trace(golden):
    """x, P and predicted boxes of the reference's filter through hits and misses, to 1e-9."""
    data = np.load(golden / "association" / "sort.npz")
    table, state, form = plan("sort").encode(), State(), FORMS["xysr"]
    reals, ints = state.reals, state.ints
    start(form, table, reals, 0, *data["kf/pred_boxes"][0])
    reals[STEP, 0] = reals[SEEN, 0] = 1.0
    for k, z in enumerate([None, *data["kf/z"]]):
        if z is not None:
            predict(table, reals, ints, 1)
            write_boxes(form, reals, 1)
            np.testing.assert_allclose(reals[BOX : BOX + 4, 0], data["kf/pred_boxes"][k - 1], rtol=1e-9)
            if not np.isnan(z).any():
                measure(form, reals, 0, *z)
                correct(table, reals, 1)
        x = np.concatenate([reals[X : X + 4, 0], reals[V : V + 3, 0]])
        P = np.zeros((7, 7))
        P[range(4), range(4)] = reals[P00 : P00 + 4, 0]
        P[range(3), range(4, 7)] = P[range(4, 7), range(3)] = reals[P01 : P01 + 3, 0]
        P[range(4, 7), range(4, 7)] = reals[P11 : P11 + 3, 0]
        np.testing.assert_allclose(x, data["kf/x"][k], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(P, data["kf/P"][k], rtol=1e-9, atol=1e-9)


def walk(file):
    """Tracks of every system over the first frames of the recorded street."""
    frames, columns = [dressed(detections) for _, detections in recorded(file)[:20]], []
    for name in SYSTEMS:
        tracker = make(name)
        columns += [tracker.update(detections).to_array() for detections in frames]
    return np.concatenate(columns)


WALK = "import sys, numpy; from tests.association.test_parity import walk; numpy.save(sys.argv[2], walk(sys.argv[1]))"


def test_same_tracks_without_the_compiler(golden, tmp_path):
    """NUMBA_DISABLE_JIT=1 runs the very same code as plain Python."""
    street, out = golden / "association" / "street.npz", tmp_path / "plain.npy"
    subprocess.run([sys.executable, "-c", WALK, street, out], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True)
    plain, compiled = np.load(out), walk(street)
    assert len(plain) > 200 and len(SYSTEMS) >= 2
    np.testing.assert_array_equal(plain[:, 4:], compiled[:, 4:])
    np.testing.assert_allclose(plain[:, :4], compiled[:, :4], rtol=1e-6)
