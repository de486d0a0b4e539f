"""A run's detections and what the tracker made of them, in a `.trk` file: to be tracked again without the network.

Each frame reaches the operating system at once, so a killed process loses no frame that it wrote, and one that is cut
short is not read. (A power cut may lose what the operating system had not put on the disk.) `tracker.formats.trk` has
the layout.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker import __version__, types
from tracker.errors import FormatError, FrameError, SinkError, SourceError, TrackerError, why
from tracker.formats.trk import DONE, FRAM, HEAD, MAGIC, fail_at, pack_block, pack_frame, read_blocks, unpack_frame
from tracker.masks import Masks
from tracker.types import Detections, Frame, Tracks

SCHEMA = "trackstream.recording/1"
"""Name and version of the layout; the number rises when a reader would have to change."""


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for all frames of a recording.

    Attributes:
        source: name of the source, passwords masked.
        fps: frames per second as the source states it; None if unknown.
        size: (width, height) of the first frame; None if unknown.
        class_names: name of every class index.
        masks: the network gives masks.
        model: name of the model file.
        model_sha256: of that file.
        system: name of the tracking system.
        options: what the user had changed in it.
        version: of the trackstream that wrote the file.
    """

    source: str = ""
    fps: float | None = None
    size: tuple[int, int] | None = None
    class_names: tuple[str, ...] = ()
    masks: bool = False
    model: str = ""
    model_sha256: str = ""
    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__


