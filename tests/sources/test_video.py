"""Video files: nothing dropped, true times, and a clear line where a file breaks."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.patience import PATIENCE_S
from tests.sources.clips import HEIGHT, WIDTH, number_of, write_video
from tracker.errors import SourceError
from tracker.sources import open_source


def drain(source):
    """Frames up to the error, and the error."""
    frames = []
    try:
        for frame in source:
            frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    return frames, None


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4"), ("a.mov", "mjpeg")],
)
def test_every_frame_comes_once_in_order(tmp_path, name, codec):
    path = write_video(tmp_path / name, 25, codec=codec)
    with open_source(path) as source:
        assert (source.name, source.size, source.live, source.dropped) == (str(path), (WIDTH, HEIGHT), False, 0)
        assert source.fps == pytest.approx(30, abs=0.01)
        assert source.length == pytest.approx(25, abs=1)
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(25))
    assert [frame.index for frame in frames] == list(range(25))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(25) / 30, atol=2e-3)
    assert frames[0].image.flags.c_contiguous and frames[0].image.flags.writeable


def test_a_variable_rate_keeps_its_times(tmp_path):
    times = [0.0, 0.033, 0.5, 0.51, 2.0, 2.25]
    with open_source(write_video(tmp_path / "vfr.mkv", 6, times=times)) as source:
        np.testing.assert_allclose([frame.time_s for frame in source], times, atol=2e-3)


def test_times_start_at_the_first_frame(tmp_path):
    with open_source(write_video(tmp_path / "late.mkv", 3, times=[5.0, 5.1, 5.3])) as source:
        np.testing.assert_allclose([frame.time_s for frame in source], [0, 0.1, 0.3], atol=2e-3)


def test_raw_h264_without_stamps_runs_at_its_rate(tmp_path):
    with open_source(write_video(tmp_path / "raw.h264", 10, format="h264")) as source:
        times = [frame.time_s for frame in source]
    assert len(times) == 10
    assert np.all(np.diff(times) > 0) and times[-1] < 1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_display_matrix_is_honoured(tmp_path, degrees):
    path = write_video(tmp_path / "phone.mp4", 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    turn = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value * 65536 for value in turn)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with open_source(path) as source:
        assert source.size == ((HEIGHT, WIDTH) if degrees != 180 else (WIDTH, HEIGHT))
        image = list(source)[1].image
    assert image.shape[:2] == source.size[::-1]
    upright = np.rot90(image, degrees // 90)  # the matrix turns clockwise; turn back
    assert number_of(upright) == 1


def test_a_size_change_in_the_middle_goes_through(tmp_path):
    """Two recordings glued together: another size, and a clock that starts anew."""
    parts = [
        write_video(tmp_path / "1.ts", 8),
        write_video(tmp_path / "2.ts", 8, size=(2 * WIDTH, 2 * HEIGHT)),
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(path) as source:
        assert source.size == (WIDTH, HEIGHT)
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [*range(8), *range(8)]
    assert [frame.width for frame in frames] == [WIDTH] * 8 + [2 * WIDTH] * 8
    times = [frame.time_s for frame in frames]
    assert all(0 < late - early < 0.2 for early, late in itertools.pairwise(times))


def test_a_path_with_a_colon_or_percent_is_only_a_path(tmp_path):
    path = write_video(tmp_path / "12:30 50%.mp4", 2)
    assert len(list(open_source(str(path)))) == 2


def test_closing_early_ends_the_iteration(tmp_path):
    source = open_source(write_video(tmp_path / "a.mp4", 20))
    assert next(iter(source)).index == 0
    source.close()
    source.close()
    assert list(source) == []


def test_closing_while_another_thread_reads_is_safe(tmp_path):
    path = write_video(tmp_path / "a.mp4", 200)
    for wait in (1, 5, 20):
        source = open_source(path)
        started = threading.Event()
        seen = []

        def read(source=source, seen=seen, started=started, wait=wait):
            for frame in source:
                seen.append(frame.index)
                if len(seen) == wait:
                    started.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert started.wait(PATIENCE_S)
        source.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert seen == list(range(len(seen)))


# ---------------------------------------------------------------------- files that are not what they seem


def sound_only(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


BAD_FILES = {
    "zero.mp4": (lambda path: path.write_bytes(b""), "empty"),
    "text.mp4": (lambda path: path.write_text("hello\n" * 100), "not a video"),
    "text.txt": (lambda path: path.write_text("hello\n" * 100), "not a video"),
    "noise.avi": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(20000)), "not a video"),
    "sound.wav": (sound_only, "no video stream, it holds only audio"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_one_line_for_files_that_are_no_video(tmp_path, name, capfd):
    make, reason = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / name)
    assert reason in str(caught.value) and name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_so(tmp_path):
    path = write_video(tmp_path / "a.mp4", 2)
    path.chmod(0)
    with pytest.raises(SourceError, match="permission denied"):
        open_source(path)


def test_a_file_without_its_index_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", 30, noise=1)  # the index stands at the end
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="cut short: its index, which is written last, is missing"):
        open_source(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mjpeg")])
def test_a_file_that_is_cut_short_gives_its_frames_and_then_says_so(tmp_path, name, codec, capfd):
    path = write_video(tmp_path / name, 60, codec=codec, noise=1, movflags="faststart" if codec == "libx264" else None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, error = drain(open_source(path))
    assert 20 < len(frames) < 50
    assert [number_of(frame.image) for frame in frames[:-1]] == list(range(len(frames) - 1))
    assert name in error and f"after frame {len(frames) - 1}" in error and "cut short" in error
    assert capfd.readouterr() == ("", "")


def with_a_hole(path):
    data = bytearray(path.read_bytes())
    middle, size = len(data) // 2, len(data) // 10
    data[middle : middle + size] = np.random.default_rng(3).bytes(size)
    path.write_bytes(data)
    return path


def test_a_hole_in_the_middle_names_the_frame(tmp_path, capfd):
    path = with_a_hole(write_video(tmp_path / "a.mp4", 60, noise=1))
    frames, error = drain(open_source(path))
    assert f"a.mp4 broke after frame {len(frames) - 1} " in error and "\n" not in error
    assert len(frames) >= 20
    assert [number_of(frame.image) for frame in frames[:20]] == list(range(20))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mjpeg")])
def test_containers_that_find_their_way_again_lose_only_the_hole(tmp_path, name, codec, capfd):
    frames, _ = drain(open_source(with_a_hole(write_video(tmp_path / name, 60, codec=codec, noise=1))))
    assert [number_of(frame.image) for frame in frames[:20]] == list(range(20))
    times = [frame.time_s for frame in frames]
    assert len(frames) > 40 and all(late > early for early, late in itertools.pairwise(times))
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------- standard input


def track_stdin(video: bytes):
    code = """
        from tracker.sources import open_source
        from tests.sources.clips import number_of
        with open_source("-") as source:
            print(source.name, source.live, source.size, [number_of(frame.image) for frame in source])
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=video,
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    ("name", "codec", "movflags"),
    [("a.ts", "libx264", None), ("a.mp4", "libx264", "frag_keyframe+empty_moov"), ("a.y4m", "wrapped_avframe", None)],
)
def test_stdin_takes_what_can_be_piped(tmp_path, name, codec, movflags):
    if codec == "wrapped_avframe":
        path = tmp_path / name
        planes = b"\x80" * (WIDTH * HEIGHT * 3 // 2)
        path.write_bytes(
            f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip C420jpeg\n".encode() + b"".join([b"FRAME\n" + planes] * 8)
        )
        wanted = [(1 << 16) - 1] * 8
    else:
        path = write_video(tmp_path / name, 8, codec=codec, movflags=movflags)
        wanted = list(range(8))
    done = track_stdin(path.read_bytes())
    assert done.stderr == b""
    assert done.stdout.decode() == f"stdin False {(WIDTH, HEIGHT)} {wanted}\n"


def test_nothing_on_stdin_is_one_line():
    done = track_stdin(b"")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith("tracker.errors.SourceError: cannot open stdin: ")


# ---------------------------------------------------------------------- real files


@pytest.mark.parametrize(
    ("name", "length", "fps", "size"),
    [
        ("vtest.avi", 795, 10, (768, 576)),
        ("car-detection.mp4", 377, 12.5, (768, 432)),
        ("highway.mp4", 38, 25, (1280, 720)),
    ],
)
def test_real_videos(shared, name, length, fps, size):
    with open_source(shared / "data" / "video" / name) as source:
        assert (source.length, source.fps, source.size) == (length, fps, size)
        frames = [(frame.index, frame.time_s, frame.image.shape) for frame, _ in zip(source, range(30))]
    assert [index for index, _, _ in frames] == list(range(30))
    np.testing.assert_allclose([time_s for _, time_s, _ in frames], np.arange(30) / fps, atol=1e-3)
    assert {shape for _, _, shape in frames} == {(size[1], size[0], 3)}
