"""Published associations against what their authors' code returns: no wrong id, no wrong pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tracker.association import Tracker
from tracker.association.cues import signed_overlap
from tracker.masks import Masks
from tracker.systems import create
from tracker.types import Detections

NAMES = ("background", "car", "pedestrian")


def load(golden, name):
    data = np.load(golden / "published" / f"{name}.npz")
    file = golden / "published" / f"{name}_expected.json"
    return data, json.loads((file if file.exists() else golden / "published" / f"{name}.json").read_text())


def renamed(pairs):
    """One-to-one map of ids, or an assertion that says which one broke."""
    ours, theirs = {}, {}
    for a, b in pairs:
        assert ours.setdefault(a, b) == b and theirs.setdefault(b, a) == a, (a, b)
    return ours


def things(panoptic, divisor, classes, order="class"):
    """Instances of a picture as detections, and the values that they had."""
    values, first = np.unique(panoptic, return_index=True)
    if order == "raster":
        values = values[np.argsort(first)]
    values = [v for v in values.tolist() if v % divisor and (classes is None or v // divisor in classes)]
    labels = np.zeros(panoptic.shape, np.int32)
    for k, value in enumerate(values):
        labels[panoptic == value] = k + 1
    masks = Masks.from_label_map(labels, len(values))
    classes_of = np.array([v // divisor for v in values], np.int32)
    return Detections(masks.boxes, np.ones(len(values), np.float32), classes_of, masks), values


@pytest.mark.parametrize("case", ["b1_kitti", "b1_sigma2", "b1_gap4_sigma10", "b1_gap4_sigma3"])
def test_step_b1_paints_every_pixel_like_deeplab2(golden, case):
    """The very ids: those of new tracks follow from which pairs without overlap scipy matched."""
    data, expected = load(golden, "iou_tracker")
    e = expected[case]
    tracker = create("step-b1", match_iou=e["iou_threshold"], max_coast_frames=e["sigma"])
    for picture, wanted in zip(data[f"{case}/pred"], data[f"{case}/out"], strict=True):
        detections, values = things(picture, e["label_divisor"], e["things"])
        tracks = tracker.update(detections).confirmed
        np.testing.assert_array_equal(painted(picture, values, tracks, e["label_divisor"]), wanted)
    assert tracks.ids.max(initial=0) < e["next_track_id"]


def painted(picture, values, tracks, divisor):
    """The picture with the ids of tracks."""
    out = picture.copy()
    for track, row in zip(tracks.ids, tracks.source, strict=True):
        out[picture == values[row]] = values[row] // divisor * divisor + track
    return out


@pytest.mark.parametrize("case", ["kitti", "mot"])
def test_motion_deeplab_paints_every_pixel_like_deeplab2(golden, case):
    data, expected = load(golden, "motion_deeplab")
    divisor, void = expected[case]["label_divisor"], expected[case]["void_label"]
    tracker = create("motion-deeplab")
    for k, picture in enumerate(data[f"{case}/panoptic"]):
        detections, values = things(picture, divisor, set(range(void)), "raster")
        centres = [np.round(np.mean(np.nonzero(picture == v), 1))[::-1] for v in values]
        centres = np.array(centres, np.float32).reshape(-1, 2)
        offsets = [data[f"{case}/frame_offset_yx"][k][int(y), int(x)][::-1] for x, y in centres]
        detections = Detections(
            detections.boxes, detections.scores, detections.labels, detections.masks,
            centres=centres, offsets=np.array(offsets, np.float32).reshape(-1, 2),
        )  # fmt: skip
        tracks = tracker.update(detections).confirmed
        np.testing.assert_array_equal(painted(picture, values, tracks, divisor), data[f"{case}/out"][k])


def test_of_tracks_at_one_place_motion_deeplab_takes_the_one_seen_last():
    """The list of deeplab2 has the tracks of the frame before first."""
    tracker = create("motion-deeplab")
    for offset, track in ((0, 1), (50, 2), (0, 2)):
        seen = Detections([[10, 10, 20, 20]], [0.9], centres=[[14, 14]], offsets=[[offset, 0]])
        assert tracker.update(seen).confirmed.ids.tolist() == [track]


def rules_of(options, form):
    """TrackR-CNN's options as class rules: (least score, gate, frames)."""
    from tracker.association import ClassRule

    rules = []
    for name in ("car", "pedestrian"):
        threshold = options[f"association_threshold_{name}"]
        if form == "reid":
            gate = -(options[f"reid_euclidean_offset_{name}"] - threshold / options[f"reid_euclidean_scale_{name}"])
        elif form == "centre":
            gate = -(options["box_offset"] - threshold / options["box_scale"])
        else:
            gate = threshold
        score = options[f"detection_confidence_threshold_{name}"]
        rules.append(ClassRule(name, score, score, options[f"keep_alive_{name}"], gate))
    return tuple(rules)