class BareFrame(Frame):
    """A frame whose image was not kept: index, time and size are there, asking for the image is a `FrameError`."""

    __slots__ = ("_size",)
    _size: tuple[int, int]

    def __init__(self, index: int, time_s: float, width: int, height: int, **facts: Any) -> None:
        given = {"index": index, "time_s": time_s, "epoch": 0, "arrived_s": None, "header": None, **facts}
        for name, value in given.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_size", (width, height))

    @classmethod
    def of(cls, frame: Frame) -> BareFrame:
        """A frame without its image, which it no longer keeps alive; all else stays."""
        return cls(
            frame.index, frame.time_s, frame.width, frame.height,
            epoch=frame.epoch, arrived_s=frame.arrived_s, header=frame.header,
        )  # fmt: skip

    @property
    def image(self) -> NDArray[np.uint8]:
        """There is none.

        Raises:
            FrameError: always.
        """
        raise FrameError(f"frame {self.index} was kept without its image; give the source video as well")

    @property
    def height(self) -> int:
        """Rows that the image had."""
        return self._size[1]

    @property
    def width(self) -> int:
        """Columns that the image had."""
        return self._size[0]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What the tracker made of a frame: the columns of `Tracks` that identify every live track.

    Attributes:
        ids: (T,) int64.
        states: (T,) uint8, `TrackState`.
        source: (T,) int32, row of the detection taken, -1 for none.
        boxes: (T, 4) float32, xyxy, source pixels.
    """

    ids: NDArray[np.int64]
    states: NDArray[np.uint8]
    source: NDArray[np.int32]
    boxes: NDArray[np.float32]

    @classmethod
    def of(cls, tracks: Tracks) -> Result:
        """These columns of a snapshot."""
        return cls(tracks.ids, tracks.states, tracks.source, tracks.boxes)

    def same_as(self, other: Result) -> bool:
        """Bit for bit."""
        names = [column.name for column in dataclasses.fields(self)]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)


class Record(NamedTuple):
    """One frame of a recording."""

    frame: Frame
    detections: Detections
    result: Result


STRUCTS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Masks, Result, *vars(types).values())
    if isinstance(kind, type) and dataclasses.is_dataclass(kind)
}
"""Structs that a frame may hold: whatever `Detections` learns to hold is recorded without a change here."""


class Recorder:
    """A sink that writes a recording: every frame's `tracks.detections`, and the tracks' ids, states and boxes.

    Args:
        path: of the file; parents are made, an existing file is replaced.
        header: facts of the run.

    Raises:
        SinkError: in every method, if the file cannot be created or written.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        self.name = os.fspath(path)
        self._frames = 0
        self._file: BinaryIO | None = None
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = Path(path).open("wb")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise self._cannot_write(error) from None
        payload = json.dumps({"schema": SCHEMA, **dataclasses.asdict(header)}, ensure_ascii=False).encode()
        self._put(MAGIC + pack_block(HEAD, payload))

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame of no detections counts too."""
        facts = {
            "index": frame.index,
            "time_s": frame.time_s,
            "width": frame.width,
            "height": frame.height,
            "detections": tracks.detections,
            "result": Result.of(tracks),
        }
        self._put(pack_block(FRAM, pack_frame(facts, STRUCTS)))
        self._frames += 1

    def close(self) -> None:
        """Mark the recording as whole and close it. Calling it twice is harmless."""
        if self._file is not None:
            self._put(pack_block(DONE, json.dumps({"frames": self._frames}).encode()))
            self._end()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, data: bytes) -> None:
        if self._file is None:
            raise SinkError(f"cannot write {self.name}: it is closed")
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(SinkError):  # after a block that is cut short nothing may follow
                self._end()
            raise self._cannot_write(error) from None

    def _end(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write {self.name}: {why(error)}")


class Recording:
    """A recording to read, as often as one likes; also one that a killed run left or that is still being written.

        for frame, detections in Recording.open("run.trk"):
            tracks = associator.update(detections, frame)

    Attributes:
        path: of the file.
        header: facts of the run.

    Raises:
        FormatError: while opening or reading: not a recording, of another version, or damaged; names the byte.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        self.path = os.fspath(path)
        self.header = header

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Recording:
        """Read the header; the frames are read when they are asked for."""
        for _, kind, payload in read_blocks(path):
            if kind != HEAD:
                break
            return cls(path, _header(path, payload))
        raise FormatError(f"{path}: the recording ends before its header")

    def __iter__(self) -> Iterator[tuple[Frame, Detections]]:
        """Every whole frame, in order, with its detections; the frames are `BareFrame`s."""
        for record in self.records():
            yield record.frame, record.detections

    def records(self, images: Iterable[Frame] | None = None) -> Iterator[Record]:
        """Every whole frame with its detections and the tracks that the run made of it.

        Args:
            images: the run's frames again, in order: a frame of the same index lends its image. More are skipped.

        Raises:
            SourceError: `images` lacks a frame, or has one of another size.
        """
        lenders = None if images is None else iter(images)
        for at, kind, payload in read_blocks(self.path):
            if kind == FRAM:
                record = self._record(at, payload)
                yield record if lenders is None else record._replace(frame=_with_image(record.frame, lenders))

    def __len__(self) -> int:
        """Whole frames that are there now, counted without decoding them."""
        return sum(kind == FRAM for _, kind, _ in read_blocks(self.path, skim=True))

    @property
    def complete(self) -> bool:
        """The run closed the file; False where it was killed or still goes on."""
        return any(kind == DONE for _, kind, _ in read_blocks(self.path, skim=True))

    def _record(self, at: int, payload: bytes) -> Record:
        try:
            facts = unpack_frame(payload, STRUCTS)
            frame = BareFrame(int(facts["index"]), float(facts["time_s"]), int(facts["width"]), int(facts["height"]))
            detections, result = facts["detections"], facts["result"]
        except TrackerError as error:
            fail_at(self.path, at, f"{error}; written by trackstream {self.header.version}")
        except (ValueError, TypeError, LookupError):
            fail_at(self.path, at, "a frame without index, time, size, detections or result")
        if not isinstance(detections, Detections) or not isinstance(result, Result):
            fail_at(self.path, at, "a frame without detections or result")
        return Record(frame, detections, result)


def is_recording(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as a recording does; False where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _header(path: str | os.PathLike[str], payload: bytes) -> Header:
    try:
        facts = json.loads(payload)
        schema = facts.pop("schema", None)
        if schema != SCHEMA:
            raise FormatError(f"{path}: expected a recording of {SCHEMA}, got {schema!r}; update trackstream")
        facts["class_names"] = tuple(facts["class_names"])
        facts["size"] = None if facts["size"] is None else tuple(facts["size"])
        return Header(**facts)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: a header that cannot be read ({error})") from None


def _with_image(frame: Frame, lenders: Iterator[Frame]) -> Frame:
    lender = next((lender for lender in lenders if lender.index >= frame.index), None)
    if lender is None or lender.index != frame.index:
        raise SourceError(f"the source has no frame {frame.index}, which the recording holds; is it the same video?")
    if (lender.width, lender.height) != (frame.width, frame.height):
        raise SourceError(
            f"expected frames of {frame.width}x{frame.height} as in the recording, got {lender.width}x{lender.height} "
            f"at frame {frame.index}; is it the same video?"
        )
    return Frame(frame.index, frame.time_s, lender.image)
