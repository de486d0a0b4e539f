"""Saved trackers: a restart goes on with the same results to the bit, and no broken file is half loaded."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracker
from tests.association.test_tracker import scenes
from tests.reference.association import CLASS_NAMES, crowd, make, same_tracks
from tracker.association import Plan, Stage, Tracker
from tracker.association import snapshot as snapshot_module
from tracker.errors import SnapshotError
from tracker.systems import SYSTEMS, create, options, plan
from tracker.types import Detections

NAMES = list(SYSTEMS)
ROOT = Path(__file__).resolve().parents[2]


def saved(path, name="bytetrack", frames=30, **options):
    """A tracker in the middle of a crowd, written to `path`."""
    associator = make(name, **options)
    for k, detections in enumerate(crowd(4, 20, frames)):
        associator.update(detections, time_s=100 + 0.04 * k + 0.001 * (k % 3))
    associator.save(path)
    return associator


def alter(path, change):
    """Rewrite the header of a snapshot as `change` does, with a checksum that fits."""
    first, line, numbers = path.read_bytes()[:-16].split(b"\n", 2)
    header = json.loads(line)
    change(header)
    content = b"\n".join([first, json.dumps(header).encode(), numbers])
    path.write_bytes(content + hashlib.blake2b(content, digest_size=16).digest())


@settings(max_examples=60)
@given(scene=scenes(20), name=st.sampled_from(NAMES), data=st.data())
def test_a_restart_changes_nothing(tmp_path, scene, name, data):
    """At any frame, whatever the clock does: equal snapshots from there on, in every field and bit."""
    cut = data.draw(st.integers(0, len(scene)))
    stamps = data.draw(st.booleans())
    gap = st.sampled_from([0.0, 1 / 30, 0.1, 2.0]) if stamps else st.none()
    now, times = 50.0, []
    for _ in scene:
        step = data.draw(gap)
        now = None if step is None else now + step
        times.append(now)
    given = {"flow": "prev_to_cur", "chain_masks": data.draw(st.booleans())} if name == "step-b3" else {}
    given |= {"gallery": data.draw(st.integers(1, 3))} if "gallery" in options(name) else {}
    through, before = make(name, **given), make(name, **given)
    for k, detections in enumerate(scene[:cut]):
        through.update(detections, time_s=times[k])
        before.update(detections, time_s=times[k])
    before.save(tmp_path / "t")
    after = type(before).load(tmp_path / "t")
    assert after.plan == before.plan and after.frame_rate == before.frame_rate
    for k, detections in enumerate(scene[cut:], cut):
        a, b = through.update(detections, time_s=times[k]), after.update(detections, time_s=times[k])
        assert same_tracks(a, b) and a.time_s == b.time_s
    through.save(tmp_path / "a")
    after.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def go_on(associator):
    """Tracks of the frames after those that `saved` has seen."""
    return np.concatenate(
        [associator.update(d, time_s=200 + k / 30).to_array() for k, d in enumerate(crowd(4, 20, 60)[30:])]
    )


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """For each system a tracker in the middle of a crowd, and what a process that loaded it makes of the rest."""
    folder = tmp_path_factory.mktemp("saved")
    associators = {name: saved(folder / name, name, frame_rate=25.0) for name in NAMES}
    script = (
        "import sys, numpy as np; from tests.association.test_snapshot import NAMES, go_on\n"
        "from tests.reference.association import Follower\n"
        "for name in NAMES: np.save(f'{sys.argv[1]}/{name}.npy', go_on(Follower.load(f'{sys.argv[1]}/{name}')))"
    )
    subprocess.run([sys.executable, "-c", script, folder], cwd=ROOT, check=True)
    return {name: (associator, np.load(folder / f"{name}.npy")) for name, associator in associators.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_crowd_goes_on_in_another_process(name, elsewhere):
    associator, rows = elsewhere[name]
    np.testing.assert_array_equal(rows, go_on(associator))
    assert rows[:, 4].max() > 20


def test_a_restart_may_have_another_clock_and_leave_ids_out(tmp_path):
    before = saved(tmp_path / "t", frame_rate=30.0)
    last_s, last_id = before._clock.time_s, max(before.update(Detections.empty()).ids)
    before = Tracker.load(tmp_path / "t")
    after = Tracker.load(tmp_path / "t", time_s=-0.5, skip_ids=100)
    born = 0
    for k, detections in enumerate(crowd(4, 20, 90)[30:]):
        a = before.update(detections, time_s=last_s + 0.5 + k / 30)
        b = after.update(detections, time_s=k / 30)
        assert b.time_s == k / 30 and same_tracks(replace(a, ids=np.where(a.ids > last_id, a.ids + 100, a.ids)), b)
        born += (a.ids > last_id).sum()
    assert born


def test_many_tracks_fit_into_a_fresh_tracker(tmp_path):
    r = np.random.default_rng(0)
    corner = r.uniform(0, 1e5, (1000, 2))
    detections = tracker.Detections(np.concatenate([corner, corner + 50], 1), np.full(1000, 0.9))
    before = create("bytetrack")
    before.update(detections)
    before.save(tmp_path / "t")
    after = Tracker.load(tmp_path / "t")
    assert same_tracks(before.update(detections), after.update(detections))
    assert len(after.update(detections)) == 1000


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_travels(name, tmp_path):
    """Numbers of every type, infinities, tuples and nested stages."""
    changed = plan(name, max_coast_frames=7, min_score=0.1 + 0.2, detection_share=1.0, motion="none")
    changed = replace(changed, stages=(*changed.stages, Stage(tracks=("coasting",), score_below=0.3)))
    Tracker(changed, 12.5, CLASS_NAMES).save(tmp_path / "t")
    loaded = Tracker.load(tmp_path / "t")
    assert loaded.plan == changed and loaded.frame_rate == 12.5
    assert (loaded._table == Tracker(changed, 12.5, CLASS_NAMES)._table).all()


@dataclass(frozen=True)
class Leaf:
    label: int | str
    limit: float | None = None


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...] = ()
    groups: tuple[tuple[int | str, ...], ...] = ()


def test_dataclasses_inside_dataclasses_travel():
    """Whatever a plan will once be made of."""
    tree = Tree((Leaf(3), Leaf("car", float("-inf"))), ((1, "van"), ()))
    data = json.loads(json.dumps(snapshot_module._encode(tree)))
    assert snapshot_module._decode(data, snapshot_module._parts_of(Tree), "1.0") == tree
    assert set(snapshot_module._parts_of(Tree)) == {"Tree", "Leaf"}
    assert {"Plan", "Stage"} <= set(snapshot_module._parts_of(Plan))


def test_a_flipped_or_missing_byte_is_found(tmp_path):
    path = tmp_path / "t"
    saved(path, frames=3)
    whole = path.read_bytes()
    r = np.random.default_rng(0)
    for place in [*range(40), *r.integers(0, len(whole), 300).tolist(), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << int(r.integers(8)))]) + whole[place + 1 :])
        with pytest.raises(SnapshotError):
            Tracker.load(path)
    for length in [0, 1, 20, 24, *r.integers(0, len(whole), 50).tolist(), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotError):
            Tracker.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(SnapshotError, match="damaged"):
        Tracker.load(path)


def test_foreign_files_are_one_line(tmp_path):
    path = tmp_path / "t"
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    newer = b"trackstream.tracker/2\n{}\n"
    for content, said in (
        ((tmp_path / "other.npz").read_bytes(), "is not a saved tracker"),
        (b"", "is not a saved tracker"),
        (b"trackstream.tracks/1\n", "is not a saved tracker"),
        (newer, "has format 2, this trackstream reads up to 1: update it"),
    ):
        path.write_bytes(content)
        with pytest.raises(SnapshotError, match=said) as caught:
            Tracker.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SnapshotError, match=r"cannot read .*missing: no such file"):
        Tracker.load(tmp_path / "missing")
    with pytest.raises(SnapshotError, match=r"cannot read .*directory"):
        Tracker.load(tmp_path)


def _set(*places, value):
    def change(header):
        for place in places[:-1]:
            header = header[place]
        header[places[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _set("plan", "halo", value=3),
            r"its plan has Plan.halo, which .* does not know; 0.1.0 saved it: update",
        ),
        (_set("plan", "stages", 0, "glow", value=3), r"its plan has Stage.glow"),
        (_set("plan", "stages", 0, "is", value="Term"), r"its plan has Term"),
        (_set("plan", "motion", value="teleport"), r"a plan that .* refuses: expected motion to be one of"),
        (_set("plan", "is", value="Stage"), r"its plan has Stage\."),
        (_set("layout", value="00"), "laid out differently"),
        (
            _set("settings", "colour", value="red"),
            "expected settings frame_rate, class_names, got frame_rate, class_names, colour",
        ),
        (_set("settings", "frame_rate", value=-1), "expected frame_rate as frames per second above 0, got -1"),
        (_set("clock", "zone", value=1), "expected a clock with"),
        (_set("arrays", 0, 0, value="x"), "expected the arrays"),
        (_set("arrays", 1, 2, value=[1, 2]), "bytes of numbers"),
        (_set("events", value={"lives": 3}), "expected an event log"),
        (_set("arrays", value=3), "breaks the format"),
        (lambda header: header.pop("clock"), "breaks the format"),
        (lambda header: header["plan"].pop("is"), "breaks the format"),
    ],
)
def test_what_another_version_wrote_is_refused(change, said, tmp_path):
    path = tmp_path / "t"
    saved(path)
    alter(path, change)
    with pytest.raises(SnapshotError, match=said) as caught:
        Tracker.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_field_that_an_older_version_lacked_gets_its_default(tmp_path):
    path = tmp_path / "t"
    before = saved(path)
    alter(path, lambda header: header["plan"].pop("look_back_frames"))
    assert Tracker.load(path).plan == before.plan


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "t"
    associator = saved(path)
    first = path.read_bytes()
    associator.update(tracker.Detections.empty())
    monkeypatch.setattr(snapshot_module.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(SnapshotError, match=r"cannot write .*: no space left"):
        associator.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir()] == ["t"]
    associator.save(path)
    assert path.read_bytes() != first and [p.name for p in tmp_path.iterdir()] == ["t"]
    with pytest.raises(SnapshotError, match=r"cannot write .*: no such file or directory"):
        associator.save(tmp_path / "no" / "t")


def test_saving_leaves_the_tracker_alone(tmp_path):
    plain, disturbed = create("ocsort"), create("ocsort")
    for detections in crowd(1, 10, 30):
        assert same_tracks(plain.update(detections), disturbed.update(detections))
        disturbed.save(tmp_path / "t")
        Tracker.load(tmp_path / "t").update(detections)
    disturbed.reset()
    assert disturbed.update(crowd(1, 10, 1)[0]).ids[0] == 1


def test_a_machine_of_the_other_byte_order_writes_the_same_file(tmp_path):
    saved(tmp_path / "a")
    ours = snapshot_module.read_snapshot(tmp_path / "a")
    other = {name: array.astype(array.dtype.newbyteorder("S")) for name, array in ours.arrays.items()}
    snapshot_module.write_snapshot(tmp_path / "b", replace(ours, arrays=other))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_is_cut_to_live_tracks(tmp_path):
    associator = create("sort")
    associator.update(tracker.Detections.empty())
    associator.save(tmp_path / "t")
    assert (tmp_path / "t").stat().st_size < 4000
