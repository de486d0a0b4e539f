"""The video sink and its painter: a file that plays, true times, stable colours, pixels where objects are."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.patience import PATIENCE_S
from tests.sinks.scenes import COASTING, CONFIRMED, CROWD, HEIGHT, NAMES, TENTATIVE, WIDTH, frame, tracks
from tracker.errors import SinkError
from tracker.sinks import RunInfo, VideoSink
from tracker.sinks.crossings import CrossingsSink
from tracker.sinks.overlay import Overlay, OverlayStyle, class_colours, colour_of
from tracker.types import Panoptic, Tracks

INFO = RunInfo("street.mp4", 25.0, (WIDTH, HEIGHT), NAMES)
PLAIN = OverlayStyle(trail_s=0)


def decoded(path):
    """Images, times and the stream's facts."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.width, stream.height)
        pictures = list(container.decode(stream))
    return [p.to_ndarray(format="bgr24") for p in pictures], [float(p.pts * p.time_base) for p in pictures], facts


def write(path, frames, info=INFO):
    with VideoSink(path, info) as sink:
        for item in frames:
            sink.write(item, tracks(CROWD, size=(item.width, item.height), time_s=item.time_s))
    return path


def test_the_file_is_h264_with_every_frame(tmp_path):
    images, times, facts = decoded(write(tmp_path / "a" / "video.mp4", [frame(k) for k in range(30)]))
    assert facts == ("h264", "yuv420p", WIDTH, HEIGHT)
    assert len(images) == 30
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-3)


def test_a_finished_file_is_a_plain_mp4(tmp_path):
    data = write(tmp_path / "video.mp4", [frame(k) for k in range(60)]).read_bytes()
    assert b"moov" in data and data.index(b"ftyp") == 4
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert container.streams.video[0].frames == 60  # counted in the header, as fragments are not
        assert container.duration / 1e6 == pytest.approx(60 / 25, abs=0.05)
        assert float(container.streams.video[0].average_rate) == pytest.approx(25, abs=0.1)


def test_dropped_frames_keep_their_time(tmp_path):
    stamps = [0.0, 0.04, 0.5, 2.0, 2.04]
    path = write(tmp_path / "v.mp4", [frame(k, time_s=7 + stamp) for k, stamp in enumerate(stamps)])
    np.testing.assert_allclose(decoded(path)[1], stamps, atol=1e-3)


def test_times_that_do_not_rise_still_give_every_frame(tmp_path):
    path = write(tmp_path / "v.mp4", [frame(k, time_s=stamp) for k, stamp in enumerate([1.0, 1.0, 0.5, 1.1])])
    assert len(decoded(path)[0]) == 4


@pytest.mark.parametrize("fps", [None, 10.0, 12.5, 29.97, 59.94, 240.0])
def test_any_rate_will_do(tmp_path, fps):
    path = write(tmp_path / "v.mp4", [frame(k, time_s=k / (fps or 30)) for k in range(5)], RunInfo(fps=fps))
    images, times, _ = decoded(path)
    assert len(images) == 5
    np.testing.assert_allclose(np.diff(times), 1 / (fps or 30), atol=1e-4)


@pytest.mark.parametrize("size", [(65, 48), (64, 49), (65, 49)])
def test_odd_sizes_get_one_more_pixel(tmp_path, size):
    images, _, facts = decoded(write(tmp_path / "v.mp4", [frame(k, size) for k in range(3)]))
    assert facts[2:] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert abs(int(images[0][-1, -1].mean()) - 90) < 12  # the border repeats the picture


def test_a_size_change_is_scaled_to_the_first(tmp_path):
    frames = [frame(0), frame(1, (128, 96)), frame(2, (31, 17)), frame(3, (65, 49))]
    images, _, facts = decoded(write(tmp_path / "v.mp4", frames))
    assert len(images) == 4 and facts[2:] == (WIDTH, HEIGHT)
    assert all(image.shape == (HEIGHT, WIDTH, 3) for image in images)


def test_no_frame_leaves_no_file(tmp_path):
    VideoSink(tmp_path / "v.mp4", INFO).close()
    assert not (tmp_path / "v.mp4").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full")
def test_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "v.mp4").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    sink = VideoSink(tmp_path / "v.mp4", INFO)
    with pytest.raises(SinkError, match=r"cannot write .*v\.mp4: no space left") as caught:
        for k in range(200):
            item = frame(k, (320, 240))
            item.image[:] = np.roll(noise, 7 * k, 0)
            sink.write(item, Tracks.empty())
        sink.close()
    assert "\n" not in str(caught.value)


