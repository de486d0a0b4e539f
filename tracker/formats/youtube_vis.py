"""YouTube-VIS JSON: whole tracks of instance masks, for many videos in one file.

Ground truth is an object with `videos`, `categories` and `annotations`, results are a list; both have one entry per
track with as many segmentations as the video has frames, null where the track is absent. Run lengths are COCO's,
compressed or plain lists.

Source: Video Instance Segmentation, arXiv:1905.04804, and the format of its evaluation server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from tracker.errors import FormatError, MasksError, why
from tracker.formats.frame_objects import FrameObjects
from tracker.masks import Masks, Rle


@dataclass(frozen=True, slots=True, eq=False)
class VisTrack:
    """One object through a video.

    Attributes:
        video: id of the video.
        category: number of the category.
        masks: run lengths for every frame of the video, None where the object is not seen.
        score: confidence; 1 in ground truth.
        crowd: a group that is not judged; ground truth only.
        areas: pixels per frame as ground truth states them, None where absent; by default those of the masks.
        id: of the annotation, from 1; 0 in results.
    """

    video: int
    category: int
    masks: Sequence[Rle | None]
    score: float = 1.0
    crowd: bool = False
    areas: Sequence[float | None] | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class VisVideo:
    """One video of a ground truth file: its id, size in pixels and the names of its frames."""

    id: int
    width: int
    height: int
    file_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.file_names)


@dataclass(frozen=True, slots=True, eq=False)
class VisTruth:
    """A ground truth file: videos by id, category names by number, and all tracks."""

    videos: Mapping[int, VisVideo]
    categories: Mapping[int, str]
    tracks: list[VisTrack] = field(default_factory=list)


def read_truth(path: str | os.PathLike[str]) -> VisTruth:
    """Read a ground truth file.

    Raises:
        FormatError: not JSON, keys that are missing or of another kind, a track of an unknown video or category, of
            another length than its video or with broken run lengths, an id twice; names file and annotation.
    """
    content = _load(path)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("videos", "categories", "annotations")
    ):
        raise FormatError(f"{path}: expected an object with the lists videos, categories and annotations")
    videos: dict[int, VisVideo] = {}
    for place, entry in enumerate(content["videos"]):
        names = _get(path, "video", place, entry, "file_names", list)
        number, width, height = (_get(path, "video", place, entry, key, int) for key in ("id", "width", "height"))
        if number in videos:
            _refuse(path, "video", place, f"id {number} is taken already")
        videos[number] = VisVideo(number, width, height, tuple(map(str, names)))
    categories = {
        _get(path, "category", place, entry, "id", int): _get(path, "category", place, entry, "name", str)
        for place, entry in enumerate(content["categories"])
    }
    tracks: list[VisTrack] = []
    seen: set[int] = set()
    for place, entry in enumerate(content["annotations"]):
        track = _track(path, "annotation", place, entry, videos, categories)
        if track.id in seen:
            _refuse(path, "annotation", place, f"id {track.id} is taken already")
        seen.add(track.id)
        tracks.append(track)
    return VisTruth(videos, categories, tracks)


def read_results(path: str | os.PathLike[str], truth: VisTruth | None = None) -> list[VisTrack]:
    """Read a result file.

    Args:
        path: of the file; an empty list is no track.
        truth: if given, videos, categories and lengths are checked against it.

    Raises:
        FormatError: as in `read_truth`; names file and entry.
    """
    content = _load(path)
    if not isinstance(content, list):
        raise FormatError(f"{path}: expected a list of tracks, got {_kind(content)}")
    videos, categories = (None, None) if truth is None else (truth.videos, truth.categories)
    return [_track(path, "entry", place, entry, videos, categories) for place, entry in enumerate(content)]


def result_entry(track: VisTrack) -> dict[str, Any]:
    """What stands in a result file for a track."""
    return {
        "video_id": track.video,
        "category_id": track.category,
        "score": track.score,
        "segmentations": list(track.masks),
    }


def write_results(tracks: Sequence[VisTrack]) -> str:
    """Text of a result file."""
    return json.dumps([result_entry(track) for track in tracks], allow_nan=False)


def write_truth(truth: VisTruth) -> str:
    """Text of a ground truth file; boxes and areas come from the masks where no areas are given."""
    videos = [
        {"id": v.id, "width": v.width, "height": v.height, "length": len(v), "file_names": list(v.file_names)}
        for v in truth.videos.values()
    ]
    categories = [{"id": number, "name": name} for number, name in truth.categories.items()]
    annotations = []
    for track in truth.tracks:
        video = truth.videos[track.video]
        boxes: list[list[float] | None] = []
        areas: list[float | None] = []
        for rle in track.masks:
            masks = Masks.from_rle([] if rle is None else [rle], video.height, video.width)
            x0, y0, x1, y1 = masks.boxes[0].tolist() if rle is not None else (0.0, 0.0, 0.0, 0.0)
            boxes.append(None if rle is None else [x0, y0, x1 - x0, y1 - y0])
            areas.append(None if rle is None else int(masks.areas[0]))
        annotations.append(
            {
                "id": track.id, "video_id": track.video, "category_id": track.category, "iscrowd": int(track.crowd),
                "height": video.height, "width": video.width, "segmentations": list(track.masks), "bboxes": boxes,
                "areas": areas if track.areas is None else list(track.areas),
            }
        )  # fmt: skip
    content = {"info": {}, "videos": videos, "categories": categories, "annotations": annotations}
    return json.dumps(content, allow_nan=False)


def read_frames(tracks: Sequence[VisTrack], video: VisVideo, categories: Mapping[int, str]) -> Iterator[FrameObjects]:
    """One video of a file as frames; tracks are numbered from 1 in their order, or as their annotations are."""
    for index in range(len(video)):
        present = [(row, track) for row, track in enumerate(tracks, 1) if track.masks[index] is not None]
        rles = [cast(Rle, track.masks[index]) for _, track in present]
        yield FrameObjects.from_masks(
            index, [track.id or row for row, track in present], [categories[track.category] for _, track in present],
            Masks.from_rle(rles, video.height, video.width), [track.score for _, track in present],
            names_of_all=tuple(categories.values()),
        )  # fmt: skip


def read_videos(
    path: str | os.PathLike[str], truth: str | os.PathLike[str] | None
) -> dict[str, Iterator[FrameObjects]]:
    """Every video of a ground truth or result file as frames, under the name of its folder.

    Args:
        path: of the file.
        truth: ground truth of a result file. Without it videos are named by their ids and categories by their numbers.

    Raises:
        FormatError: as `read_truth` and `read_results`.
    """
    if isinstance(_load(path), dict):
        known = read_truth(path)
        tracks, videos, categories = known.tracks, known.videos, known.categories
    elif truth is not None:
        known = read_truth(truth)
        tracks, videos, categories = read_results(path, known), known.videos, known.categories
    else:
        tracks = read_results(path)
        categories = {number: str(number) for number in sorted({track.category for track in tracks})}
        videos = {number: _guess_video(path, number, tracks) for number in sorted({track.video for track in tracks})}
    out: dict[str, Iterator[FrameObjects]] = {}
    for video in videos.values():
        folder = os.path.dirname(video.file_names[0]) if video.file_names else ""
        name = os.path.basename(folder) or str(video.id)
        own = [track for track in tracks if track.video == video.id]
        out[name if name not in out else str(video.id)] = read_frames(own, video, categories)
    return out


def read_video(path: str | os.PathLike[str], truth: str | os.PathLike[str] | None) -> Iterator[FrameObjects]:
    """The only video of a file as frames; arguments and errors as in `read_videos`."""
    videos = read_videos(path, truth)
    if len(videos) != 1:
        raise FormatError(f"{path}: expected one video, got {len(videos)}")
    return next(iter(videos.values()))


def _guess_video(path: str | os.PathLike[str], number: int, tracks: Sequence[VisTrack]) -> VisVideo:
    """Length and size of a video from its results."""
    own = [track for track in tracks if track.video == number]
    sizes = {tuple(rle["size"]) for track in own for rle in track.masks if rle is not None}
    lengths = {len(track.masks) for track in own}
    if len(lengths) != 1 or len(sizes) > 1:
        raise FormatError(f"{path}: tracks of video {number} differ in length or in the size of their masks")
    height, width = next(iter(sizes), (0, 0))
    return VisVideo(number, width, height, tuple("" for _ in range(lengths.pop())))


class VisWriter:
    """Collects tracks and writes them when it is closed: a result file, or a ground truth file.

    Whole tracks stand in one entry, so all run lengths are held until then (about 100 bytes per object and frame). The
    score of a track is the mean of its frames. A track that changes its class counts as the class it had most often.
    """

    def __init__(self, path: str | os.PathLike[str], *, truth: bool = False, names: Sequence[str] = ()) -> None:
        """Make sure that the file can be written; it is empty until `close`.

        Args:
            path: of the file.
            truth: write ground truth with videos and categories, not results.
            names: category k + 1 has the k-th of these names; by default each frame's `names_of_all`.
        """
        self._path = Path(path)
        self._path.write_bytes(b"")
        self._truth, self._names = truth, list(names)
        self._content = VisTruth({}, {}, [])
        self._videos: dict[int, VisVideo] = {}
        self._tracks: dict[int, dict[int, tuple[Rle, str, float]]] = {}
        self._name = ""
        self._size = (0, 0)
        self._length = 0
        self._closed = False

    def begin(self, name: str) -> None:
        """What is written from now on belongs to the next video."""
        self._end_video()
        self._name = name

    def write(self, frame: FrameObjects) -> None:
        """Take one frame of the running video.

        Raises:
            FormatError: a frame without masks, or of another size than the video's first.
            ValueError: the writer is closed.
        """
        if self._closed:
            raise ValueError("it is closed")
        if frame.masks is None:
            raise FormatError(f"frame {frame.index} has boxes without masks")
        self._names = self._names or list(frame.names_of_all)
        size = frame.masks.height, frame.masks.width
        if self._length and size != self._size:
            raise FormatError(
                f"frame {frame.index} is {size[1]} x {size[0]} px, those before {self._size[1]} x {self._size[0]}: "
                "YouTube-VIS has one size for a video; bring all to one size"
            )
        self._size = size
        self._length = frame.index + 1
        rles = frame.masks.to_rle()
        for row, (number, name) in enumerate(zip(frame.ids.tolist(), frame.names, strict=True)):
            if name in self._names:
                self._tracks.setdefault(number, {})[frame.index] = rles[row], name, float(frame.scores[row])

    def close(self) -> None:
        """Write the file; twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._end_video()
        categories = dict(enumerate(self._names, 1))
        content = VisTruth(self._videos, categories, self._content.tracks)
        text = write_truth(content) if self._truth else write_results(content.tracks)
        self._path.write_text(text, encoding="utf-8")

    def _end_video(self) -> None:
        if self._length == 0:
            return
        number = len(self._videos) + 1
        files = tuple(f"{self._name or 'video'}/{frame:05d}.jpg" for frame in range(self._length))
        self._videos[number] = VisVideo(number, self._size[1], self._size[0], files)
        for seen in self._tracks.values():
            names = [name for _, name, _ in seen.values()]
            category = self._names.index(max(names, key=names.count)) + 1
            masks = [seen[frame][0] if frame in seen else None for frame in range(self._length)]
            score = sum(score for _, _, score in seen.values()) / len(seen)
            self._content.tracks.append(
                VisTrack(number, category, masks, round(score, 6), id=len(self._content.tracks) + 1)
            )
        self._tracks, self._length = {}, 0


