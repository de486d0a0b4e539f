"""Automatic annotation: tracklets of a video's segments, linked by optical flow alone, into a dataset's file.

A segmenter says what is where in every frame, flow says where it went, and a link is made only where that is certain
(`tracker.association.mining`). What comes out trains trackers; nobody has labelled anything.

Source: Learning Multi-Object Tracking and Segmentation from Automatic Annotations, arXiv:1912.02096, section 3.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker import pipeline
from tracker._writing import write_whole
from tracker.association.mining import Vetoes, find_payoff, link_segments
from tracker.errors import ConfigError, DetectionsError, FormatError, FrameError, SinkError, why
from tracker.formats import FORMATS
from tracker.formats.frame_objects import FrameObjects
from tracker.formats.writers import Writer
from tracker.formats.youtube_vis import VisTrack, VisTruth, VisVideo, VisWriter, read_truth, write_truth
from tracker.guide import FlowSource
from tracker.masks import Masks
from tracker.sinks.length import LengthSink, length_filter
from tracker.sinks.sink import Sink
from tracker.types import Detections, Frame, Tracks, TrackState

MIN_LENGTH = 5  # segments; the paper's N_t, which it states for inference; for mining it gives no number
FORMAT_OF = {
    "kitti-mots": "kitti-mots", "mots-challenge": "mots-challenge", "kitti-mots-png": "kitti-mots-png",
    "youtube-vis": "youtube-vis-gt",
}  # fmt: skip
"""Name on the command line -> row of `FORMATS`; annotations are ground truth."""


class Miner:
    """Links the segments of every frame with those of the frame before; to `pipeline.run` it is a tracker.

    All tracklets are confirmed and were seen in this very frame: one that is not continued is over, its id is never
    used again. Masks that overlap are made disjoint first, the higher score keeps the pixels; a segment that has none
    left starts no tracklet. A frame of another size than the one before, or without flow, starts all tracklets anew.

    Args:
        flow: optical flow of this stream, with its backward half.
        vetoes: when a segment gets no partner; the paper's numbers by default.
    """

    def __init__(self, flow: FlowSource, vetoes: Vetoes | None = None) -> None:
        self._flow, self._vetoes = flow, vetoes
        self.reset()

    def reset(self) -> None:
        """Begin another video; ids begin at 1 again."""
        self._flow.reset()
        self._labels = np.zeros((0, 0), np.int32)
        self._classes = np.zeros(0, np.int32)
        self._ids = np.zeros(0, np.int64)  # of the segments of the frame before, likewise
        self._hits = np.zeros(0, np.int32)
        self._made = 0

    def update(self, detections: Detections, frame: Frame | None = None, *, time_s: float | None = None) -> Tracks:
        """Take one frame, empty ones included.

        Args:
            detections: with masks; without any detection they may be missing.
            frame: with its image.
            time_s: time of the frame, by default the frame's own.

        Raises:
            DetectionsError: no masks, or masks of another size than the frame.
            FrameError: no frame.
            ConfigError: the flow has no backward half.
        """
        if frame is None:
            raise FrameError("expected a frame with its image: flow is seen in pictures")
        size = frame.height, frame.width
        masks = Masks.empty(*size) if detections.masks is None and not len(detections) else detections.masks
        if masks is None or (masks.height, masks.width) != size:
            got = "none" if masks is None else f"{masks.height} x {masks.width}"
            raise DetectionsError(f"expected masks of {size[0]} x {size[1]} pixels as the frame, got {got}")
        masks = masks.disjoint(detections.scores)
        rows = np.flatnonzero(masks.areas > 0)
        labels, classes = masks.select(rows).to_label_map(), detections.labels[rows]
        partner = self._link(labels, classes, frame)
        ids, hits = np.zeros(len(rows), np.int64), np.ones(len(rows), np.int32)
        old = partner >= 0
        ids[old], hits[old] = self._ids[partner[old]], self._hits[partner[old]] + 1
        ids[~old] = self._made + 1 + np.arange(int((~old).sum()))
        self._made += int((~old).sum())
        self._labels, self._classes, self._ids, self._hits = labels, classes, ids, hits
        n = len(rows)
        return Tracks(
            ids, detections.boxes[rows], detections.scores[rows], classes, np.full(n, TrackState.CONFIRMED, np.uint8),
            rows.astype(np.int32), hits, np.zeros(n, np.int32), np.flatnonzero(masks.areas == 0).astype(np.int32),
            replace(detections, masks=masks), frame.time_s if time_s is None else time_s,
        )  # fmt: skip

    def _link(self, labels: NDArray[np.int32], classes: NDArray[np.int32], frame: Frame) -> NDArray[np.int64]:
        """For each segment its partner in the frame before, or -1."""
        flow = self._flow.update(frame)
        if flow.backward is None:
            raise ConfigError("mining needs flow from each frame back to the one before; this method gives none")
        unknown = flow.revealed is not None and bool(flow.revealed.all())
        if unknown or labels.shape != self._labels.shape:
            return np.full(len(classes), -1, np.int64)
        payoff = find_payoff(labels, classes, self._labels, self._classes, flow.backward, self._vetoes)
        return link_segments(payoff.values)


@dataclass(frozen=True, slots=True)
class Mined:
    """What was written for one video.

    Attributes:
        frames: of the video.
        tracklets: that were long enough.
        segments: of these tracklets.
        wall_s: seconds that it took.
    """

    frames: int
    tracklets: int
    segments: int
    wall_s: float


def mine(
    source: pipeline.FrameSource,
    model: pipeline.Network,
    flow: FlowSource,
    path: Path,
    *,
    name: str = "",
    class_names: Sequence[str] = (),
    form: str = "kitti-mots",
    min_length: int = MIN_LENGTH,
    vetoes: Vetoes | None = None,
    max_frames: int | None = None,
    on_frame: Callable[[Frame, Tracks], None] | None = None,
) -> Mined:
    """Annotate one video; the file appears when it is whole.

    Args:
        source: the video.
        model: a segmenter.
        flow: of this video alone; it is reset first.
        path: of the file, or of the folder for formats of pictures. It is written beside its place as `*.part`, and
            what an earlier, interrupted call left there is removed.
        name: of the video, for formats that say it.
        class_names: of the model's labels; formats leave out what they have no class for.
        form: a key of `FORMAT_OF`.
        min_length: tracklets of fewer segments are left out.
        vetoes: see `Miner`.
        max_frames: stop after this many.
        on_frame: called after each frame, with its tracklets whatever their length.

    Raises:
        ConfigError: no such format, or a minimum length below 1.
        SinkError: the file cannot be written.
        TrackerError: whatever source, model and flow raise; then nothing is at `path`.
    """
    if form not in FORMAT_OF:
        raise ConfigError(f"expected annotations as {', '.join(FORMAT_OF)}, got {form!r}")
    part = path.with_name(path.name + ".part")
    gate = length_filter(min_length, "retract")
    sink = AnnotationSink(part, form, name or path.stem, class_names)
    held = LengthSink(sink, gate, images=False)
    report = pipeline.run(source, model, Miner(flow, vetoes), [held], max_frames=max_frames, on_frame=on_frame)
    try:
        part.replace(path)
    except OSError as error:
        raise _failed(path, error) from None
    return Mined(report.frames, len(sink.tracklets), sink.segments, report.wall_s)


class AnnotationSink(Sink):
    """Writes tracklets in a dataset's format.

    Attributes:
        tracklets: ids of those written so far.
        segments: how many of them there were.
    """

    needs_masks = True
    by_default = False

    def __init__(self, path: Path, form: str, name: str, class_names: Sequence[str]) -> None:
        """Create the output; what is there already is removed.

        Raises:
            SinkError: it cannot be created.
        """
        self._path, self._names = path, tuple(class_names)
        self.tracklets: set[int] = set()
        self.segments = 0
        row = FORMATS[FORMAT_OF[form]]
        self._known = row.classes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(path)
            self._writer: Writer = row.open(path)
        except OSError as error:
            raise _failed(path, error) from None
        if isinstance(self._writer, VisWriter):
            self._writer.begin(name)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame.

        Raises:
            SinkError: the disk is full, or a number that the format cannot hold.
        """
        masks = Masks.empty(frame.height, frame.width) if tracks.masks is None else tracks.masks
        names = [self._names[label] if label < len(self._names) else str(label) for label in tracks.labels.tolist()]
        rows = [row for row, name in enumerate(names) if self._known is None or name in self._known]
        whole = FrameObjects.from_masks(
            frame.index, tracks.ids, names, masks, tracks.scores, names_of_all=self._names
        ).select(rows)
        try:
            self._writer.write(whole)
        except FormatError as error:
            raise SinkError(f"cannot write {self._path}: {error}") from None
        except OSError as error:
            raise _failed(self._path, error) from None
        self.tracklets.update(whole.ids.tolist())
        self.segments += len(whole)

    def close(self) -> None:
        """Finish the output. Calling it twice is harmless.

        Raises:
            SinkError: the disk is full.
        """
        try:
            self._writer.close()
        except OSError as error:
            raise _failed(self._path, error) from None