def test_a_killed_process_leaves_a_file_that_plays(tmp_path):
    code = f"""
        import os, signal
        from tests.sinks.scenes import CROWD, frame, tracks
        from tests.sinks.test_video import INFO
        from tracker.sinks import VideoSink
        sink = VideoSink({str(tmp_path / "v.mp4")!r}, INFO)
        for index in range(300):
            sink.write(frame(index), tracks(CROWD))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[2], timeout=PATIENCE_S, check=False
    )
    assert done.returncode == -signal.SIGKILL
    with av.open(str(tmp_path / "v.mp4")) as container:
        count = 0
        try:
            for _ in container.decode(video=0):
                count += 1
        except av.FFmpegError:
            pass  # the last fragment may be torn
    assert count >= 100


# ---------------------------------------------------------------------- the painter


def test_the_frame_is_not_touched():
    item = frame()
    before = item.image.copy()
    painted = Overlay(INFO).paint(item, tracks(CROWD))
    np.testing.assert_array_equal(item.image, before)
    assert painted.shape == before.shape and not np.array_equal(painted, before)


def test_masks_are_filled_with_the_colour_of_their_id():
    size = (640, 480)
    rows = [(7, CONFIRMED, (100, 100, 200, 300), 0.9, 0)]
    painted = Overlay(INFO, OverlayStyle(fill=0.5, trail_s=0)).paint(frame(size=size), tracks(rows, size=size))
    wanted = 0.5 * 90 + 0.5 * np.array(colour_of(7))
    assert np.abs(painted[150:280, 120:180] - wanted).max() <= 1
    assert (painted[320:, :] == 90).all() and (painted[:, 220:] == 90).all()  # nothing else is touched


def with_picture(snapshot, classes):
    """Tracks of detections with a panoptic picture of these classes."""
    rows = snapshot.detections.masks.to_label_map()
    return replace(snapshot, detections=replace(snapshot.detections, panoptic=Panoptic(classes, rows)))


def test_stuff_is_tinted_behind_objects_and_void_is_not():
    size, info = (640, 480), RunInfo("street.mp4", 25.0, (640, 480), ("person", "road", "lawn"))
    classes = np.full((480, 640), 1, np.uint8)
    classes[:, 300:400], classes[:, 400:] = 2, Panoptic.VOID
    found = with_picture(tracks([(7, CONFIRMED, (100, 100, 200, 300), 0.9, 0)], size=size), classes)
    painted = Overlay(info, OverlayStyle(fill=0.5, stuff=0.4, trail_s=0)).paint(frame(size=size), found)
    assert np.abs(painted[400:, :290] - (0.6 * 90 + 0.4 * np.array([128, 64, 128]))).max() <= 1
    assert np.abs(painted[:, 310:390] - (0.6 * 90 + 0.4 * class_colours(info.class_names)[2, 0])).max() <= 1
    assert (painted[:, 400:] == 90).all()
    assert np.abs(painted[150:280, 120:180] - (0.5 * 90 + 0.5 * np.array(colour_of(7)))).max() <= 1


def test_stuff_of_another_size_or_not_asked_for_is_left_out():
    found = with_picture(tracks([], stack=np.zeros((0, HEIGHT, WIDTH), bool)), np.ones((HEIGHT, WIDTH), np.uint8))
    assert (Overlay(INFO, OverlayStyle(stuff=0)).paint(frame(), found) == 90).all()
    assert (Overlay(INFO).paint(frame(size=(96, 64)), found) == 90).all()
    assert (Overlay(INFO).paint(frame(), found) != 90).any()


def test_only_confirmed_tracks_are_painted_and_coasting_ones_if_asked():
    size = (640, 480)
    rows = [(1, TENTATIVE, (20, 60, 120, 200), 0.9, 0), (2, COASTING, (300, 60, 420, 200), 0.9, 0)]
    plain = Overlay(INFO).paint(frame(size=size), tracks(rows, size=size))
    assert (plain == 90).all()
    asked = Overlay(INFO, OverlayStyle(coasting=True)).paint(frame(size=size), tracks(rows, size=size))
    touched = (asked != 90).any(2)
    assert not touched[:, :200].any()
    edge = touched[60, 300:420]
    assert 0.3 < edge.mean() < 0.7, "dashes, with gaps between them"
    assert not touched[62:198, 302:418].any()


def test_trails_follow_the_feet_fade_and_end():
    size = (640, 480)
    overlay = Overlay(INFO, OverlayStyle(trail_s=1.0))
    for k in range(40):
        x = 100 + 10 * k
        rows = [(3, CONFIRMED, (x, 100, x + 20, 200), 0.9, 0)]
        item = frame(k, size, time_s=k / 25)
        painted = overlay.paint(item, tracks(rows, size=size, masks=False, time_s=item.time_s))
    strength = np.abs(painted[200].astype(int) - 90).sum(1)
    feet = 100 + 390 + 10
    assert strength[feet - 30] > strength[feet - 120] > strength[feet - 220] > 0
    assert strength[: feet - 270].max() == 0, "a trail of one second is 250 pixels long here"


def test_memory_of_trails_ends_with_the_tracks():
    overlay = Overlay(INFO, OverlayStyle(trail_s=0.5))
    for k in range(300):
        rows = [(k + 1, CONFIRMED, (5, 5, 20, 30), 0.9, 0), (10_000, CONFIRMED, (30, 5, 40, 30), 0.9, 0)]
        overlay.paint(frame(k, time_s=k / 25), tracks(rows, masks=False))
    assert set(overlay._trails) == {300, 10_000}
    assert max(map(len, overlay._trails.values())) <= 14


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 10, 10),
        (60, 40, 200, 300),
        (-500, -500, -400, -400),
        (5, 5, 5, 5),
        (0, 0, 64, 48),
        (1e6, 1e6, 2e6, 2e6),
    ],
)
@pytest.mark.parametrize("state", [CONFIRMED, COASTING])
def test_boxes_anywhere_can_be_painted(box, state):
    overlay = Overlay(INFO, OverlayStyle(coasting=True))
    for k in range(3):
        overlay.paint(frame(k), tracks([(1, state, box, 0.5, 0)], masks=False))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (64, 48), (1920, 1080)])
def test_images_of_any_size_can_be_painted(size):
    painted = Overlay(INFO).paint(frame(size=size), tracks(CROWD, size=size))
    assert painted.shape == (size[1], size[0], 3)


def test_masks_of_another_size_than_the_frame_are_left_out():
    size = (128, 96)
    Overlay(INFO, PLAIN).paint(frame(size=size), tracks(CROWD))


def test_colours_are_stable_bright_and_neighbours_differ():
    assert [colour_of(k) for k in (1, 2, 3)] == [colour_of(k) for k in (1, 2, 3)]
    colours = np.array([colour_of(k) for k in range(1, 200)], float)
    assert len(np.unique(colours, axis=0)) == 199
    assert (colours @ [0.114, 0.587, 0.299]).min() > 90
    for gap, least in ((1, 60), (2, 60), (3, 60), (5, 25), (8, 25), (13, 25), (21, 20), (34, 25)):
        assert np.linalg.norm(colours[gap:] - colours[:-gap], axis=1).min() > least
    assert colour_of(10**15) is not None


def test_lines_and_zones_are_painted_with_their_counts(tmp_path):
    size = (640, 360)
    lines = {"door": ((50, 0), (50, 360))}
    zones = {"room": ((200, 100), (600, 100), (600, 300), (200, 300), (-99999, 200))}
    with CrossingsSink(tmp_path / "c.jsonl", INFO, lines=lines, zones=zones) as counts:
        overlay = Overlay(INFO, counts=counts)
        before = overlay.paint(frame(size=size), Tracks.empty())
        for x, y in ((50, 350), (600, 200), (400, 100)):
            assert (before[y, x] > 150).all(), (x, y)
        assert (before[200, 400] == 90).all()  # inside
        for index, x in enumerate((20, 80)):
            walker = tracks([(1, CONFIRMED, (x - 2, 330, x + 2, 340), 0.9, 0)], size=size, masks=False)
            counts.write(frame(index, size), walker)
        changed = np.argwhere((overlay.paint(frame(size=size), Tracks.empty()) != before).any(2))
    assert len(changed) and (changed[:, 0] < 40).all()  # the number of the door, above


def test_labels_stand_inside_the_image_at_every_edge():
    size = (640, 360)
    corners = [(0, 0, 30, 60), (610, 0, 640, 60), (0, 300, 30, 360), (610, 300, 640, 360)]
    rows = [(k + 1, CONFIRMED, corner, 0.9, 0) for k, corner in enumerate(corners)]
    painted = Overlay(INFO, PLAIN).paint(frame(size=size), tracks(rows, size=size, masks=False))
    for (_, _, box, _, _), colour in zip(rows, map(colour_of, itertools.count(1))):
        x0, x1 = (0, 90) if box[0] == 0 else (550, 640)
        y0, y1 = (60, 90) if box[1] == 0 else (270, 300)  # below the box, above it
        plate = (painted[y0:y1, x0:x1] == colour).all(2)
        assert plate.sum() > 300, "the plate of a label is filled with its colour"
