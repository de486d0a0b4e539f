"""Births, classes and ends: rules in seconds and per class, votes, small masks."""

from dataclasses import replace

import numpy as np
import pytest

from tests.reference.association import Vote
from tracker.association import ClassRule, Plan, Stage, Term, Tracker
from tracker.errors import ConfigError
from tracker.masks import Masks
from tracker.systems import create, plan
from tracker.types import Detections, TrackState

STILL = Plan((Stage(),), motion="none", confirm_hits=0, tentative_coasts=True)
BOX = [[0, 0, 40, 80]]
NAMES = ("person", "car", "van")


def one(score=0.9, label=0):
    return Detections(BOX, [score], [label])


def irregular(r, count):
    """Time stamps of a source that sends bursts, repeats stamps and goes dark for 300 ms."""
    return 50 + np.cumsum(r.choice([0.0, 0.0, 0.01, 0.02, 0.04, 0.3], count)).round(2)


@pytest.mark.parametrize("once", [False, True])
def test_confirmation_takes_seconds(once):
    """Time counts from the birth, or from the first sight after a miss."""
    phases = set()
    for seed in range(20):
        r = np.random.default_rng(seed)
        tracker = Tracker(replace(STILL, confirm_s=0.25, confirm_once=once, max_coast_frames=99), 100.0)
        since, settled = None, False
        for k, now in enumerate(irregular(r, 60).tolist()):
            seen = k == 0 or r.random() < 0.9
            tracks = tracker.update(one() if seen else Detections.empty(), time_s=now)
            since = (now if since is None else since) if seen else None
            long_enough = seen and now - since >= 0.25 - 1e-6
            settled |= long_enough
            reported = long_enough or (seen and once and settled)
            wanted = TrackState.COASTING if not seen else TrackState.CONFIRMED if reported else TrackState.TENTATIVE
            assert tracks.states.tolist() == [wanted]
            phases.add(wanted)
    assert len(phases) == 3


def test_seconds_and_hits_both_count():
    tracker = Tracker(replace(STILL, confirm_s=0.1, confirm_hits=4), 100.0)
    states = [tracker.update(one(), time_s=k / 10).states[0] for k in range(6)]
    assert states == [TrackState.TENTATIVE] * 4 + [TrackState.CONFIRMED] * 2


def test_coasting_ends_after_seconds():
    ended = 0
    for seed in range(20):
        r = np.random.default_rng(seed)
        tracker, last = Tracker(replace(STILL, max_coast_s=0.3, max_coast_frames=0), 100.0), None
        for now in irregular(r, 40).tolist():
            seen = last is None or r.random() < 0.2
            tracks = tracker.update(one() if seen else Detections.empty(), time_s=now)
            last = now if seen else last
            if not seen and now - last > 0.3 + 1e-6:
                assert len(tracks) == 0
                last, ended = None, ended + 1
            else:
                assert len(tracks) == 1
    assert ended > 10


def test_classes_have_numbers_of_their_own():
    rules = (
        ClassRule("person", min_score=0.5, birth_score=0.8, max_coast_frames=1),
        ClassRule("car", min_score=0.2, birth_score=0.3, max_coast_frames=4, gate=0.8),
    )
    by_name = replace(STILL, classes=rules, per_class=True, max_coast_frames=2, min_score=0.1, birth_score=0.15)
    by_index = replace(by_name, classes=tuple(replace(rule, label=k) for k, rule in enumerate(rules)))
    for tracker in (Tracker(by_name, class_names=NAMES), Tracker(by_index)):
        for label, least, birth, coast in ((0, 0.5, 0.8, 1), (1, 0.2, 0.3, 4), (2, 0.1, 0.15, 2)):
            tracker.reset()
            below = np.nextafter(np.float32(birth), np.float32(0))
            assert len(tracker.update(one(below, label))) == 0
            assert len(tracker.update(one(birth, label))) == 1
            assert tracker.update(one(np.nextafter(np.float32(least), np.float32(0)), label)).misses.tolist() == [1]
            assert tracker.update(one(least, label)).misses.tolist() == [0]
            lives = [len(tracker.update(Detections.empty())) for _ in range(6)]
            assert lives == [1] * coast + [0] * (6 - coast)
        ids = {}
        for label in (0, 1):  # an overlap of 0.6: within the plan's gate, not within a car's
            tracker.reset()
            tracker.update(one(0.9, label))
            tracks = tracker.update(Detections([[10, 0, 50, 80]], [0.9], [label]))
            ids[label] = int(tracks.ids[tracks.source == 0][0])
        assert ids == {0: 1, 1: 2}