def _load(path: str | os.PathLike[str]) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}, line {error.lineno}: not JSON: {error.msg.lower()}") from None
    except (UnicodeDecodeError, RecursionError):
        raise FormatError(f"cannot read {path}: not a JSON text") from None


def _track(
    path: str | os.PathLike[str],
    what: str,
    place: int,
    entry: Any,
    videos: Mapping[int, VisVideo] | None,
    categories: Mapping[int, str] | None,
) -> VisTrack:
    truth = what == "annotation"
    video, category = (_get(path, what, place, entry, key, int) for key in ("video_id", "category_id"))
    masks = _get(path, what, place, entry, "segmentations", list)
    if videos is not None and video not in videos:
        _refuse(path, what, place, f"video {video} is not among the ground truth's")
    if categories is not None and category not in categories:
        _refuse(path, what, place, f"category {category} is not among the ground truth's")
    if videos is not None and len(masks) != len(videos[video]):
        _refuse(path, what, place, f"expected {len(videos[video])} segmentations, one per frame, got {len(masks)}")
    size = None if videos is None else [videos[video].height, videos[video].width]
    for frame, rle in enumerate(masks):
        if rle is not None and (reason := _broken(rle, size)):
            _refuse(path, what, place, f"frame {frame}: {reason}")
        size = size if rle is None else list(rle["size"])
    areas = entry.get("areas") if truth else None
    if areas is not None and (not isinstance(areas, list) or len(areas) != len(masks)):
        count = len(areas) if isinstance(areas, list) else _kind(areas)
        _refuse(path, what, place, f"expected {len(masks)} areas, one per frame, got {count}")
    if areas is not None and not all(area is None or isinstance(area, int | float) for area in areas):
        _refuse(path, what, place, "expected areas as numbers or null")
    score = 1.0 if truth else _get(path, what, place, entry, "score", (int, float))
    if not np.isfinite(score):
        _refuse(path, what, place, f"expected a finite score, got {score}")
    number = _get(path, what, place, entry, "id", int) if truth else 0
    return VisTrack(video, category, masks, float(score), bool(entry.get("iscrowd", 0)) and truth, areas, number)


def _broken(rle: Any, size: list[int] | None) -> str:
    """Why a segmentation cannot be used; empty if it can."""
    if type(rle) is not dict or not {"size", "counts"} <= rle.keys():
        return "expected run lengths with size and counts, or null (polygons are not read)"
    if isinstance(rle["counts"], str) and rle["counts"][:2] in ("b'", 'b"'):
        return "the run lengths are written as Python bytes (b'...'); decode them to text before writing"
    try:
        if size is not None and list(rle["size"]) != size:
            return f"expected a size of {size}, got {rle['size']}"
        Masks.from_rle([cast(Rle, rle)])
    except (MasksError, TypeError, ValueError):
        return f"broken run lengths: they do not fill {rle['size']} pixels"
    return ""


def _get(path: str | os.PathLike[str], what: str, place: int, entry: Any, key: str, kind: Any) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        _refuse(path, what, place, f"{key} is missing")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        _refuse(path, what, place, f"{key} is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return kinds.get(type(value), "a number")


def _refuse(path: str | os.PathLike[str], what: str, place: int, reason: str) -> NoReturn:
    raise FormatError(f"{path}, {what} {place}: {reason}")