def merge_truths(paths: Iterable[Path], path: Path) -> None:
    """One YouTube-VIS ground truth of many, whose categories are the same; it appears when it is whole.

    Raises:
        FormatError: one of them cannot be read, or has other categories.
        SinkError: the file cannot be written.
    """
    videos: dict[int, VisVideo] = {}
    tracks: list[VisTrack] = []
    categories: Mapping[int, str] = {}
    for each in paths:
        truth = read_truth(each)
        if videos and truth.categories != categories:
            raise FormatError(f"{each}: its categories are not those of the other files")
        categories = truth.categories
        number_of = {own: len(videos) + place for place, own in enumerate(truth.videos, 1)}
        videos |= {number_of[own]: replace(video, id=number_of[own]) for own, video in truth.videos.items()}
        tracks += [
            replace(track, video=number_of[track.video], id=len(tracks) + place)
            for place, track in enumerate(truth.tracks, 1)
        ]
    try:
        write_whole(path, write_truth(VisTruth(videos, categories, tracks)).encode())
    except OSError as error:
        raise _failed(path, error) from None


def _remove(path: Path) -> None:
    """What an interrupted run left."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        os.unlink(path)


def _failed(path: Path, error: OSError) -> SinkError:
    return SinkError(f"cannot write {path}: {why(error)}")
