"""Recordings: what goes in comes out, killed runs stay readable, damage is one line."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import typing
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.patience import PATIENCE_S
from tests.sinks.scenes import CROWD, frame, tracks
from tracker import create
from tracker.errors import FormatError, FrameError, SinkError, SourceError
from tracker.formats import recording as module
from tracker.formats.recording import Header, Recorder, Recording, Result
from tracker.formats.trk import pack_block, pack_frame, read_blocks, unpack_frame
from tracker.masks import Masks
from tracker.types import Detections, Frame, Panoptic, Tracks

HEADER = Header("rtsp://***@cam/live", 25.0, (64, 48), ("person", "car"), True, "net.onnx", "ab" * 32, "sort", {"x": 1})


def random_detections(rng: np.random.Generator, n: int) -> Detections:
    """N detections with everything: masks (some empty), embeddings, a panoptic picture."""
    corners = rng.uniform(0, 40, (n, 2)).astype(np.float32)
    stack = rng.random((n, 48, 64)) < rng.choice([0.0, 0.2, 1.0], (n, 1, 1))
    return Detections(
        np.hstack([corners, corners + rng.uniform(0, 20, (n, 2)).astype(np.float32)]),
        rng.random(n, np.float32),
        rng.integers(0, 80, n),
        Masks.from_dense(stack) if n else Masks.empty(48, 64),
        rng.standard_normal((n, 16)).astype(np.float32),
        Panoptic(rng.integers(0, 256, (48, 64), np.uint8), rng.integers(0, n + 1, (48, 64), np.int32)),
    )


def snapshot(detections: Detections) -> Tracks:
    return dataclasses.replace(Tracks.empty(), detections=detections)


def write(path: Path, snapshots: list[Tracks], header: Header = HEADER) -> Path:
    with Recorder(path, header) as recorder:
        for index, scene in enumerate(snapshots):
            recorder.write(frame(index), scene)
    return path


def assert_equal(a: object, b: object) -> None:
    """Same structs, dtypes and bits, whatever fields they have."""
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_equal(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    else:
        assert a == b


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = [random_detections(rng, n) for n in (3, 0, 7, 1)]
    scenes += [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), looked=False, shed=("flow", "looks"))]
    scenes += [Detections.empty(), Detections.from_array([[1, 2, 3, 4, 0.5, 6]])]
    file = write(tmp_path / "deep" / "run.trk", [snapshot(scene) for scene in scenes])
    recording = Recording.open(file)
    assert recording.header == HEADER and len(recording) == 7 and recording.complete
    for _ in range(2):  # it can be read again
        for index, (head, detections) in enumerate(recording):
            assert (head.index, head.time_s, head.width, head.height) == (index, index / 25, 64, 48)
            assert_equal(detections, scenes[index])
            assert detections.boxes.flags.writeable and detections.boxes.flags.aligned


def test_the_tracks_are_kept_too(tmp_path: Path) -> None:
    (record,) = Recording.open(write(tmp_path / "run.trk", [tracks(CROWD)])).records()
    assert record.result.same_as(Result.of(tracks(CROWD))) and not record.result.same_as(Result.of(Tracks.empty()))
    assert_equal(record.result, Result.of(tracks(CROWD)))


def test_whatever_detections_learn_to_hold_is_recorded() -> None:
    """Every field is a value, an array, a tuple of texts, or a struct that the recording knows, made of such fields."""
    plain = (int, float, bool, type(None), tuple[str, ...])

    def check(struct: type) -> None:
        for hint in typing.get_type_hints(struct).values():
            for part in typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,):
                if dataclasses.is_dataclass(part):
                    assert module.STRUCTS[part.__name__] is part
                    check(part)
                else:
                    assert part in plain or typing.get_origin(part) in (np.ndarray, NDArray), part

    check(Detections)


def test_a_field_of_the_future_needs_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    future = dataclasses.make_dataclass(
        "Detections", [("centres", object, None), ("offsets", object, None), ("flow", object, None)]
    )
    structs = {"Detections": future, "Masks": Masks}
    given = future(np.arange(6.0).reshape(3, 2).T, np.array([], np.float16).reshape(0, 2), Masks.empty(4, 5, 2))
    found = unpack_frame(pack_frame({"detections": given, "index": 3}, structs), structs)
    assert found["index"] == 3
    assert_equal(found["detections"], given)
    with pytest.raises(SinkError, match="cannot record a set"):
        pack_frame({"detections": future({1})}, structs)


def test_a_tracker_gives_the_same_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    first, second = create("bytetrack"), create("bytetrack")
    start = rng.uniform(0, 400, (12, 2))
    with Recorder(tmp_path / "run.trk", HEADER) as recorder:
        wanted = []
        for k in range(40):
            corners = start + 3 * k + rng.normal(0, 1, (12, 2))
            rows = np.hstack([corners, corners + 30, rng.uniform(0.05, 1, (12, 1))])[rng.random(12) < 0.8]
            head = Frame(3 * k, k / 7, np.zeros((48, 64, 3), np.uint8))
            wanted.append(first.update(Detections.from_array(rows), head))
            recorder.write(head, wanted[-1])
    for (head, detections), tracked in zip(Recording.open(tmp_path / "run.trk"), wanted, strict=True):
        assert_equal(second.update(detections, head), tracked)


def test_the_layout_is_readable_without_numpy_or_this_package(tmp_path: Path) -> None:
    """As another language would read it: the module's text, word for word."""
    data = write(tmp_path / "run.trk", [tracks(CROWD[:2])]).read_bytes()
    assert data[:8] == b"\x89TRK\r\n\x1a\n"
    at, blocks = 8, []
    while at < len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        payload = data[at + 8 : at + 8 + length]
        assert int.from_bytes(data[at + 8 + length : at + 12 + length], "little") == zlib.crc32(kind + payload)
        blocks.append((kind, payload))
        at += 12 + length
    assert [kind for kind, _ in blocks] == [b"HEAD", b"FRAM", b"DONE"]
    assert json.loads(blocks[0][1])["schema"] == "trackstream.recording/1" and json.loads(blocks[2][1]) == {"frames": 1}
    body = zlib.decompress(blocks[1][1])
    length = int.from_bytes(body[:4], "little")
    facts, arrays = json.loads(body[4 : 4 + length]), body[4 + length :]
    dtype, shape, offset = facts["detections"]["boxes"]
    assert (dtype, shape, facts["detections"]["kind"], facts["width"]) == ("<f4", [2, 4], "Detections", 64)
    assert struct.unpack_from("<8f", arrays, offset) == (2, 3, 12, 33, 20, 5, 40, 25)