def detections_of(data, case, k):
    boxes, scores = data[f"{case}/boxes/{k}"], data[f"{case}/scores/{k}"]
    packed = data[f"{case}/masks/{k}"]
    height, width = packed.shape[1], packed.shape[2] * 8
    dense = np.unpackbits(packed, axis=2) if len(packed) else np.zeros((0, height, width), np.uint8)
    return Detections(
        boxes, scores, data[f"{case}/classes/{k}"], Masks.from_dense(dense), data[f"{case}/reid/{k}"]
    )  # fmt: skip


@pytest.mark.parametrize("case", ["reid_kitti", "reid_greedy", "bbox_center", "empty"])
def test_track_rcnn_gives_the_ids_of_its_authors(golden, case):
    from dataclasses import replace

    data, expected = load(golden, "trackrcnn_assoc")
    e = expected[case]
    centre = e["options"]["bbox_center_weight_car"] > 0
    row = create("trackrcnn-centre" if centre else "trackrcnn", class_names=NAMES).plan
    stage = replace(row.stages[0], solver="greedy" if e["options"]["tracker"] == "greedy" else "exact")
    rules = rules_of(e["options"], "centre" if centre else "reid")
    tracker = Tracker(replace(row, stages=(stage,), classes=rules, min_score=0.0), class_names=NAMES)
    pairs = []
    for k in range(e["frames"]):
        tracks = tracker.update(detections_of(data, case, k)).confirmed
        mine = dict(zip(tracks.source.tolist(), tracks.ids.tolist(), strict=True))
        wanted = {row: track for row, track, _ in e["tracks_detidx_id_class"][k]}
        assert set(mine) == set(wanted), k
        pairs += [(mine[r], wanted[r]) for r in wanted]
    renamed(pairs)


def test_track_rcnn_presets_are_the_published_thresholds():
    """Spec 1.9's largest distances: 8.001, 9.090 and 8.346."""
    kitti, mots = (
        create("trackrcnn", class_names=NAMES).plan,
        create("trackrcnn", class_names=NAMES, preset="mots-challenge").plan,
    )
    gates = {rule.label: -rule.gate for rule in kitti.classes}
    assert gates["car"] == pytest.approx(8.001, abs=1e-3) and gates["pedestrian"] == pytest.approx(9.090, abs=1e-3)
    assert -mots.classes[0].gate == pytest.approx(8.346, abs=1e-3)


