"""What `Tracker` promises whatever the detections are."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.association import crowd, dressed, make, same_tracks, still, sure
from tracker.association import Plan, Stage, Tracker
from tracker.association.state import REALS
from tracker.association.step import step
from tracker.errors import ConfigError, DetectionsError, FrameError
from tracker.systems import SYSTEMS, create, plan
from tracker.types import Detections, TrackState

NAMES = list(SYSTEMS)


@st.composite
def scenes(draw, longest=12):
    """Frames of small boxes in a small picture: overlaps, ties, duplicates, boxes without area, empty frames."""
    coordinate = st.integers(0, 24)
    frames = []
    for _ in range(draw(st.integers(1, longest))):
        rows = draw(st.lists(st.tuples(coordinate, coordinate, st.integers(0, 12), st.integers(0, 12)), max_size=6))
        scores = draw(
            st.lists(st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.6, 0.95, 0.98]), min_size=len(rows), max_size=len(rows))
        )
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4)
        frames.append(Detections(boxes, np.array(scores, np.float32), [i % 2 for i in range(len(rows))]))
    return [small(detections) for detections in frames]


def small(detections):
    """Dressed for a small picture: a pixel of the mask for each pixel."""
    return dressed(detections, size=(40, 40), grid=1)


def run(tracker, frames):
    return [tracker.update(detections) for detections in frames]


def check(tracks, seen_ids):
    """What holds for every snapshot."""
    detections = tracks.detections
    used = tracks.source[tracks.source >= 0]
    assert sorted([*used, *tracks.unmatched]) == list(range(len(detections))), "each detection comes back once"
    assert (np.diff(tracks.unmatched) > 0).all()
    assert np.isfinite(tracks.boxes).all() and (tracks.boxes[:, 2:] > tracks.boxes[:, :2]).all()
    assert len(set(tracks.ids)) == len(tracks)
    order = [TrackState.CONFIRMED, TrackState.TENTATIVE, TrackState.COASTING]
    places = [order.index(s) for s in tracks.states]
    assert places == sorted(places)
    assert ((tracks.source >= 0) == (tracks.states != TrackState.COASTING)).all()
    assert ((tracks.misses == 0) == (tracks.source >= 0)).all() and (tracks.hits >= 1).all()
    area = (detections.boxes[:, 2] > detections.boxes[:, 0]) & (detections.boxes[:, 3] > detections.boxes[:, 1])
    assert area[used].all(), "a box without area was tracked"
    np.testing.assert_allclose(tracks.scores[tracks.source >= 0], detections.scores[used], rtol=0, atol=3e-7)  # SiamMOT
    born = (tracks.hits == 1) & (tracks.source >= 0)
    np.testing.assert_array_equal(tracks.labels[born], detections.labels[tracks.source[born]])
    new = tracks.ids[tracks.hits == 1]
    new = new[tracks.misses[tracks.hits == 1] == 0]
    assert not set(new) & seen_ids, "an id was used again"
    assert set(tracks.ids) <= seen_ids | set(new)
    seen_ids.update(new.tolist())


def contents(detections):
    """Copies of all numbers of a frame's detections."""
    d, m = detections, detections.masks
    arrays = d.boxes, d.scores, d.labels, d.embeddings, d.centres, d.offsets, d.track_ids, m.rects, m.starts, m.words
    return [array.copy() for array in arrays if array is not None]


@settings(max_examples=100)
@given(scene=scenes(), name=st.sampled_from(NAMES))
def test_every_snapshot_is_sound(scene, name):
    tracker, seen = make(name), set()
    for detections in scene:
        before = contents(detections)
        check(tracker.update(detections), seen)
        for array, copy in zip(contents(detections), before, strict=True):
            np.testing.assert_array_equal(array, copy)
    assert sorted(seen) == list(range(1, len(seen) + 1))


@settings(max_examples=40)
@given(scene=scenes(), name=st.sampled_from(NAMES), data=st.data())
def test_a_longer_run_has_the_same_beginning(scene, name, data):
    cut = data.draw(st.integers(0, len(scene)))
    long, short = run(make(name), scene), run(make(name), scene[:cut])
    assert all(same_tracks(a, b) for a, b in zip(long, short, strict=False))