# ---------------------------------------------------------------------- files that are not whole


def test_a_file_cut_anywhere_gives_the_whole_frames_before(tmp_path: Path) -> None:
    whole = write(tmp_path / "run.trk", [tracks(CROWD[: k + 1]) for k in range(5)])
    data = whole.read_bytes()
    ends = [at for at, kind, _ in read_blocks(whole) if kind != b"HEAD"]  # where frame k begins, and DONE
    cut = tmp_path / "cut.trk"
    near = {end + step for end in ends for step in (-1, 0, 1)}
    for length in sorted({*range(0, len(data), 7), *near} - {len(data)}):
        cut.write_bytes(data[:length])
        if length < ends[0]:
            with pytest.raises(FormatError, match=r"ends before its header|not a recording"):
                Recording.open(cut)
            continue
        recording = Recording.open(cut)
        frames = sum(end <= length for end in ends[1:])
        assert len(recording) == frames and not recording.complete
        assert [len(detections) for _, detections in recording] == [min(k + 1, 4) for k in range(frames)]


def test_a_killed_process_leaves_every_frame_it_wrote(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from tests.formats.test_recording import CROWD, HEADER, Recorder, frame, tracks
        recorder = Recorder({str(tmp_path / "run.trk")!r}, HEADER)
        for index in range(30):
            recorder.write(frame(index), tracks(CROWD))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[2], timeout=PATIENCE_S, check=False
    )
    assert done.returncode == -signal.SIGKILL
    recording = Recording.open(tmp_path / "run.trk")
    assert [head.index for head, _ in recording] == list(range(30)) and not recording.complete


def test_any_flipped_byte_is_noticed_or_cuts_the_file(tmp_path: Path) -> None:
    """Never other detections than the recorded ones, never another exception."""
    whole = write(tmp_path / "run.trk", [tracks(CROWD) for _ in range(2)])
    data = bytearray(whole.read_bytes())
    wanted = [detections for _, detections in Recording.open(whole)]
    broken = tmp_path / "broken.trk"
    for at in range(len(data)):
        data[at] ^= 0x24
        broken.write_bytes(data)
        data[at] ^= 0x24
        try:
            found = []
            for _, detections in Recording.open(broken):
                found.append(detections)
            assert len(found) < 2 or at >= len(data) - 30  # only the last block may go without a word
        except FormatError as error:
            assert str(broken) in str(error) and "\n" not in str(error)
        for a, b in zip(found, wanted, strict=False):
            assert_equal(a, b)


def damaged(**changes: object) -> bytes:
    masks = dataclasses.replace(Masks.from_dense(np.ones((1, 48, 64), bool)), **changes)
    detections = dataclasses.replace(tracks(CROWD[:1]).detections, masks=masks)
    facts = {"index": 0, "time_s": 0.0, "width": 64, "height": 48, "detections": detections}
    return pack_frame({**facts, "result": Result.of(Tracks.empty())}, module.STRUCTS)