def test_names_need_a_model_that_has_them():
    rules = replace(STILL, classes=(ClassRule("car", min_score=0.5),), groups=((0, "van"),), per_class=True)
    with pytest.raises(ConfigError, match="class 'car' is given by name: tell the tracker the model's class_names"):
        Tracker(rules)
    with pytest.raises(ConfigError, match="class 'van' is given by name"):
        Tracker(replace(rules, classes=()))
    with pytest.raises(ConfigError, match="class_names"):
        create("trackrcnn")
    tracker = Tracker(rules, class_names=("person", "van"))  # without cars their rule has no work
    tracker.update(one(0.1, 0))
    assert tracker.update(one(0.1, 1)).hits.tolist() == [2]


@pytest.mark.parametrize("naming", ["first", "last", "vote"])
def test_the_class_of_a_track(naming):
    changes = 0
    for seed in range(30):
        r = np.random.default_rng(seed)
        margin = float(r.choice([0.0, 0.25, 1.0]))
        tracker = Tracker(replace(STILL, label=naming, vote_margin=margin))
        seen, vote = [], None
        for _ in range(60):
            label, score = int(r.integers(0, 6 if seed % 2 else 2)), float(np.float32(r.uniform(0.05, 1)))
            vote = vote or Vote(margin)
            vote.add(label, score)
            seen.append(label)
            tracks = tracker.update(one(score, label))
            wanted = {"first": seen[0], "last": seen[-1], "vote": vote.leader}[naming]
            assert tracks.labels.tolist() == [wanted]
            changes += vote.changed
    assert changes > 30


def test_a_close_race_does_not_flicker():
    """Two classes in turn: hysteresis keeps the first one, and who is matched by class follows the vote."""
    tracker = Tracker(replace(STILL, label="vote", vote_margin=0.25))
    labels = [tracker.update(one(0.8, k % 2)).labels[0] for k in range(200)]
    assert set(labels) == {0}
    strict = Tracker(replace(STILL, label="vote", per_class=True, groups=((1, 2),)))
    strict.update(one(0.3, 1))
    assert strict.update(one(0.9, 2)).labels.tolist() == [2], "of one group, and by far the surer"
    assert strict.update(one(0.9, 0)).ids.tolist() == [2, 1], "another group is another track"
    assert strict.update(one(0.9, 1)).ids[0] == 1


def test_small_masks_are_ignored():
    stage = Stage(terms=(Term("mask_iou"),), gate=0.3)
    tracker = Tracker(replace(STILL, stages=(stage,), min_mask_px=10))
    for area in (9, 10, 11):
        mask = np.zeros((1, 80, 40), bool)
        mask[0, 0, :area] = True
        tracks = tracker.update(Detections(BOX, [0.9], masks=Masks.from_dense(mask)))
        assert tracks.ids.tolist() == ([1] if area == 11 else []) and len(tracks.unmatched) == (area != 11)


def test_galleries_use_the_room_of_who_has_gone():
    """Slots of ended tracks are given out again, and nobody inherits a face."""
    rules = replace(plan("motsnet"), gallery=3, max_coast_frames=1)
    tracker, r = Tracker(rules), np.random.default_rng(0)
    room = set()
    for k in range(400):
        n = int(r.integers(0, 12))
        faces = r.normal(size=(n, 8)).astype(np.float32)
        faces /= np.linalg.norm(faces, axis=1, keepdims=True)
        faces[r.random(n) < 0.2] = 0
        detections = Detections(np.tile(np.float32(BOX), (n, 1)), np.ones(n), r.integers(0, 2, n), embeddings=faces)
        tracks = tracker.update(detections)
        gallery = tracker._wardrobe.gallery
        shown = gallery.slots[gallery.slots >= 0]
        assert len(set(shown)) == len(shown) and (gallery.counts > 0).sum() == len(shown)
        for column, track in enumerate(np.sort(tracks.ids)):
            row = int(tracks.source[tracks.ids == track][0])
            hits, slot = int(tracks.hits[tracks.ids == track][0]), gallery.slots[column]
            if row >= 0 and faces[row].any():
                assert 1 <= gallery.counts[slot] <= min(hits, 3)
                kept = gallery.vectors[slot, : gallery.counts[slot]]
                assert (kept == faces[row]).all(1).any()
                np.testing.assert_allclose(np.linalg.norm(kept, axis=1), gallery.norms[slot, : len(kept)], rtol=1e-6)
        if k > 200:
            room.add(len(gallery.counts))
    assert len(room) == 1 and room.pop() <= 64