@settings(max_examples=30)
@given(a=scenes(), b=scenes(), name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
def test_two_trackers_do_not_meet(a, b, name, other):
    one, two = make(name), make(other)
    mixed = []
    for k in range(max(len(a), len(b))):
        if k < len(a):
            mixed.append(one.update(a[k]))
        if k < len(b):
            two.update(b[k])
    assert all(same_tracks(x, y) for x, y in zip(mixed, run(make(name), a), strict=True))


@settings(max_examples=30)
@given(a=scenes(), b=scenes(), name=st.sampled_from(NAMES))
def test_reset_begins_anew(a, b, name):
    tracker = make(name)
    run(tracker, b)
    tracker.reset()
    assert all(same_tracks(x, y) for x, y in zip(run(tracker, a), run(make(name), a), strict=True))


@settings(max_examples=40)
@given(scene=scenes(), name=st.sampled_from(NAMES), data=st.data())
def test_boxes_without_area_change_nothing(scene, name, data):
    """Nor do refused ones: NaN and infinity never get as far as the tracker."""
    plain, disturbed = make(name), make(name)
    for detections in scene:
        area = (detections.boxes[:, 2] > detections.boxes[:, 0]) & (detections.boxes[:, 3] > detections.boxes[:, 1])
        good = detections.select(area)
        flat = data.draw(st.integers(0, 3))
        boxes = np.concatenate([good.boxes, np.tile(np.float32([[5, 5, 5, 9]]), (flat, 1))])
        noisy = small(Detections(boxes, np.append(good.scores, np.full(flat, 0.9)), np.append(good.labels, [0] * flat)))
        with pytest.raises(DetectionsError):
            disturbed.update(Detections([[0, 0, np.nan, 5]], [0.9]))
        a, b = plain.update(good), disturbed.update(noisy)
        assert same_tracks(a, replace(b, unmatched=a.unmatched))
        assert b.unmatched.tolist() == [*a.unmatched, *range(len(good), len(noisy))]


@pytest.mark.parametrize("name", NAMES)
def test_refused_frames_change_nothing(name):
    """What cannot be compared is refused before anything happens; so are numbers that are none."""
    scene = [small(sure(Detections([[4, 4, 30, 30], [8, 2, 38, 20]], [0.9, 0.9]))) for _ in range(6)]
    plain, disturbed = make(name), make(name)
    for k, detections in enumerate(scene):
        for bad in wrong(detections, disturbed.plan) if k else ():
            with pytest.raises((DetectionsError, FrameError)):
                Tracker.update(disturbed, bad, flow=still(40, 40))
        for field in ("boxes", "scores", "embeddings", "offsets"):
            for value in (np.nan, np.inf, -np.inf):
                numbers = getattr(detections, field).copy()
                numbers[-1] = value
                with pytest.raises(DetectionsError, match=f"finite {field}"):
                    replace(detections, **{field: numbers})
        assert same_tracks(plain.update(detections), disturbed.update(detections))
    assert len(plain.update(scene[0])) == 2


def wrong(detections, rules):
    """The same with one part missing, or of another size than before."""
    for need in rules.needs - {"embeddings" if any(stage.combine == "best" for stage in rules.stages) else ""}:
        yield replace(detections, **{need: None})
    if "embeddings" in rules.needs:
        yield replace(detections, embeddings=np.ones((len(detections), 9), np.float32))
    if "masks" in rules.needs:
        yield dressed(detections, size=(41, 40), grid=1)


def test_wrong_input_is_refused():
    with pytest.raises(DetectionsError, match="expected Detections, got ndarray"):
        create("sort").update(np.zeros((0, 6)))
    for rate in (0, -1, np.nan, np.inf, "30", True):
        with pytest.raises(ConfigError, match="frame_rate"):
            Tracker(plan("sort"), rate)


@pytest.mark.parametrize(
    "names", [("person", "car"), ["person", "car"], {0: "person", 1: "car"}, np.array(["person", "car"])]
)
def test_class_names_are_a_list_or_count_from_0(names):
    assert create("sort", class_names=names).class_names == ("person", "car")


@pytest.mark.parametrize(
    "names",
    ["person", None, 3, [1, 2], {"person"}, {1: "person"}, {1: "a", 0: "b"}, {"person": 0}, {0: None}, b"person"],
)
def test_other_class_names_are_refused(names):
    with pytest.raises(
        ConfigError, match=r"expected class_names as a list of texts, or a mapping from 0, 1, 2 \.\.\. to"
    ):
        create("sort", class_names=names)


def test_a_picture_is_no_frame_and_milliseconds_are_no_seconds():
    tracker, seen = create("sort"), Detections.from_array([[10, 20, 50, 100, 0.9]])
    tracker.update(seen, time_s=1.0)
    with pytest.raises(FrameError, match=r"expected a Frame, got ndarray; leave it out, or Frame\(index"):
        tracker.update(seen, np.zeros((8, 8, 3), np.uint8))
    for stamp, words in (
        ("now", "as a number, got 'now'"),
        (np.datetime64("2026-01-01"), "as a number, got np.datetime64"),
        (1_700_000_000_000, "divide milli-, micro- or nanoseconds"),  # Unix time in ms
        (np.int64(1_700_000_000_033_000_000), "divide milli-, micro- or nanoseconds"),
    ):
        with pytest.raises(FrameError, match=words):
            tracker.update(seen, time_s=stamp)
    assert tracker.update(seen, time_s=np.float32(1.5)).ids.tolist() == [1], "refused frames changed nothing"
    tracker.reset()
    assert tracker.update(seen, time_s=1_700_000_000).ids.tolist() == [1]  # Unix time in s, as an integer


@pytest.mark.parametrize("name", NAMES)
def test_huge_and_tiny_boxes_stay_finite(name):
    tracker, seen = make(name, frame_rate=1.0), set()
    r = np.random.default_rng(0)
    for k in range(200):
        size = 10.0 ** r.uniform(-38, 38.4, (6, 2))
        corner = r.normal(0, 1, (6, 2)) * 10.0 ** r.uniform(-3, 38, (6, 1))
        boxes = np.clip(np.concatenate([corner, corner + size], 1), -3e38, 3e38).astype(np.float32)
        boxes = np.concatenate([boxes, np.float32([[0, 0, 1e-30, 900_000_000], [10, 10, 20, 30]])])
        detections = Detections(boxes, np.full(8, 0.98))
        tracks = tracker.update(detections, time_s=float(k * k))
        assert np.isfinite(tracks.boxes).all()
        assert np.isfinite(tracker._state.reals[:REALS, : len(tracks)]).all()
        seen.update(tracks.ids.tolist())
    assert len(seen) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_growth_and_heaps_change_no_result(name):
    """Columns and pair buffers grow in the middle of a run; a state that had the room from the start agrees."""
    r = np.random.default_rng(5)
    small, roomy = make(name), make(name)
    roomy._state.reserve(3000)
    roomy._state.reserve_edges(400_000)
    first = small._state.capacity
    for k in range(6):
        corner = r.uniform(0, 12, (40 * 2**k // 4, 2))  # everybody on top of everybody
        boxes = np.concatenate([corner, corner + r.uniform(40, 60, corner.shape)], 1)
        scores = np.where(r.random(len(boxes)) < 0.7, 0.98, r.uniform(0.2, 1, len(boxes)))
        detections = dressed(Detections(boxes.astype(np.float32), scores))
        assert same_tracks(small.update(detections), roomy.update(detections))
    assert small._state.capacity > first
    if small.plan.stages and small.plan.birth_iou == 1 == small.plan.suppress_iou:  # else few tracks start in a heap
        assert len(small._state.edge_weights) > 8 * small._state.capacity, "the heap did not fill the pair buffers"
    assert small._state.capacity * 8 % 4096 != 0


UNENDING = ("vpsnet", "siammot+")  # tracks of the one never end, as published; the other knows faces again for long


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNENDING])
def test_soak(name):
    """T35: thousands of frames of detections that never match: the state neither grows nor slows down.

    Also of embeddings and masks: what ended tracks had shown is not kept.
    """
    tracker = make(name)
    count = 10_000 if tracker._wardrobe is None else 400
    cells = np.random.default_rng(0).permutation(64 * 20).reshape(64, 20)
    frames = []
    for k, cell in enumerate(cells):  # everybody has a place of his own, and a face of his own frame
        corner = 64.0 * np.stack([cell % 36, cell // 36], 1)
        boxes = Detections(np.concatenate([corner, corner + 40], 1).astype(np.float32), np.full(20, 0.98))
        frames.append(dressed(boxes, 100 * np.eye(64)[[k] * 20], (2304, 2304)))
    sizes = set()
    for k in range(count):
        tracks = tracker.update(frames[k % 64])
        if k >= count // 2 and k % 50 == 0:
            sizes.add((tracker._state.capacity, tracker._state.nbytes, room_of(tracker)))
    rules = tracker.plan
    longest = max([rules.max_coast_frames, *(rule.max_coast_frames or 0 for rule in rules.classes)])
    most = 20 * (2 + (longest if rules.tentative_coasts else 1))
    assert len(sizes) == 1 and len(tracks) <= most
    assert tracks.ids.max() > 15 * count


def room_of(tracker):
    """Embeddings that there is room for; none is kept twice, and none of who is gone."""
    if tracker._wardrobe is None:
        return 0
    gallery = tracker._wardrobe.gallery
    used = gallery.slots[gallery.slots >= 0]
    assert len(np.unique(used)) == len(used) and (gallery.counts[used] > 0).all()
    assert (gallery.counts > 0).sum() == len(used)
    return len(gallery.counts)


def test_per_class_matches_only_the_same_label():
    box = [[10, 10, 50, 90]]
    for per_class in (False, True):
        tracker = create("sort", per_class=per_class)
        tracker.update(Detections(box, [0.9], [1]))
        tracks = tracker.update(Detections(box, [0.9], [2]))
        assert tracks.confirmed.ids.tolist() == ([2] if per_class else [1])
        assert tracks.confirmed.labels.tolist() == [2]


def test_a_stage_may_look_at_the_last_box():
    """A walker who turns round: his prediction runs on, his last box does not."""
    sources = {}
    for box in ("predicted", "last"):
        tracker = Tracker(Plan(stages=(Stage(box=box, gate=0.6),), max_coast_frames=5, tentative_coasts=True))
        for x in range(0, 200, 20):
            tracks = tracker.update(Detections([[x, 0, x + 100, 100]], [0.9]))
            assert tracks.ids.tolist() == [1]
        tracks = tracker.update(Detections([[160, 0, 260, 100]], [0.9]))
        sources[box] = dict(zip(tracks.ids.tolist(), tracks.source.tolist(), strict=True))
    assert sources == {"predicted": {1: -1, 2: 0}, "last": {1: 0}}


def test_a_detection_share_of_one_reports_the_detection_itself():
    for name in NAMES:
        tracker, shown = make(name, detection_share=1.0), 0
        for detections in map(sure, crowd(2, 10, 40)):
            seen = tracker.update(detections).confirmed
            np.testing.assert_array_equal(seen.boxes, detections.boxes[seen.source])
            shown += len(seen)
        assert shown > 50


def test_a_second_round_on_last_boxes_finds_who_stopped():
    """OC-SORT's recovery: the prediction runs on behind a pillar, the walker stood still there."""
    ids = {}
    for last_match_iou in (0.3, 1.0):
        tracker = create("ocsort", last_match_iou=last_match_iou)
        for x in range(0, 200, 20):
            tracker.update(Detections([[x, 0, x + 60, 100]], [0.9]))
        for _ in range(6):
            tracker.update(Detections.empty())
        tracks = tracker.update(Detections([[185, 0, 245, 100]], [0.9]))
        ids[last_match_iou] = int(tracks.ids[tracks.source == 0][0])
    assert ids == {0.3: 1, 1.0: 2}


def test_direction_decides_between_equal_overlaps():
    """Two detections overlap a walker alike, one ahead of him and one behind: he takes the one ahead."""
    sources = {}
    for weight in (0.0, 0.2):
        stage = Stage(gate=0.1, gate_when="after", direction=weight, full=True, all_pairs=True)
        tracker = Tracker(Plan(stages=(stage,), motion="none", tentative_coasts=True))
        for x in (0, 20, 40):
            tracker.update(Detections([[x, 0, x + 100, 100]], [0.9]))
        tracks = tracker.update(Detections([[10, 0, 110, 100], [70, 0, 170, 100]], [0.9, 0.9]))
        sources[weight] = int(tracks.source[tracks.ids == 1][0])
    assert sources == {0.0: 0, 0.2: 1}


def test_all_pairs_keep_to_the_class():
    """Where pairs without overlap compete, other classes still do not."""
    r = np.random.default_rng(3)
    tracker = create("ocsort", per_class=True)
    labels: dict[int, int] = {}
    for detections in crowd(3, 60, 80, size=(400, 300)):
        labelled = Detections(detections.boxes, detections.scores, r.integers(0, 2, len(detections)))
        tracks = tracker.update(labelled)
        for number, label in zip(tracks.ids.tolist(), tracks.labels.tolist(), strict=True):
            assert labels.setdefault(number, label) == label


def test_greedy_and_exact_differ_where_they_should():
    before = Detections([[0, 0, 100, 100], [40, 0, 140, 100]], [0.9, 0.9])
    now = Detections([[30, 0, 130, 100], [80, 0, 180, 100]], [0.9, 0.9])
    sources = {}
    for solver in ("greedy", "exact"):
        tracker = Tracker(Plan(stages=(Stage(gate=0.1, solver=solver),), confirm_hits=9, tentative_coasts=True))
        tracker.update(before)
        sources[solver] = tracker.update(now).source.tolist()
    assert sources == {"exact": [0, 1], "greedy": [1, 0]}


def test_coasting_tracks_show_predictions_and_expire():
    tracker = create("sort", max_coast_frames=3)
    for k in range(8):
        tracks = tracker.update(Detections([[10 * k, 0, 10 * k + 30, 60]], [0.9]))
    assert tracks.confirmed.ids.tolist() == [1]
    lefts = [float(tracks.boxes[0, 0])]
    for miss in (1, 2, 3):
        tracks = tracker.update(Detections.empty())
        assert tracks.coasting.ids.tolist() == [1] and tracks.misses.tolist() == [miss] and len(tracks.confirmed) == 0
        lefts.append(float(tracks.boxes[0, 0]))
    np.testing.assert_allclose(np.diff(lefts), 10, atol=0.5)
    assert len(tracker.update(Detections.empty())) == 0


def test_threads_have_their_own_trackers():
    scenes_ = [crowd(seed, 20, 80) for seed in range(4)]
    alone = [run(create("bytetrack"), scene) for scene in scenes_]
    together = [None] * 4

    def work(k):
        together[k] = run(create("bytetrack"), scenes_[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        assert all(same_tracks(x, y) for x, y in zip(a, b, strict=True))


def test_warmup_leaves_the_tracker_alone():
    tracker = create("bytetrack")
    tracker.update(Detections([[0, 0, 10, 10]], [0.9]))
    assert 0 <= tracker.warmup() < 120
    assert tracker.warmup() < 1
    assert tracker.update(Detections([[0, 0, 10, 10]], [0.9])).ids.tolist() == [1]


def test_warmup_compiles_whatever_frames_need():
    """The step has three forms; frames with masks, without, empty ones and any system make no other."""
    for name in NAMES:
        make(name).warmup()
        tracker = make(name)
        for detections in [*crowd(1, 5, 3), Detections.empty(), crowd(1, 5, 1)[0].select([])]:
            tracker.update(detections)
    assert len(step.signatures) <= 3
