"""`Tracker.explain`: every verdict on a crafted scene, and agreement with the result for all systems."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.association.test_tracker import scenes
from tests.reference.association import box_iou, crowd, dressed, make, same_tracks
from tracker.association import ClassRule, Plan, Stage, Term, Tracker
from tracker.errors import ConfigError, FrameError
from tracker.systems import SYSTEMS, create
from tracker.types import Detections, TrackState

NAMES = list(SYSTEMS)


def boxes(*corners, scores=None, labels=None, **more):
    """Boxes of 40 x 40 px at these corners."""
    corners = np.array(corners, np.float32).reshape(-1, 2)
    scores = [0.9] * len(corners) if scores is None else scores
    labels = [0] * len(corners) if labels is None else labels
    return Detections(np.concatenate([corners, corners + 40], 1), scores, labels, **more)


def still(*stages, **rules):
    """A tracker that explains itself, without motion."""
    return Tracker(Plan(stages=stages or (Stage(),), **{"motion": "none", "confirm_hits": 0, **rules}), explain=True)


def verdicts(report):
    return {c.other: c.verdict for c in report.candidates}


def check(tracker, tracks, before):
    """Explanations of one frame say what happened in it; `before` are the tracks of the frame before."""
    source = dict(zip(tracks.ids.tolist(), tracks.source.tolist(), strict=True))
    held = {}
    for number in {*source, *before}:
        e = tracker.explain(number)
        assert e.subject == f"track {number}" and str(e).startswith(f"frame {e.frame} ({e.time_s:.3f} s): {e.subject}")
        assert e.time_s == tracks.time_s and len([r for r in e.stages if r.number]) == len(tracker.plan.stages)
        taken = [r.taken.other for r in e.stages if r.taken is not None]
        if number in before:
            assert taken == ([] if e.match is None else [e.match])
            if number in source:
                assert (-1 if e.match is None else e.match) == source[number]
                if e.match is not None:
                    held[e.match] = number
            else:
                assert "ended" in e.outcome
        else:
            assert e.match == source[number] and "was born from" in e.outcome
            held[e.match] = number
    for j in range(len(tracks.detections)):
        e = tracker.explain(detection=j)
        taken = [r.taken.other for r in e.stages if r.taken is not None]
        assert len(taken) <= 1
        if j in held:
            assert e.match == held[j] and (held[j] not in before or taken == [held[j]])
        else:
            assert j in tracks.unmatched
            assert "started none" in e.outcome or "which ended at once" in e.outcome or "then ended" in e.outcome
    scene = tracker._explainer._scene
    for found in scene._rounds if scene is not None else ():
        good = found.good & (found.matches[:, None] == np.arange(found.good.shape[1]))
        assert (good.sum(1) == (found.matches >= 0)).all(), "a match that was not good enough"
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_with_every_system(name):
    """And its own competition, given to the stage's solver, comes to what the step did."""
    tracker, before, certain, rounds = make(name), set(), 0, 0
    tracker.keep_explanations()
    for detections in crowd(5, 12, 25):
        tracks = tracker.update(detections)
        for found in check(tracker, tracks, before):
            certain += found.winners is not None
            rounds += 1
        before = set(tracks.ids.tolist())
    assert certain == rounds and (rounds > 0) == bool(tracker.plan.stages)


@settings(max_examples=60)
@given(scene=scenes(), name=st.sampled_from(NAMES), data=st.data())
def test_it_agrees_and_changes_nothing(scene, name, data):
    rules = data.draw(st.sampled_from([{}, {"duplicate_iou": 0.5}, {"max_coast_frames": 1, "birth_score": 0.5}]))
    asked, plain, before = make(name, **rules), make(name, **rules), set()
    asked.keep_explanations()
    for detections in scene:
        tracks = asked.update(detections)
        for _ in check(asked, tracks, before):
            pass
        assert same_tracks(tracks, plain.update(detections))
        before = set(tracks.ids.tolist())