@pytest.mark.parametrize("full", [False, True])
def test_motsnet_matches_like_exhaustive_search(golden, full):
    """Tracks of several ages meet one frame; offset form and max-cardinality form."""
    data, expected = load(golden, "motsnet_lap_own")
    for case, e in expected.items():
        if case not in {name.split("/")[0] for name in data.files}:
            continue
        emb, cls, last = (data[f"{case}/{name}_prev"] for name in ("emb", "cls", "t"))
        preset = "kitti" if e["N_w"] == 12 else "mots-challenge"
        tracker = create("motsnet", preset=preset, full=full)
        if not len(last):
            continue
        ids = {}
        for t in range(int(last.min()), e["t"]):
            rows = np.flatnonzero(last == t)
            tracks = tracker.update(seen(emb[rows], cls[rows]))
            for track, row in zip(tracks.ids, tracks.source, strict=True):
                if row >= 0:
                    assert track not in ids, "the golden's previous segments are tracks of their own"
                    ids[track] = int(rows[row])
        tracks = tracker.update(seen(data[f"{case}/emb_cur"], data[f"{case}/cls_cur"]))
        pairs = [[int(row), ids[t]] for t, row in zip(tracks.ids, tracks.source, strict=True) if t in ids and row >= 0]
        form = "max_cardinality_then_min_cost" if full else "offset_tau_minus_pi"
        assert sorted(pairs) == sorted(e[form]["pairs_cur_prev"]), case


def seen(embeddings, labels):
    """Detections that differ in nothing but these."""
    n = len(embeddings)
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (n, 1))
    return Detections(boxes, np.ones(n, np.float32), labels.astype(np.int32), embeddings=embeddings)


def test_signed_iou_equals_the_formula(golden):
    cases = json.loads((golden / "published" / "siou_own.json").read_text())
    for case in cases:
        assert signed_overlap(*map(float, case["b_hat"]), *map(float, case["b"])) == pytest.approx(
            case["siou"], abs=1e-12
        )


@pytest.mark.parametrize("case", "ABCDEF")
def test_siammot_solver_frame_by_frame(golden, shared_or_golden, case):
    data = np.load(shared_or_golden(case))
    dormant, keep, birth, resume = data["params"]
    tracker = create(
        "siammot", max_coast_frames=int(dormant) - 1, keep_score=float(keep), birth_score=float(birth),
        resume_score=float(resume), inclusive_boxes=True,  # these boxes include their last pixel
    )  # fmt: skip
    pairs = []
    for k in range(int(data["n_frames"])):
        boxes, scores, ids = (data[f"f{k:03d}_in_{name}"] for name in ("boxes", "scores", "ids"))
        known = np.array([mapped(pairs, i) if i >= 0 else -1 for i in ids], np.int64)
        plain = np.where(ids >= 0, scores - np.float32(1), scores)
        tracks = tracker.update(Detections(boxes, plain, track_ids=known))
        kept = {int(r): int(t) for t, r in zip(tracks.ids, tracks.source, strict=True) if r >= 0}
        wanted_boxes, wanted_ids = data[f"f{k:03d}_out_boxes"], data[f"f{k:03d}_out_ids"]
        reported = {i: b for i, b in zip(wanted_ids.tolist(), wanted_boxes, strict=True) if i >= 0}
        for track, box in zip(tracks.ids, tracks.boxes, strict=True):
            row = next((r for r, t in kept.items() if t == track), None)
            if row is not None and ids[row] < 0:
                theirs = next(i for i, b in reported.items() if np.array_equal(b, boxes[row]))
                pairs.append((int(track), theirs))
        table = renamed(pairs)
        assert sorted(table[t] for t in kept.values()) == sorted(reported), k
        active = [table[int(t)] for t in tracks.confirmed.ids]
        assert sorted(active) == sorted(data[f"f{k:03d}_active"].tolist()), k
        asleep = {table[int(t)]: int(m) for t, m in zip(tracks.coasting.ids, tracks.coasting.misses, strict=True)}
        stamps = {int(i): int(data[f"f{k:03d}_frame_idx"]) - 1 - int(s) for i, s in data[f"f{k:03d}_dormant"]}
        assert asleep == stamps, k


def mapped(pairs, theirs):
    return next(a for a, b in pairs if b == theirs)


@pytest.fixture
def shared_or_golden(golden):
    def find(case):
        file = golden / "published" / f"solver_{case}.npz"
        if not file.exists():
            pytest.skip(f"{file.name} was not recorded")
        return file

    return find
