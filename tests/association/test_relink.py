"""Ids that come back: `most_misses`, `search_frames`, and the row siammot+ that is made of them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.association.test_siammot import said
from tracker.association import Plan, Stage, Term, Tracker
from tracker.systems import create, plan
from tracker.types import Detections

A, B, C = [0, 0, 40, 80], [200, 0, 240, 80], [400, 0, 440, 80]
ANNA, BERT = [1.0, 0, 0], [0, 1.0, 0]
LIKE_ANNA = [0.9, 0.3, 0.1]  # cosine 0.94


def rows(*given):
    """Detections from (box, score, track id or -1, embedding)."""
    boxes, scores, ids, looks = zip(*given, strict=True) if given else ([], [], [], [])
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores), track_ids=np.array(ids, np.int64),
        embeddings=np.array(looks, np.float32).reshape(-1, 3),
    )  # fmt: skip


def lost(frames, **options):
    """A tracker whose track 1, Anna on A, was not seen for some frames."""
    tracker = create("siammot+", search_frames=3, max_coast_frames=10, **options)
    assert tracker.update(rows((A, 0.9, -1, ANNA))).ids.tolist() == [1]
    for _ in range(frames):
        tracker.update(rows())
    return tracker


@pytest.mark.parametrize("frames", [1, 3, 4, 10])
def test_a_lost_track_takes_up_its_id_where_it_looks_the_same(frames):
    tracker = lost(frames)
    tracks = tracker.update(rows((B, 0.9, -1, BERT), (C, 0.9, -1, LIKE_ANNA)))
    assert said(tracks) == {1: ("CONFIRMED", 1, 0), 2: ("CONFIRMED", 0, 0)}
    assert tracks.boxes[tracks.ids == 1].tolist() == [C]


def test_plain_siammot_gives_it_a_new_id():
    tracker = create("siammot", max_coast_frames=10)
    tracker.update(rows((A, 0.9, -1, ANNA)))
    tracker.update(rows())
    assert said(tracker.update(rows((C, 0.9, -1, ANNA)))) == {1: ("COASTING", -1, 2), 2: ("CONFIRMED", 0, 0)}


def test_an_id_ends_after_max_coast_frames():
    tracker = lost(11)
    assert said(tracker.update(rows((C, 0.9, -1, ANNA)))) == {2: ("CONFIRMED", 0, 0)}


def test_who_is_searched_for_is_not_looked_for():
    """Within `search_frames` a track's own row counts, afterwards it is left alone and its looks decide."""
    tracker = lost(2)
    assert said(tracker.update(rows((A, 0.5, 1, BERT), (C, 0.9, -1, ANNA)))) == {
        1: ("CONFIRMED", 0, 0), 2: ("CONFIRMED", 1, 0)
    }  # fmt: skip
    tracker = lost(3)
    assert said(tracker.update(rows((A, 0.9, 1, BERT)))) == {1: ("CONFIRMED", 0, 0)}, "the third missed frame counts"
    tracker = lost(4)
    tracks = tracker.update(rows((A, 0.9, 1, ANNA), (A, 0.8, -1, BERT)))
    assert said(tracks) == {1: ("COASTING", -1, 5), 2: ("CONFIRMED", 1, 0)}, "nor does it suppress anybody"
    assert tracks.unmatched.tolist() == [0]


def test_seen_tracks_keep_to_themselves():
    tracker = create("siammot+")
    tracker.update(rows((A, 0.9, -1, ANNA)))
    tracks = tracker.update(rows((A, 0.9, 1, ANNA), (C, 0.9, -1, ANNA)))
    assert said(tracks) == {1: ("CONFIRMED", 0, 0), 2: ("CONFIRMED", 1, 0)}


