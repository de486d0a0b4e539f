"""Outputs in the formats of datasets: KITTI boxes, MOTS, STEP and DAVIS pictures, YouTube-VIS."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from tracker.errors import FormatError, SinkError, why
from tracker.formats import kitti, step
from tracker.formats.class_set import KITTI_STEP, MOTCHALLENGE_STEP, ClassSet
from tracker.formats.davis import DavisEncoder
from tracker.formats.frame_objects import FrameObjects, PixelMap
from tracker.formats.mots_png import MotsPngEncoder
from tracker.formats.writers import FolderWriter, Writer
from tracker.formats.youtube_vis import VisWriter
from tracker.masks import Masks
from tracker.sinks.mots import MotsSink
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.textfile import TextFile, make_parent
from tracker.types import Frame, Tracks

_MARK = ".trackstream"


class KittiSink(Sink):
    """`kitti.txt`: one line of 18 columns per confirmed track and frame, of the classes that KITTI knows."""

    by_default = False

    def __init__(self, path: str | os.PathLike[str], info: RunInfo) -> None:
        """Create the file; `-` is standard output.

        Raises:
            SinkError: it cannot be created.
        """
        self._info = info
        self._file = TextFile(path)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append the frame's rows.

        Raises:
            SinkError: the disk is full, or another failure to write.
        """
        seen = tracks.confirmed
        names = [self._info.class_name(label) for label in seen.labels.tolist()]
        boxes, scores = seen.boxes.astype(np.float64), seen.scores.astype(np.float64)
        self._file.write(kitti.encode_frame(FrameObjects(frame.index, seen.ids, names, boxes, scores)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MotsChallengeSink(MotsSink):
    """`mots_challenge.txt`: as `masks.txt`, but frames count from 1."""

    by_default = False

    def __init__(self, path: str | os.PathLike[str], info: RunInfo) -> None:
        """Create the file; `-` is standard output.

        Raises:
            SinkError: it cannot be created.
        """
        super().__init__(path, info, first_frame=1)


class _WriterSink(Sink):
    """What sinks share that hand frames to a writer of `formats`, and speak of failures as sinks do."""

    by_default = False
    needs_masks = True

    def __init__(self, path: str | os.PathLike[str], info: RunInfo) -> None:
        """Create the folder or file; its parents are made.

        Raises:
            SinkError: it cannot be created, or a folder has pictures that no run of the engine made.
        """
        self._name = os.fspath(path)
        self._info = info
        if self._name == "-":
            raise SinkError(f"cannot write {type(self).__name__} to stdout: name a file or folder")
        make_parent(path)
        try:
            self._writer: Writer | None = self._open(Path(path))
        except SinkError:
            raise
        except OSError as error:
            raise self._failed(error) from None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame.

        Raises:
            SinkError: no masks (or no panoptic picture where one is needed), a number that the format cannot hold, or
                a failure to write.
        """
        if self._writer is None:
            raise SinkError(f"cannot write {self._name}: it is closed")
        try:
            self._writer.write(self._objects(frame, tracks))
        except SinkError:
            raise
        except (OSError, FormatError) as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Finish the output. Calling it twice is harmless."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except OSError as error:
            raise self._failed(error) from None

    @abstractmethod
    def _open(self, path: Path) -> Writer:
        """The writer behind this sink."""

    def _objects(self, frame: Frame, tracks: Tracks) -> FrameObjects:
        """Confirmed tracks with masks that share no pixel: the higher score keeps them, then the earlier row."""
        seen = tracks.confirmed
        masks = seen.masks
        if masks is None:
            if len(seen) and tracks.detections.looked:
                raise SinkError(f"cannot write {self._name}: the model gives boxes without masks")
            masks = Masks.empty(frame.height, frame.width, len(seen))
        names = [self._info.class_name(label) for label in seen.labels.tolist()]
        masks = masks.disjoint(seen.scores)
        whole = FrameObjects.from_masks(
            frame.index, seen.ids, names, masks, seen.scores, names_of_all=self._info.class_names
        )
        return whole.select(np.flatnonzero(masks.areas > 0))

    def _failed(self, error: Exception) -> SinkError:
        reason = why(error) if isinstance(error, OSError) else error
        return SinkError(f"cannot write {self._name}: {reason}")


class YoutubeVisSink(_WriterSink):
    """`youtube_vis.json`: a result file, written when the run ends, with one entry per track.

    Category k + 1 is the model's class k, which is right for a network that was trained on the dataset. The run
    lengths of all tracks are held until the end.
    """

    def _open(self, path: Path) -> Writer:
        return VisWriter(path, names=self._info.class_names)


class _FolderSink(_WriterSink):
    """A folder with a PNG per frame; those of an earlier run, which leaves the file `.trackstream`, are removed."""

    digits: ClassVar[int] = 6
    first_frame: ClassVar[int] = 0

    def _open(self, path: Path) -> Writer:
        path.mkdir(exist_ok=True)
        mark, pictures = path / _MARK, sorted(path.glob("*.png"))
        if pictures and not mark.exists():
            raise SinkError(
                f"cannot write {path}: {pictures[0].name} is there, and not from a run; name another folder"
            )
        for picture in pictures:
            picture.unlink()
        mark.touch()
        return FolderWriter(path, self._encoder(), f"{{:0{self.digits}d}}.png", self.first_frame)

    @abstractmethod
    def _encoder(self) -> Callable[[FrameObjects], bytes]:
        """What makes the pictures of this run, as the bytes of their files."""


class MotsPngSink(_FolderSink):
    """`kitti_mots_png/000000.png`: 16-bit MOTS pictures of the classes that MOTS knows."""

    def _encoder(self) -> Callable[[FrameObjects], bytes]:
        return MotsPngEncoder()


class DavisSink(_FolderSink):
    """`davis/00000.png`: palette pictures of all confirmed tracks, up to 255 in a run."""

    digits = 5

    def _encoder(self) -> Callable[[FrameObjects], bytes]:
        return DavisEncoder()


class KittiStepSink(_FolderSink):
    """`kitti_step/000000.png`: STEP pictures; the model must give a panoptic picture of every frame.

    Classes go by their names; those that the dataset does not have become void. A thing carries the id of the track
    that took it, tentative ones too, since every pixel is judged; a thing that no track took has id 0. A frame that
    nobody looked at gets the picture of the last one that somebody did.
    """

    class_set: ClassVar[ClassSet] = KITTI_STEP
    _last: FrameObjects | None = None  # of the last frame that somebody looked at

    def _objects(self, frame: Frame, tracks: Tracks) -> FrameObjects:
        picture = tracks.detections.panoptic
        if self._last is not None and not tracks.detections.looked:
            held: FrameObjects = replace(self._last, index=frame.index)
            return held
        if picture is None:
            raise SinkError(
                f"cannot write {self._name}: it needs a class for every pixel, and this model gives only objects; "
                "use a panoptic model, or save kitti-mots-png"
            )
        names = self._info.class_names
        if not (self.class_set.numbers_of(names) >= 0).any():
            raise SinkError(
                f"cannot write {self._name}: of the model's classes ({', '.join(names[:6]) or 'unknown'}) none is "
                f"one of the dataset's ({', '.join(self.class_set.names)})"
            )
        id_of_row = np.zeros(len(tracks.detections) + 1, np.int64)
        taken = tracks.source >= 0
        id_of_row[tracks.source[taken] + 1] = tracks.ids[taken]
        if len(tracks) and int(id_of_row.max()) > step.MAX_ID:
            raise SinkError(
                f"cannot write {self._name}: STEP pictures hold ids to {step.MAX_ID}, got {id_of_row.max()}"
            )
        of_model = ClassSet(names, tuple(range(len(names))))
        pixels = PixelMap(picture.classes, id_of_row.astype(np.int32)[picture.rows], of_model)
        none = np.zeros(0)
        self._last = FrameObjects(frame.index, none.astype(np.int64), [], none.reshape(0, 4), none, pixels=pixels)
        return self._last

    def _encoder(self) -> Callable[[FrameObjects], bytes]:
        return partial(step.encode_frame, class_set=self.class_set)


class MotStepSink(KittiStepSink):
    """`mot_step/000001.png`: as `kitti_step`, in the classes of MOTChallenge-STEP."""

    class_set = MOTCHALLENGE_STEP
    first_frame = 1