@settings(max_examples=60)
@given(scene=scenes(), data=st.data())
def test_it_agrees_with_any_stage(scene, data):
    """Gates before and after, all solvers, class rules, limits and directions in all combinations."""
    kinds = {
        "solver": ["exact", "greedy", "dense", "nearest", "claim", "lap", "rectangular"],
        "gate_when": ["before", "after"],
        "full": [False, True], "combine": ["sum", "best"], "fuse_score": [False, True], "box": ["predicted", "last"],
        "gate": [-1.0, 0.0, 0.3], "all_pairs": [False, True],
    }  # fmt: skip
    stage = {name: data.draw(st.sampled_from(values), label=name) for name, values in kinds.items()}
    terms = (Term("giou", 0.5, 0.5, least=-0.5), Term("mask_iou"), Term("centre_distance", -0.02, most=30.0))
    stage["terms"] = terms[: data.draw(st.integers(1, 3))]
    rules = ClassRule(1, gate=data.draw(st.sampled_from([None, 0.1])), birth_score=0.3)
    last = Stage(least_hits=2, height_power=data.draw(st.sampled_from([0.0, 1.5])))
    plan = Plan(
        (Stage(**stage), last), classes=(rules,), per_class=data.draw(st.booleans()),
        motion=data.draw(st.sampled_from(["xysr", "xyah", "none"])), detection_share=0.5,
        camera=data.draw(st.sampled_from(["none", "boxes"])), birth_iou=data.draw(st.sampled_from([1.0, 0.3])),
    )  # fmt: skip
    tracker, before = Tracker(plan, explain=True), set()
    for detections in scene:
        tracks = tracker.update(detections)
        for _ in check(tracker, tracks, before):
            pass
        before = set(tracks.ids.tolist())


def test_values_are_those_of_the_boxes():
    tracker = make("bytetrack")
    tracker.keep_explanations()
    for detections in crowd(2, 20, 15):
        guess = tracker._clock.time_s + 1 / 30
        predicted = tracker.at(guess, half_life_s=math.inf) if len(tracker._state.ints[0]) else None
        tracks = tracker.update(detections)
    scores, ious = detections.scores, box_iou(predicted.boxes, detections.boxes, 1.0)
    compared = 0
    for i, number in enumerate(predicted.ids.tolist()):
        first, second, _ = tracker.explain(number).stages
        if predicted.states[i] != TrackState.COASTING:
            for report, factor in ((first, scores), (second, np.ones(len(scores)))):
                for c in report.candidates:
                    np.testing.assert_allclose(c.values["iou"], ious[i, c.other] * factor[c.other], atol=1e-9)
                    assert c.total == c.values["iou"] and c.gate == report.stage.gate
                    compared += c.total > 0
    assert compared > 15 and len(tracks)


def test_taken_and_runner_up():
    tracker = still()
    tracker.update(boxes((0, 0)))
    tracker.update(boxes((20, 0), (4, 0)))
    e = tracker.explain(1)
    (report,) = e.stages
    assert verdicts(report) == {1: "taken", 0: "passed over for detection 1 (0.818)"}
    assert (e.match, report.taken.other, report.runner_up.other) == (1, 1, 0)
    assert e.outcome == "track 1 took detection 1 in stage 1; runner-up detection 0 (0.333)"
    assert verdicts(tracker.explain(detection=0).stages[0]) == {1: "lost to detection 1 (0.818)"}
    assert tracker.explain(detection=0).match == 2 and "started track 2" in tracker.explain(detection=0).outcome
    assert tracker.explain(2).outcome.startswith("track 2 was born from detection 0, which went to no track")


def test_refused_by_the_gate_before_and_after():
    for when, sign in (("before", "<="), ("after", "<")):
        tracker = still(Stage(gate=0.5, gate_when=when))
        tracker.update(boxes((0, 0)))
        tracker.update(boxes((20, 0)))
        e, won = tracker.explain(1), " after it won" if when == "after" else ""
        assert verdicts(e.stages[0]) == {0: f"refused{won}: iou 0.333 {sign} gate 0.5"}
        assert e.match is None and "coasts, unseen for 1 frame; nearest was detection 0" in e.outcome


