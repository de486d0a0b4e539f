"""YouTube-VIS JSON: truth and results both ways, whole tracks from frames, and entries that are refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.formats.frames import H, W, mask_frames
from tracker.errors import FormatError
from tracker.formats.youtube_vis import (
    VisWriter,
    read_results,
    read_truth,
    read_videos,
    write_results,
    write_truth,
)
from tracker.masks import Masks


@pytest.fixture
def folder(golden):
    return golden / "panoptic"


def same(mine, theirs):
    assert (mine.video, mine.category, mine.score, mine.crowd, mine.id) == (
        theirs.video, theirs.category, theirs.score, theirs.crowd, theirs.id,
    )  # fmt: skip
    for a, b in zip(mine.masks, theirs.masks, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(Masks.from_rle([a]).to_dense(), Masks.from_rle([b]).to_dense())


def test_truth_and_results_both_ways(folder, tmp_path):
    truth = read_truth(folder / "ytvis_gt.json")
    assert truth.categories == {1: "car", 2: "person", 3: "never"} and len(truth.videos[1]) == 6
    assert sum(track.crowd for track in truth.tracks) == 1
    (tmp_path / "gt.json").write_text(write_truth(truth))
    for mine, theirs in zip(read_truth(tmp_path / "gt.json").tracks, truth.tracks, strict=True):
        same(mine, theirs)
    results = read_results(folder / "ytvis_pred.json", truth)
    assert json.loads(write_results(results)) == json.loads((folder / "ytvis_pred.json").read_text())


def test_boxes_and_areas_of_truth_come_from_the_masks(folder):
    given = json.loads((folder / "ytvis_gt.json").read_text())["annotations"]
    made = json.loads(write_truth(read_truth(folder / "ytvis_gt.json")))["annotations"]
    assert [entry["bboxes"] for entry in made] == [entry["bboxes"] for entry in given]
    assert [entry["areas"] for entry in made] == [entry["areas"] for entry in given]


def test_tracks_grow_from_frames(tmp_path):
    writer = VisWriter(tmp_path / "a.json")
    for name in ("first", "second"):
        writer.begin(name)
        for frame in mask_frames(4):
            writer.write(frame)
    assert (tmp_path / "a.json").read_text() == ""  # nothing before the end
    writer.close()
    entries = json.loads((tmp_path / "a.json").read_text())
    assert [(e["video_id"], e["category_id"], e["score"]) for e in entries] == [
        (1, 2, 1.0), (1, 1, 1.0), (2, 2, 1.0), (2, 1, 1.0),
    ]  # fmt: skip
    assert [rle is not None for rle in entries[0]["segmentations"]] == [True, True, True, False]
    assert [rle is not None for rle in entries[1]["segmentations"]] == [True, False, True, False]
    assert entries[0]["segmentations"][0]["size"] == [H, W]
    with pytest.raises(ValueError, match="closed"):
        writer.write(mask_frames()[0])


def test_a_video_has_one_size(tmp_path):
    small, large = (replace(mask_frames()[0], masks=Masks.empty(h, W, 2)) for h in (H, H + 1))
    writer = VisWriter(tmp_path / "a.json", truth=True)
    for name, frame in (("first", small), ("second", large)):  # another video may have another size
        writer.begin(name)
        writer.write(frame)
    with pytest.raises(FormatError, match=f"frame 1 is {W} x {H} px, those before {W} x {H + 1}: .*bring all to one"):
        writer.write(replace(small, index=1))
    writer.close()
    assert [v["height"] for v in json.loads((tmp_path / "a.json").read_text())["videos"]] == [H, H + 1]


def test_videos_of_a_file(folder):
    assert list(read_videos(folder / "ytvis_gt.json", None)) == ["v1", "v2", "v3"]
    with_truth = read_videos(folder / "ytvis_pred.json", folder / "ytvis_gt.json")
    alone = read_videos(folder / "ytvis_pred.json", None)
    assert list(with_truth) == ["v1", "v2", "v3"] and list(alone)[:2] == ["1", "2"]
    named, numbered = list(with_truth["v1"]), list(alone["1"])
    assert len(named) == len(numbered) == 6
    assert set(named[0].names) <= {"car", "person"} and set(numbered[0].names) <= {"1", "2"}


def change(content, where, value):
    *path, last = where
    for key in path:
        content = content[key]
    if value is KeyError:
        del content[last]
    else:
        content[last] = value


A0 = ("annotations", 0)
BAD_TRUTH = {
    "lists videos, categories and annotations": (("videos",), KeyError),
    "video 0: width is missing": (("videos", 0, "width"), KeyError),
    "video 1: id 1 is taken already": (("videos", 1, "id"), 1),
    "video 0: height is a text": (("videos", 0, "height"), "48"),
    "annotation 1: id 1 is taken already": (("annotations", 1, "id"), 1),
    "annotation 0: video 9 is not among": ((*A0, "video_id"), 9),
    "annotation 0: category 9 is not among": ((*A0, "category_id"), 9),
    "annotation 0: expected 6 segmentations, one per frame, got 2": ((*A0, "segmentations"), [None, None]),
    "areas as numbers or null": ((*A0, "areas"), ["1", None, None, None, None, None]),
    "expected 6 areas, one per frame, got a number": ((*A0, "areas"), 1.5),
    "annotation 0: expected 6 areas": ((*A0, "areas"), [1]),
    r"frame 0: expected a size of \[48, 80\], got \[80, 48\]": ((*A0, "segmentations", 0, "size"), [80, 48]),
    "frame 0: broken run lengths": ((*A0, "segmentations", 0, "counts"), [1, 2]),
    "frame 0: the run lengths are written as Python bytes": ((*A0, "segmentations", 0, "counts"), "b'12'"),
    "polygons are not read": ((*A0, "segmentations", 0), [[1, 2, 3, 4]]),
    "annotation 0: segmentations is null": ((*A0, "segmentations"), None),
}


@pytest.mark.parametrize("reason", BAD_TRUTH)
def test_truth_with_faults(folder, tmp_path, reason):
    content = copy.deepcopy(json.loads((folder / "ytvis_gt.json").read_text()))
    change(content, *BAD_TRUTH[reason])
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=reason) as caught:
        read_truth(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_results_with_faults(folder, tmp_path):
    truth = read_truth(folder / "ytvis_gt.json")
    entry = json.loads((folder / "ytvis_pred.json").read_text())[0]
    path = tmp_path / "r.json"
    for value, reason in (
        ({}, "expected a list of tracks, got an object"),
        ([{**entry, "score": None}], "entry 0: score is null"),
        ([{**entry, "video_id": True}], "entry 0: video_id is true or false"),
        ([entry, {**entry, "segmentations": [None]}], "entry 1: expected 6 segmentations"),
        ([4], "entry 0: video_id is missing"),
    ):
        path.write_text(json.dumps(value))
        with pytest.raises(FormatError, match=reason):
            read_results(path, truth)
    path.write_text('[{"video_id": 1, "category_id": 1, "score": NaN, "segmentations": []}]')
    with pytest.raises(FormatError, match="finite score"):
        read_results(path)
    path.write_text('[\n{"a": 1},\nx]')
    with pytest.raises(FormatError, match=r"r\.json, line 3: not JSON"):
        read_results(path)