def test_only_what_would_start_a_track_takes_up_an_id():
    weak = rows((C, 0.6 - 1e-6, -1, ANNA))
    assert said(lost(2).update(weak)) == {1: ("COASTING", -1, 3)}
    assert said(lost(2).update(rows((C, np.float32(0.6), -1, ANNA)))) == {1: ("CONFIRMED", 0, 0)}
    other = replace(rows((C, 0.9, -1, ANNA)), labels=[1])
    assert said(lost(2).update(other)) == {1: ("COASTING", -1, 3), 2: ("CONFIRMED", 0, 0)}
    blind = rows((C, 0.9, -1, [0, 0, 0]))
    assert said(lost(2).update(blind)) == {1: ("COASTING", -1, 3), 2: ("CONFIRMED", 0, 0)}


def test_any_of_the_last_looks_counts():
    tracker = create("siammot+", search_frames=3, max_coast_frames=10, gallery=2, gallery_momentum=0.0)
    for look in (BERT, ANNA, LIKE_ANNA, LIKE_ANNA):
        tracker.update(rows((A, 0.9, -1 if look is BERT else 1, look)))
    tracker.update(rows())
    found = said(tracker.update(rows((B, 0.9, -1, BERT))))
    assert found == {1: ("COASTING", -1, 2), 2: ("CONFIRMED", 0, 0)}, "a gallery of 2 has forgotten the first"
    assert said(tracker.update(rows((B, 0.9, 2, BERT), (C, 0.9, -1, ANNA))))[1] == ("CONFIRMED", 1, 0)


def test_events_say_lost_and_recovered():
    told = []
    tracker = create("siammot+", search_frames=3, max_coast_frames=10, on_event=told.append)
    for frame in [rows((A, 0.9, -1, ANNA))] + [rows()] * 8 + [rows((C, 0.9, -1, ANNA))] + [rows()] * 11:
        tracker.update(frame)
    kinds = [(event.kind, event.id, event.reason) for event in told]
    assert kinds == [
        ("born", 1, None), ("confirmed", 1, None), ("lost", 1, None), ("recovered", 1, None), ("lost", 1, None),
        ("ended", 1, "coasted too long"),
    ]  # fmt: skip


def test_explanations_know_the_limits():
    tracker = lost(4)
    tracker.keep_explanations()
    tracker.update(rows((A, 0.9, 1, ANNA), (C, 0.9, -1, BERT)))
    assert "unseen for 4 frames, more than search_frames 3" in str(tracker.explain(1))
    assert "unseen for 4 frames, more than search_frames 3" in str(tracker.explain(detection=0))
    assert "embedding_cosine" in str(tracker.explain(detection=1))


BOXES = Stage(tracks=("confirmed", "coasting"), gate=0.3, most_misses=2)
LOOKS = Stage(tracks=("coasting",), terms=(Term("embedding_cosine", weight=-1.0),), gate=-0.3, all_pairs=True)
OWN = Plan(stages=(BOXES, LOOKS), motion="none", confirm_hits=0, max_coast_frames=8, tentative_coasts=True)


@pytest.mark.parametrize(("gap", "back"), [(2, True), (3, False)])
def test_a_stage_leaves_those_out_that_were_unseen_too_long(gap, back):
    """Any system becomes one that knows people again: boxes for a few frames, then looks alone."""
    tracker = Tracker(OWN)
    tracker.update(rows((A, 0.9, -1, ANNA)))
    for _ in range(gap):
        tracker.update(rows())
    tracks = tracker.update(rows((A, 0.9, -1, BERT)))
    assert tracks.confirmed.ids.tolist() == ([1] if back else [2])
    if not back:
        assert tracker.update(rows((A, 0.9, -1, BERT), (C, 0.9, -1, ANNA))).confirmed.ids.tolist() == [1, 2]


def test_the_limit_is_explained_and_checked():
    tracker = Tracker(OWN, explain=True)
    tracker.update(rows((A, 0.9, -1, ANNA)))
    for _ in range(3):
        tracker.update(rows())
    tracker.update(rows((A, 0.9, -1, BERT)))
    text = str(tracker.explain(1))
    assert "unseen for at most 2 frames" in text
    assert "not part of it: unseen for 3 frames, and the stage takes at most 2" in text
    with pytest.raises(ValueError, match="most_misses"):
        Stage(most_misses=-1)
    with pytest.raises(ValueError, match="search_frames"):
        plan("siammot+", search_frames=-1)