def test_lost_to_a_match_that_the_gate_then_refused():
    """Two weak pairs are worth more than the good one between them, and are dissolved afterwards (SORT)."""
    tracker = still(Stage(gate=0.45, gate_when="after"))
    tracker.update(boxes((0, 0), (28, 0)))
    tracker.update(boxes((15, 0), (-18, 0)))
    first, second = (tracker.explain(k).stages[0] for k in (1, 2))
    assert verdicts(first)[0] == "lost to track 2 (0.509)"
    tracker = still(Stage(gate=0.4, gate_when="after"))
    tracker.update(boxes((0, 0), (33, 0)))
    tracker.update(boxes((16, 0), (-18, 0)))
    first, second = (tracker.explain(k).stages[0] for k in (1, 2))
    assert verdicts(first) == {
        0: "lost to track 2 (0.404), which makes the greater sum",
        1: "refused after it won: iou 0.379 < gate 0.4",
    }
    assert verdicts(second)[0] == "taken"
    tracker = still(Stage(gate=0.41, gate_when="after"))
    tracker.update(boxes((0, 0), (33, 0)))
    tracker.update(boxes((16, 0), (-18, 0)))
    first = tracker.explain(1)
    assert verdicts(first.stages[0])[0] == (
        "lost to track 2 (0.404), which makes the greater sum, which the gate then refused"
    )
    assert first.match is None


def test_scores_phases_hits_and_classes():
    tracker = still(
        Stage(tracks=("confirmed", "coasting"), score_above=0.5, fuse_score=True, gate=0.2),
        Stage(tracks=("confirmed",), score_above=0.1, score_below=0.5),
        Stage(tracks=("tentative",), least_hits=3),
        per_class=True, confirm_hits=1, grace_frames=1, birth_score=0.6, min_score=0.05,
    )  # fmt: skip
    tracker.update(boxes((0, 0)))
    tracker.update(boxes((0, 0)))
    tracker.update(boxes((0, 0), (100, 0)))
    d = boxes((0, 0), (0, 2), (4, 0), (1, 1), (0, 0), scores=[0.3, 0.08, 0.4, 0.9, 0.01], labels=[0, 0, 0, 1, 0])
    tracks = tracker.update(d)
    first, second, third = tracker.explain(1).stages
    assert verdicts(first) == {
        0: "not offered: score 0.300 not above 0.5",
        1: "not offered: score 0.080 not above 0.5",
        2: "not offered: score 0.400 not above 0.5",
        3: "refused: class 1, the track is 0",
        4: "not offered: score 0.010 below min_score 0.05",
    }
    assert verdicts(second)[0] == "taken" and verdicts(second)[3] == "not offered: score 0.900 not below 0.5"
    assert third.skipped == "has detection 0 already (stage 2)" and not third.candidates
    assert [r.skipped for r in tracker.explain(2).stages] == [
        "tentative, and the stage takes confirmed and coasting",
        "tentative, and the stage takes confirmed",
        "1 hits, fewer than 3",
    ]
    assert "ended, missed while tentative" in tracker.explain(2).outcome and 2 not in tracks.ids
    ends = [tracker.explain(detection=j).outcome for j in range(5)]
    assert ends[0] == "detection 0 went to track 1 in stage 2; runner-up track 1 (0.818)" or "stage 2" in ends[0]
    assert ends[2].endswith("started none: score 0.400 below birth_score 0.6")
    assert ends[4].endswith("started none: score 0.010 below min_score 0.05")
    assert "started track 3: it went to no track; nearest was track 1" in ends[3]
    assert tracker.explain(detection=2).stages[1].candidates[0].verdict == "lost to detection 0 (1.000)"


def test_boxes_that_cannot_start_a_track():
    tracker = still()
    flat = Detections([[0, 0, 0, 9], [2e9, 0, 3e9, 9]], [0.9, 0.9])
    tracker.update(flat)
    ends = [tracker.explain(detection=j).outcome.split(": ")[1] for j in range(2)]
    assert ends == ["its box has no area", "its box lies far outside any picture"]
    tracker = make("step-b1", min_mask_px=100)
    tracker.keep_explanations()
    tracker.update(dressed(boxes((0, 0))))
    assert "its mask has 25 px, not more than min_mask_px 100" in tracker.explain(detection=0).outcome