@pytest.mark.parametrize(
    "payload",
    [
        b"not zlib",
        zlib.compress(b"\xff\xff\xff\xff"),
        pack_frame({"index": 0}, {}),
        pack_frame({"index": 0, "time_s": 0, "width": 1, "height": 1, "detections": 1, "result": 2}, {}),
        damaged(rects=np.array([[0, 0, 64, 4800]], np.int32)),
        damaged(rects=np.array([[-64, 0, 0, 48]], np.int32)),
        damaged(starts=np.array([0, 1 << 40])),
        damaged(words=np.zeros(3, np.uint64)),
        damaged(words=np.zeros(48, np.int32)),
        damaged(height=np.array(7)),
    ],
)
def test_a_made_up_frame_is_one_line(tmp_path: Path, payload: bytes) -> None:
    """A checksum that fits makes nothing true: compiled code must not read where such a file points."""
    file = write(tmp_path / "run.trk", [tracks(CROWD)])
    at = next(at for at, kind, _ in read_blocks(file) if kind == b"DONE")
    file.write_bytes(file.read_bytes()[:at] + pack_block(b"FRAM", payload))
    with pytest.raises(FormatError, match=rf"run\.trk, byte {at}: .*; the frames before it can be read") as caught:
        list(Recording.open(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"schema": "trackstream.recording/2"}', "expected a recording of trackstream.recording/1, got .*/2.*update"),
        (b"[]", "a header that cannot be read"),
        (b"{", "a header that cannot be read"),
        (b'{"schema": "trackstream.recording/1", "size": null, "class_names": [], "mood": 1}', "cannot be read .*mood"),
    ],
)
def test_a_header_of_another_kind_is_one_line(tmp_path: Path, payload: bytes, words: str) -> None:
    (tmp_path / "run.trk").write_bytes(b"\x89TRK\r\n\x1a\n" + pack_block(b"HEAD", payload))
    with pytest.raises(FormatError, match=words):
        Recording.open(tmp_path / "run.trk")


def test_other_files_and_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FormatError, match=r"notes\.txt is not a recording"):
        Recording.open(tmp_path / "notes.txt")
    with pytest.raises(FormatError, match=r"cannot read .*none\.trk: no such file"):
        Recording.open(tmp_path / "none.trk")
    assert not module.is_recording(tmp_path / "none.trk")


# ---------------------------------------------------------------------- writing


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run.trk", tmp_path):
        with pytest.raises(SinkError, match="cannot write"):
            Recorder(path, HEADER)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(SinkError, match=r"cannot write /dev/full: no space left"):
        Recorder("/dev/full", HEADER)


def test_nothing_follows_a_block_that_failed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.trk", HEADER)
    recorder.write(frame(), tracks(CROWD))

    class Full:
        def __init__(self, file: typing.BinaryIO) -> None:
            self.file = file

        def write(self, data: bytes) -> None:
            self.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.file.close()

    recorder._file = Full(recorder._file)
    with pytest.raises(SinkError, match="no space left"):
        recorder.write(frame(1), tracks(CROWD))
    recorder.close()
    recording = Recording.open(tmp_path / "run.trk")
    assert len(list(recording)) == 1 and not recording.complete


def test_close_twice_is_harmless_and_writing_then_is_refused(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.trk", HEADER)
    recorder.close()
    recorder.close()
    assert Recording.open(tmp_path / "run.trk").complete and list(Recording.open(tmp_path / "run.trk")) == []
    with pytest.raises(SinkError, match="closed"):
        recorder.write(frame(), tracks(CROWD))


# ---------------------------------------------------------------------- frames without and with images


def test_a_bare_frame_says_that_it_has_no_image(tmp_path: Path) -> None:
    ((head, _),) = Recording.open(write(tmp_path / "run.trk", [tracks(CROWD)]))
    assert isinstance(head, Frame)
    with pytest.raises(FrameError, match="frame 0 was kept without its image; give the source video"):
        _ = head.image
    with pytest.raises(AttributeError):
        head.index = 3


def test_the_source_lends_its_images(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.trk", HEADER) as recorder:
        for index in (0, 2, 5):
            recorder.write(frame(index, time_s=index / 7), tracks(CROWD))
    recording = Recording.open(tmp_path / "run.trk")
    video = [Frame(k, k / 30, np.full((48, 64, 3), k, np.uint8)) for k in range(6)]
    found = [record.frame for record in recording.records(video)]
    assert [(f.index, f.time_s, f.image[0, 0, 0]) for f in found] == [(k, k / 7, k) for k in (0, 2, 5)]
    with pytest.raises(SourceError, match="no frame 5"):
        list(recording.records(video[:5]))
    with pytest.raises(SourceError, match="expected frames of 64x48 as in the recording, got 32x48 at frame 0"):
        list(recording.records([frame(k, (32, 48)) for k in range(6)]))
