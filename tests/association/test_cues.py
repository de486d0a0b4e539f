"""Every row of CUES against its slow twin, in the compiled step's own arrays; and what stages make of cues."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tests.reference.cues import TWINS, Rules, Sight, Subject
from tracker.association import Plan, Stage, Term, Tracker
from tracker.association.cues import CUES
from tracker.association.lifecycle import read_classes
from tracker.association.motion import FORMS, MOTIONS, coordinates, predict, write_boxes
from tracker.association.state import BOX, COUNT, DETECTION_BOX, DETECTION_SCORE, FRAME, ID, LAST_BOX, P00, STEP, X
from tracker.association.table import FIRST_STAGE
from tracker.association.terms import add_terms
from tracker.masks import Masks
from tracker.types import Detections

SIZE = (70, 90)  # height, width: masks straddle words of 64 pixels
OTHERS = tuple(Term(name, weight=0.0, bias=-1.0) for name in ("embedding_l2", "mask_iou", "shifted_distance"))
FOLLOW = Stage(terms=(Term("iou"), *OTHERS), combine="best", gate=0.1)
"""Matches by overlap, and has the tracker keep whatever any cue compares."""

PLANS = {
    "last of everything": Plan((FOLLOW,), motion="xyah", max_coast_frames=9, tentative_coasts=True),
    "gallery": Plan(
        (FOLLOW,), motion="xysr", gallery=3, gallery_frames=4, inclusive_boxes=True, look_back_frames=2,
        max_coast_frames=9, tentative_coasts=True, groups=((0, 1),),
    ),
    "mean": Plan(
        (FOLLOW,), motion="none", gallery_momentum=0.9, gallery_frames=2, look_back_frames=1, max_coast_frames=3,
        tentative_coasts=True,
    ),
}  # fmt: skip


def test_every_cue_has_a_twin():
    assert set(TWINS) == set(CUES)


@pytest.mark.parametrize("name", list(CUES))
def test_every_cue_says_what_it_is(name):
    assert CUES[name].unit.endswith(".") and CUES[name].source
    assert [cue.code for cue in CUES.values()] == list(range(len(CUES))), "codes are places in the chain of `value`"


def glimpse(r, count, boxes=None):
    """A frame: boxes near earlier ones, some unlike all; some without embedding, some with an empty mask."""
    height, width = SIZE
    corner = r.integers(0, 45, (count, 2))
    fresh = np.concatenate([corner, corner + r.integers(2, 25, (count, 2))], 1)
    near = fresh if boxes is None or not len(boxes) else boxes[r.integers(0, len(boxes), count)] + r.integers(-2, 3, 4)
    rows = np.where(r.random((count, 1)) < 0.8, near, fresh)
    rows[:, 2:] = np.maximum(rows[:, 2:], rows[:, :2] + 1)
    faces = r.normal(size=(count, 5)).astype(np.float32)
    faces[r.random(count) < 0.2] = 0
    dense = np.zeros((count, height, width), bool)
    for mask, (x1, y1, x2, y2) in zip(dense, rows.clip(0), strict=True):
        mask[y1:y2, x1:x2] = r.random(mask[y1:y2, x1:x2].shape) < r.choice([0.0, 0.5, 1.0])
    return Detections(
        rows.astype(np.float32), r.uniform(0.1, 1, count), r.integers(0, 3, count), Masks.from_dense(dense), faces,
        centres=(rows[:, :2] + r.uniform(0, 5, (count, 2))), offsets=r.normal(0, 3, (count, 2)),
    )  # fmt: skip


def sights(detections, frame):
    dense = detections.masks.to_dense()
    return [
        Sight(
            frame, detections.boxes[j], float(detections.scores[j]), int(detections.labels[j]),
            detections.centres[j], detections.offsets[j],
            None if detections.embeddings is None else detections.embeddings[j], dense[j],
        )
        for j in range(len(detections))
    ]  # fmt: skip


def walk(plan, seed, frames=14):
    """A tracker after some frames, plain records of its tracks, and the frame that comes next."""
    r, tracker, subjects = np.random.default_rng(seed), Tracker(plan), {}
    form = MOTIONS[plan.motion].form
    rules = Rules(
        float(plan.inclusive_boxes), plan.look_back_frames, plan.gallery, plan.gallery_momentum, plan.gallery_frames,
        plan.groups, lambda box: coordinates(FORMS[form], *box.astype(float)),
    )  # fmt: skip
    boxes = None
    for frame in range(1, frames + 1):
        detections = glimpse(r, int(r.integers(0, 9)), boxes)
        if r.random() < 0.15:
            detections = replace(detections, embeddings=None)
        tracks = tracker.update(detections)
        boxes = tracks.boxes.astype(int)
        seen = sights(detections, frame)
        for number, row in zip(tracks.ids.tolist(), tracks.source.tolist(), strict=True):
            if row >= 0:
                subjects.setdefault(number, Subject()).take(seen[row], rules)
    return tracker, subjects, rules, glimpse(r, 8, boxes), frames + 1


def begin_step(tracker, table, detections):
    """What a step does before its first stage, by the same kernels; returns what the frame shows."""
    state, alive = tracker._state, tracker._alive
    reals, n = state.reals, len(detections)
    reals[STEP, :alive] = 1.0
    predict(table, reals, state.ints, alive)
    write_boxes(int(table[0, 0]), reals, alive)
    reals[DETECTION_BOX : DETECTION_BOX + 4, :n] = detections.boxes.T
    reals[DETECTION_SCORE, :n] = detections.scores
    read_classes(table, detections.labels, reals, state.ints)
    return tracker._wardrobe.show(detections)


@pytest.mark.parametrize("box", ["predicted", "last"])
@pytest.mark.parametrize("kind", list(PLANS))
def test_cues_equal_their_twins(kind, box):
    plan, met, missing = PLANS[kind], dict.fromkeys(CUES, 0), dict.fromkeys(CUES, 0)
    values = {name: set() for name in CUES}
    for seed in range(8):
        tracker, subjects, rules, detections, frame = walk(plan, seed)
        tables = {
            name: replace(plan, stages=(Stage(terms=(Term(name),), box=box, gate=-1e9, solver="dense"),)).encode()
            for name in CUES
        }
        looks = begin_step(tracker, tables["iou"], detections)
        state, row = tracker._state, LAST_BOX if box == "last" else BOX
        assert int(state.counters[COUNT]) == tracker._alive and int(state.counters[FRAME]) == frame - 1
        for t in range(tracker._alive):
            track = subjects[int(state.ints[ID, t])]
            track.box, track.estimate = state.reals[row : row + 4, t].copy(), state.reals[X : X + 4, t].copy()
            if box == "last":
                np.testing.assert_array_equal(track.box, track.sights[-1].box)
            motion = MOTIONS[plan.motion]
            squares = [state.reals[X + s, t] ** 2 if s >= 0 else 1.0 for s in motion.scale]
            track.spread = state.reals[P00 : P00 + 4, t] + np.multiply(motion.measurement, squares)
            for j, sight in enumerate(sights(detections, frame)):
                for name, table in tables.items():
                    total, within = add_terms(
                        table, FIRST_STAGE, row, t, j, frame, state.reals, state.ints, looks
                    )  # fmt: skip
                    wanted = float(TWINS[name](track, sight, rules))
                    if np.isnan(wanted):
                        assert total == -np.inf and not within, name
                        missing[name] += 1
                    else:
                        assert total == pytest.approx(wanted, rel=2e-5, abs=1e-5), (name, t, j)
                        met[name] += 1
                        values[name].add(round(wanted, 3))
    assert min(n for name, n in met.items() if name != "mahalanobis") > 100
    assert all(len(seen) > 1 for name, seen in values.items() if met[name])
    assert (met["mahalanobis"] == 0) == (plan.motion == "none")
    assert all(missing[name] for name in CUES if name.startswith("embedding"))


# ------------------------------------------------------------------ stages
def crossing(seed, count=(5, 6)):
    """Tracks of one frame and detections of the next, and tables of what they have."""
    r = np.random.default_rng(seed)
    first, then = glimpse(r, count[0]), glimpse(r, count[1])
    return first, replace(then, boxes=(then.boxes + first.boxes[r.integers(0, count[0], count[1])]) / 2)


def meet(stage, first, then, **rules):
    """Which detection each track takes."""
    tracker = Tracker(Plan((stage,), motion="none", tentative_coasts=True, **rules))
    born = tracker.update(first)
    tracks = tracker.update(then)
    partner = dict(zip(tracks.ids.tolist(), tracks.source.tolist(), strict=True))
    return [partner[number] for number in born.ids[np.argsort(born.source)].tolist()]


def value_of(name, first, then, rules=None):
    """(tracks, detections) matrix of one cue by its twin."""
    rules = rules or Rules(0.0, 3, 1, 0.0, 0, (), None)
    out = np.full((len(first), len(then)), np.nan)
    for i, old in enumerate(sights(first, 1)):
        track = Subject(box=old.box)
        track.take(old, rules)
        for j, new in enumerate(sights(then, 2)):
            out[i, j] = TWINS[name](track, new, rules)
    return out


def best(total, gate):
    """Partners in the matching of greatest total above the gate."""
    gain = np.where(np.isnan(total) | (total <= gate), 0.0, total - gate)
    mate = [-1] * len(gain)
    for i, j in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
        mate[i] = int(j) if gain[i, j] > 0 else -1
    return mate


TERMS = (Term("iou", 2.0), Term("embedding_cosine", -0.5, 0.5, most=1.5), Term("centre_distance", -0.02, least=1.0))


@pytest.mark.parametrize("solver", ["exact", "dense", "lap"])
def test_a_sum_of_terms(solver):
    matches = 0
    for seed in range(40):
        first, then = crossing(seed)
        values = {term.cue: value_of(term.cue, first, then) for term in TERMS}
        total = sum(term.weight * values[term.cue] + term.bias for term in TERMS)
        total[(values["embedding_cosine"] > 1.5) | (values["centre_distance"] < 1.0)] = np.nan
        mate = meet(Stage(terms=TERMS, gate=0.2, all_pairs=True, solver=solver), first, then)
        assert mate == best(total, 0.2), seed
        matches += sum(j >= 0 for j in mate)
    assert matches > 60


def test_the_best_of_terms_leaves_out_what_does_not_fit():
    terms = (Term("iou"), Term("embedding_cosine", -0.5, 1.0, most=0.8, least_overlap=0.2), Term("shape", 0.3))
    by_face = 0
    for seed in range(60):
        first, then = crossing(seed)
        iou, face, shape = (value_of(term.cue, first, then) for term in terms)
        face = np.where((face <= 0.8) & (iou >= 0.2), 1.0 - 0.5 * face, -np.inf)
        by_face += (face > np.maximum(iou, 0.3 * shape)).sum()
        total = np.maximum(np.maximum(iou, face), 0.3 * shape)
        mate = meet(Stage(terms=terms, combine="best", gate=0.1, all_pairs=True), first, then)
        assert mate == best(total, 0.1), seed
    assert by_face > 20


def test_only_overlapping_pairs_are_candidates_unless_all_are():
    first, then = crossing(3)
    apart = replace(then, boxes=then.boxes + 1000)
    stage = Stage(terms=(Term("centre_distance", -1.0),), gate=-1e6)
    assert meet(stage, first, apart) == [-1] * 5
    assert sum(j >= 0 for j in meet(replace(stage, all_pairs=True), first, apart)) == 5


def test_a_gate_after_lets_refused_pairs_compete():
    """A good pair below the limit of a term wins the detection, and is then dissolved."""
    boxes, scores = [[0, 0, 10, 10], [4, 0, 14, 10]], [0.9, 0.9]
    first = Detections(boxes, scores, embeddings=[[1, 0], [0, 1]])
    then = Detections([[3, 0, 13, 10]], [0.9], embeddings=[[1, 0.1]])
    terms = (Term("iou"), Term("embedding_l2", 0.0, most=0.5))
    mates = {when: meet(Stage(terms=terms, gate=0.1, gate_when=when), first, then) for when in ("before", "after")}
    assert mates == {"before": [0, -1], "after": [-1, -1]}


def test_scores_are_fused_with_overlaps_only():
    first, then = crossing(5)
    iou, shape = value_of("iou", first, then), value_of("shape", first, then)
    total = iou * then.scores + 0.5 * shape
    terms = (Term("iou"), Term("shape", 0.5))
    assert meet(Stage(terms=terms, gate=0.3, fuse_score=True, all_pairs=True), first, then) == best(total, 0.3)


def test_classes_and_groups_keep_apart():
    kept = 0
    for seed in range(30):
        first, then = crossing(seed)
        stage = Stage(terms=(Term("shape"),), gate=0.1, all_pairs=True)
        for groups in ((), ((0, 2),)):
            kind = [[0 if label == 2 and groups else label for label in d.labels] for d in (first, then)]
            total = np.where(np.equal.outer(*kind), value_of("shape", first, then), np.nan)
            mate = meet(stage, first, then, per_class=True, groups=groups)
            assert mate == best(total, 0.1)
            kept += sum(j >= 0 for j in mate)
    assert kept > 60


def test_a_term_that_only_limits_may_be_infinite():
    """Motion-DeepLab: a flat track has no reach, so what is nearest to it stays alone."""
    first = Detections([[0, 0, 1, 30], [30, 0, 60, 30]], [0.9, 0.9], centres=[[0, 15], [45, 15]])
    then = Detections([[1, 0, 2, 30]], [0.9], centres=[[1, 15]], offsets=[[0, 0]])
    first = replace(first, offsets=np.zeros((2, 2), np.float32))
    from tracker.systems import plan

    assert meet(plan("motion-deeplab").stages[0], first, then, confirm_hits=0) == [-1, -1]


def test_a_mask_may_come_later():
    """Where masks are one of several grounds, frames without them are no reason to go wrong."""
    stage = Stage(terms=(Term("mask_iou"), Term("iou", 0.5)), combine="best", gate=0.2)
    tracker = Tracker(Plan((stage,), motion="none", tentative_coasts=True))
    boxes, dense = [[0, 0, 20, 20], [22, 0, 42, 20], [50, 0, 70, 20]], np.zeros((3, *SIZE), bool)
    for mask, (x1, y1, x2, y2) in zip(dense, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    masks = Masks.from_dense(dense)
    ids = []
    for k in (None, [0, 1, 2], None, [2, 1, 0], [1], None, [0, 1, 2]):
        rows = [0, 1, 2] if k is None else k
        shown = None if k is None else masks.select(rows)
        tracks = tracker.update(Detections(np.array(boxes)[rows], np.full(len(rows), 0.9), masks=shown))
        ids.append({rows[row]: int(i) for i, row in zip(tracks.ids, tracks.source, strict=True) if row >= 0})
    assert all(seen[row] == row + 1 for seen in ids for row in seen)
    assert (tracker._wardrobe.masks.areas == 400).all()