def test_limits_of_terms():
    terms = (
        Term("embedding_cosine", -1.0, 1.0, least_overlap=0.3), Term("centre_distance", 0.0, most=15.0), Term("iou"),
    )  # fmt: skip
    tracker = still(Stage(terms=terms, gate=0.0), birth_score=0.5)
    look = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]], np.float32)
    tracker.update(boxes((0, 0), embeddings=look[:1]))
    tracker.update(boxes((2, 0), (1, 0), (20, 0), (35, 0), embeddings=look))
    (report,) = tracker.explain(1).stages
    assert verdicts(report) == {
        0: "taken",
        1: "refused: overlap below 0.3 for embedding_cosine, or nothing to compare",
        2: "refused: centre_distance 20.000 > most 15",
        3: "refused: overlap below 0.3 for embedding_cosine, or nothing to compare",
    }
    best = report.taken
    assert best.values == pytest.approx({"embedding_cosine": 0.0, "centre_distance": 2.0, "iou": 38 / 42})
    assert best.total == pytest.approx(1 + 38 / 42)
    tracker = still(Stage(terms=(Term("embedding_cosine", -1.0, 1.0), Term("iou", least=0.9)), combine="best"))
    tracker.update(boxes((0, 0), embeddings=look[1:2]))
    tracker.update(boxes((8, 0), embeddings=look[:1]))
    assert verdicts(tracker.explain(1).stages[0]) == {
        0: "refused: no embedding_cosine to compare; iou 0.667 < least 0.9"
    }


def test_the_direction_competes_and_the_gate_does_not_see_it():
    tracker = make("ocsort")
    tracker.keep_explanations()
    for x in range(0, 40, 4):
        tracker.update(boxes((x, 0)))
    e = tracker.explain(1)
    best = e.stages[0].taken
    assert 0 < best.values["direction"] <= 0.5 * 0.2 and best.total == best.values["iou"] + best.values["direction"]
    assert "direction" in str(e)


def test_detections_choose():
    """Motion-DeepLab's rule: the detection stays alone where the nearest track is too far for the gate."""
    terms = (Term("centre_distance", -1.0),)
    tracker = still(Stage(terms=terms, gate=-5.0, solver="nearest", gate_when="after", all_pairs=True))
    tracker.update(boxes((0, 0), (100, 0)))
    tracker.update(boxes((1, 0), (2, 0), (93, 0)))
    assert verdicts(tracker.explain(1).stages[0]) == {
        0: "taken",
        1: "passed over for detection 0 (-1.000)",
        2: "refused: total -93.000 <= gate -5",
    }
    assert verdicts(tracker.explain(detection=1).stages[0])[1] == "lost to detection 0 (-1.000)"
    terms = (Term("embedding_dot"),)
    tracker = still(Stage(terms=terms, gate=0.0, solver="claim", all_pairs=True))
    look = np.array([[1.0, 0.0], [0.9, 0.8]], np.float32)
    tracker.update(boxes((0, 0), (100, 0), embeddings=look))
    tracker.update(boxes((0, 0), (1, 0), embeddings=np.array([[0.1, 1.0], [0.1, 3.0]], np.float32)))
    found = verdicts(tracker.explain(1).stages[0])
    assert found[0].startswith("passed over: the detection claimed track 2")
    assert verdicts(tracker.explain(2).stages[0])[1] == "taken"


def own_rows(ids, *corners, scores):
    return replace(boxes(*corners, scores=scores), track_ids=np.array(ids))


