"""Addresses: what they mean, what they must not show, and one clear line for each that cannot be opened."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from tracker.errors import ConfigError, FrameError, SourceError, TrackerError
from tracker.sources import SOURCES, Source, SourceOptions, kind_of, mask_credentials, open_source
from tracker.sources.timeline import Timeline
from tracker.types import Frame


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("-", "stdin"),
        ("0", "camera"),
        ("12", "camera"),
        ("/dev/video3", "camera"),
        ("street.mp4", "video"),
        ("./0", "video"),
        ("C:\\videos\\a.avi", "video"),
        ("rtsp://host/stream", "stream"),
        ("RTSP://host/stream", "stream"),
        ("rtmp://host/live/key", "stream"),
        ("http://host/stream.mjpg", "stream"),
        ("https://host/live.m3u8", "stream"),
        ("https://host/clip.mp4", "video"),
        ("https://host/clip.MP4?token=1", "video"),
        ("udp://239.0.0.1:1234", "stream"),
        ("shots/*.jpg", "images"),
        ("img1/%06d.jpg", "images"),
        ("one.PNG", "images"),
        ("synth:street?seed=7", "synth"),
    ],
)
def test_every_address_has_a_kind_that_something_opens(uri, kind):
    assert kind_of(uri) == kind
    assert kind in SOURCES


def test_an_existing_file_wins_over_a_pattern(tmp_path):
    (tmp_path / "clip[1].mp4").write_bytes(b"x")
    assert kind_of(str(tmp_path / "clip[1].mp4")) == "video"
    assert kind_of(str(tmp_path)) == "images"


@pytest.mark.parametrize("secret", ["hunter2", "hun@ter2", "hun/ter2", "hun:ter2", "h%40nter2", "hunter2?x"])
@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "rtmp"])
def test_no_password_survives_masking(scheme, secret):
    shown = mask_credentials(f"cannot open {scheme}://admin:{secret}@cam.local:554/live?x=1: refused")
    assert secret not in shown and "admin" not in shown
    assert "cam.local:554/live?x=1" in shown


@pytest.mark.parametrize("field", ["password", "pwd", "token", "access_token", "apiKey", "signature", "user"])
def test_secret_query_fields_are_masked(field):
    assert mask_credentials(f"http://cam/v?a=1&{field}=s3cret&b=2") == f"http://cam/v?a=1&{field}=***&b=2"


@pytest.mark.parametrize("text", ["street.mp4", "rtsp://cam.local/live", "a@b.mp4", "synth:street?seed=7"])
def test_masking_leaves_harmless_text_alone(text):
    assert mask_credentials(text) == text


ERRORS = {
    "": "got nothing",
    "nowhere.mp4": "no such file",
    "nowhere/*.jpg": "no image matches",
    "nowhere/%06d.jpg": "no image matches",
    "nowhere.png": "no such file",
    "ftp://host/a.mp4": "unknown scheme",
    "93": "no such",
    "/dev/video93": "no such",
    "rtsp://user:hunter2@127.0.0.1:9/live": "refused",
    "http://user:hunter2@127.0.0.1:9/live": "refused",
    "http://user:hunter2@127.0.0.1:9/clip.mp4": "refused",
    "rtmp://user:hunter2@127.0.0.1:9/live": "",
    "synth:desert": "unknown scene",
    "synth:street?colour=red": "unknown option 'colour'",
    "synth:street?seed=1&seed=2": "given twice",
    "synth:street?seed=many": "seed=a whole number",
    "synth:street?size=12": "size=WIDTHxHEIGHT",
    "synth:street?size=4x4": "size",
    "synth:street?objects=-3": "objects",
}


@pytest.mark.parametrize("uri", ERRORS)
def test_one_clear_line_for_what_cannot_be_opened(uri, capfd, caplog):
    with pytest.raises(SourceError) as caught:
        open_source(uri, timeout_s=2)
    text = str(caught.value)
    assert ERRORS[uri] in text
    assert "\n" not in text and len(text) < 400
    assert uri.rpartition("@")[2] in text  # names what was asked for
    printed = "".join(capfd.readouterr()) + caplog.text + text + repr(caught.value)
    assert "hunter2" not in printed
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert isinstance(caught.value, TrackerError) and isinstance(caught.value, OSError)


@pytest.mark.parametrize("options", [{"fps": 0}, {"fps": math.nan}, {"timeout_s": -1}, {"timeout_s": math.inf}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        open_source([], **options)


def test_arrays_are_numbered_and_timed():
    images = [np.full((4, 6, 3), k, np.uint8) for k in range(3)]
    with open_source(images, fps=10) as source:
        frames = list(source)
    assert isinstance(source, Source)
    assert (source.length, source.fps, source.live, source.dropped) == (3, 10, False, 0)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.time_s for frame in frames] == [0.0, 0.1, 0.2]
    assert all(frame.image is image for frame, image in zip(frames, images, strict=True))


def test_an_array_of_images_a_generator_and_frames_are_sources():
    stack = np.zeros((2, 4, 6, 3), np.uint8)
    assert len(list(open_source(stack))) == 2
    generator = open_source(image for image in stack)
    assert generator.length is None and len(list(generator)) == 2
    given = [Frame(7, 1.5, stack[0])]
    assert list(open_source(given)) == given
    source = open_source(stack)
    assert open_source(source) is source


def test_closing_ends_the_iteration_and_a_second_loop_goes_on():
    source = open_source(np.zeros((5, 4, 6, 3), np.uint8))
    for frame in source:
        if frame.index == 1:
            break
    assert next(iter(source)).index == 2
    source.close()
    source.close()
    assert list(source) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((4, 6, 3), np.uint8), "got one image"),
        (7, 'got int; a camera is its number as text, "7"'),
        (None, "got NoneType$"),
        (3.5, "got float$"),
    ],
)
def test_what_is_no_source_is_refused(bad, words):
    with pytest.raises(SourceError, match=words):
        open_source(bad)


@pytest.mark.parametrize("bad", [np.zeros((4, 6)), np.zeros((4, 6, 3), np.float32), "text", None])
def test_items_that_are_no_images_are_refused(bad):
    with pytest.raises(FrameError, match="image"):
        list(open_source([bad]))


def test_the_street_is_a_source():
    with open_source("synth:street?seed=3&objects=4&size=160x96&frames=3&fps=20") as source:
        frames = list(source)
        truth = source.street.render(2)
    assert (source.size, source.length, source.fps, source.live) == ((160, 96), 3, 20.0, False)
    assert [frame.time_s for frame in frames] == [0.0, 0.05, 0.1]
    assert frames[0].image.shape == (96, 160, 3)
    np.testing.assert_array_equal(frames[2].image, truth.image)


def test_the_room_loads_nothing_heavy():
    code = "import sys, tracker.sources; print([m for m in ('av', 'cv2', 'onnxruntime', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_options_have_one_place_for_their_defaults():
    defaults = SourceOptions()
    assert open_source.__kwdefaults__ == {name: getattr(defaults, name) for name in ("fps", "timeout_s", "reconnect_s")}


# ---------------------------------------------------------------------- times


def placed(stamps, step_s=0.1):
    timeline = Timeline()
    return [round(timeline.place(stamp, step_s), 6) for stamp in stamps]


def test_times_start_at_zero_and_keep_a_variable_rate():
    assert placed([1400.0, 1400.04, 1400.5, 1401.5]) == [0.0, 0.04, 0.5, 1.5]


def test_missing_and_senseless_stamps_take_the_step():
    assert placed([5.0, None, 5.2, math.nan, 5.4]) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert placed([None, None, 8.0, 8.1]) == [0.0, 0.1, 0.2, 0.3]


def test_equal_and_disordered_stamps_never_stand_still_or_go_back():
    assert placed([0.0, 0.1, 0.1, 0.3]) == [0.0, 0.1, 0.2, 0.3]
    assert placed([0.0, 0.2, 0.1, 0.4, 0.5]) == [0.0, 0.2, 0.3, 0.4, 0.5]


def test_a_clock_set_anew_goes_on_from_where_it_was():
    assert placed([50.0, 50.1, 0.0, 0.2, 0.3]) == [0.0, 0.1, 0.2, 0.4, 0.5]


def test_a_gap_stays_a_gap():
    assert placed([0.0, 0.1, 60.0, 60.1]) == [0.0, 0.1, 60.0, 60.1]


def test_times_always_rise():
    rng = np.random.default_rng(0)
    stamps = [None if rng.random() < 0.2 else float(rng.normal(0, 3)) for _ in range(500)]
    times = placed(stamps)
    assert all(late > early for early, late in itertools.pairwise(times))