def test_suppressed_rows():
    tracker = create("siammot")
    tracker.keep_explanations()
    tracker.update(own_rows([-1, -1, -1], (0, 0), (100, 0), (200, 0), scores=[0.9, 0.9, 0.9]))
    rows = own_rows([1, -1, 2, 9, 3], (1, 0), (2, 0), (101, 0), (300, 0), (202, 0), scores=[0.8, 0.99, 0.2, 0.9, 0.7])
    tracker.update(rows)
    assert tracker.explain(1).outcome == "track 1 took detection 0, its own row"
    weak = tracker.explain(2)
    assert weak.match is None and verdicts(weak.stages[0]) == {2: "score 0.200 below keep_score 0.4"}
    ends = [tracker.explain(detection=j).outcome for j in range(5)]
    assert ends[0] == "detection 0 went to track 1, its own row"
    assert ends[1].endswith("suppressed by detection 0 (iou 0.951 >= 0.5)")
    assert ends[3].endswith("it is about track 9, which lives no more")
    assert "own rows" in str(weak)


def test_duplicates_name_each_other():
    tracker = still(duplicate_iou=0.6, max_coast_frames=5, per_class=True)
    tracker.update(boxes((0, 0)))
    tracker.update(boxes((0, 0)))
    tracks = tracker.update(boxes((1, 0), labels=[1]))
    assert tracks.ids.tolist() == [1]
    assert tracker.explain(detection=0).outcome == (
        "detection 0 started track 2, which ended at once as a duplicate of track 1 (iou 0.951)"
    )


def test_coasting_ends():
    tracker = still(max_coast_frames=1)
    tracker.update(boxes((0, 0)))
    tracker.update(boxes())
    assert (
        tracker.explain(1).outcome == "track 1 took no detection and coasts, unseen for 1 frame; no detection came near"
    )
    tracker.update(boxes())
    assert "ended, coasted too long (2 frames)" in tracker.explain(1).outcome
    tracker.update(boxes())
    with pytest.raises(ConfigError, match="a track that lived before or after the last frame"):
        tracker.explain(1)


def test_what_cannot_be_explained():
    tracker = create("sort")
    with pytest.raises(ConfigError, match="call keep_explanations"):
        tracker.explain(1)
    tracker.update(boxes((0, 0)))
    tracker.keep_explanations()
    with pytest.raises(FrameError, match="expected a frame since explanations are kept"):
        tracker.explain(1)
    tracker.update(boxes((0, 0)))
    for wrong in (
        {"track": 7},
        {"detection": 1},
        {"detection": -1},
        {"detection": 0.0},
        {},
        {"track": 1, "detection": 0},
    ):
        with pytest.raises(ConfigError, match=r"^expected [^\n]*$"):
            tracker.explain(**wrong)
    assert tracker.explain(1).match == 0
    tracker.reset()
    with pytest.raises(FrameError):
        tracker.explain(1)
    tracker.keep_explanations(False)
    with pytest.raises(ConfigError):
        tracker.explain(1)


def test_memory_is_flat():
    tracker, scene = make("botsort"), crowd(1, 20, 40)
    tracker.keep_explanations()

    def walk():
        for detections in scene:
            tracks = tracker.update(detections)
            tracker.explain(int(tracks.ids[0]))

    walk()
    tracemalloc.start()
    walk()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        walk()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000


def test_shared_heights_and_crowded_births():
    tracker = still(Stage(gate=0.3, height_power=2.0), birth_iou=0.4)
    tracker.update(boxes((0, 0)))
    tracker.update(boxes((1, 0), (0, 10), (0, 18), (90, 0)))
    (report,) = tracker.explain(1).stages
    (best, second, third) = report.candidates[:3]
    assert best.verdict == "taken" and best.total == best.values["iou"] and best.values["height_iou"] == 1
    assert second.total == pytest.approx(0.6**3) and second.verdict == "refused: total 0.216 <= gate 0.3"
    assert second.values == pytest.approx({"iou": 0.6, "height_iou": 0.6}) and third.total < second.total
    assert "iou * height_iou^2 over 0.3" in report.title
    ends = [tracker.explain(detection=j) for j in (1, 2, 3)]
    assert ends[0].match is None and ends[0].outcome.endswith(
        "started none: it overlaps detection 0, which a track took (iou 0.576 > birth_iou 0.4)"
    )
    assert ends[1].match == 2 and ends[2].match == 3
