"""Whole runs on live streams: honest drops, servers that come back, dead cameras that cost nothing."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.patience import PATIENCE_S
from tests.sources.cameras import Camera, encode_packets, let_pass, on_third_connection, send_mjpeg, send_ts
from tests.sources.clips import number_of
from tracker import pipeline
from tracker.errors import SourceError
from tracker.guide import Guided
from tracker.sinks import JsonlSink, RunInfo
from tracker.sinks.length import LengthSink, length_filter
from tracker.sources import live, open_source
from tracker.streams import Stream, Streams
from tracker.systems import create
from tracker.types import Detections, Frame

pytestmark = pytest.mark.usefixtures("compiled")

FPS = 60
PROBED = 60  # frames that FFmpeg may look at before it opens a stream


class Parked:
    """A network that sees the same parked car in every picture."""

    def preprocess(self, image):
        return image, None

    def infer(self, image):
        return image

    def decode(self, image, placement) -> Detections:
        assert image.min() > 10, "a black picture that no camera sent"
        return Detections.from_array([[20, 10, 80, 50, 0.9, 0]])


class Passed(Parked):
    """One so slow that two pictures pass by at each, whatever the machine's pace."""

    def __init__(self, source, camera) -> None:
        self.source, self.camera = source, camera

    def infer(self, image):
        let_pass(self.source, self.camera, number_of(image), passing=2, kept=2)
        return image


@pytest.fixture(scope="module")
def packets():
    return encode_packets(150, FPS)


@pytest.fixture
def serve():
    cameras = []

    def start(script, port=0, limit=math.inf):
        cameras.append(Camera(script, port, FPS))
        cameras[-1].limit = limit
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()


@pytest.mark.parametrize("kind", ["mjpeg", "ts"])
def test_a_run_that_is_slower_than_its_camera(serve, packets, tmp_path: Path, kind: str) -> None:
    """It takes the newest frame, says how many it did not take, and how old each is."""

    def send(camera, handler):
        send_ts(packets, camera, handler, range(150)) if kind == "ts" else send_mjpeg(camera, handler, range(150))

    camera, path = serve(send, limit=PROBED), tmp_path / "tracks.jsonl"
    with open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0) as source:
        report = pipeline.run(
            source, Passed(source, camera), create("bytetrack", frame_rate=FPS), [JsonlSink(path, RunInfo())]
        )
    assert report.frames + report.dropped == pytest.approx(150, abs=2)
    assert report.dropped > report.frames > 10 and report.stages["age"].count == report.frames
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert all(line["age_ms"] >= 0 for line in lines)
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers)) and numbers[-1] + 1 - len(numbers) == report.dropped


def test_a_server_that_dies_and_returns_is_one_run_with_one_id(serve, packets, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(live, "_FIRST_DELAY_S", 0.05)

    def send(camera, handler):
        send_ts(packets, camera, handler, range(150))

    camera, path = serve(send), tmp_path / "tracks.jsonl"
    arrivals = []

    def kill(frame, tracks) -> None:
        arrivals.append(1e3 * frame.arrived_s)
        if frame.index > 20 and not camera.dead:
            camera.close()

    on_third_connection(monkeypatch, lambda: serve(send, camera.port))

    later = LengthSink(JsonlSink(tmp_path / "later.jsonl", RunInfo()), length_filter(5, "delay"), images=False)
    with open_source(camera.url, timeout_s=PATIENCE_S) as source:
        report = pipeline.run(
            source, Parked(), create("bytetrack", frame_rate=FPS), [JsonlSink(path, RunInfo()), later],
            on_frame=kill, max_frames=50,
        )  # fmt: skip
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    epochs = [line["epoch"] for line in lines]
    assert set(epochs) == {0, 1} and epochs == sorted(epochs) and report.frames == len(lines) == 50
    times = [line["time_s"] for line in lines]
    gap = times[epochs.index(1)] - times[epochs.index(1) - 1]
    assert gap >= 0.5 * (0.05 + 0.1) and all(late > early for early, late in itertools.pairwise(times))
    assert {track["id"] for line in lines for track in line["tracks"]} == {1}, "a parked car keeps its id"
    delayed = [json.loads(line) for line in (tmp_path / "later.jsonl").read_text().splitlines()[1:]]
    assert [line["epoch"] for line in delayed] == epochs
    assert all(line["age_ms"] >= 0 for line in lines)
    for k, line in enumerate(delayed[:-4]):
        assert line["age_ms"] >= arrivals[k + 4] - arrivals[k] - 1, "written when the fourth frame after it was there"


def test_http_cameras_one_dead_one_dying(serve, packets) -> None:
    streams = Streams(Parked())
    for name, count in (("a", 60), ("b", 60), ("dead", 60), ("dying", 40)):
        camera = serve(lambda camera, handler, count=count: send_ts(packets, camera, handler, range(count)))
        if name == "dead":
            camera.close()
        streams.add(
            name,
            lambda url=camera.url: Stream(
                open_source(url, timeout_s=PATIENCE_S, reconnect_s=0), create("bytetrack", frame_rate=FPS)
            ),
        )
    outcomes = streams.run()
    assert isinstance(outcomes["dead"].error, SourceError)
    reports = {name: outcome.report for name, outcome in outcomes.items() if outcome.report is not None}
    arrived = {name: report.frames + report.dropped for name, report in reports.items()}
    assert arrived == {"a": pytest.approx(60, abs=1), "b": pytest.approx(60, abs=1), "dying": pytest.approx(40, abs=1)}


def test_pictures_of_before_the_gap_are_forgotten_tracks_are_not() -> None:
    class Camera:
        frames, resets = [], 0

        def estimate(self, frame, boxes=None):
            self.frames.append(frame.index)
            return np.eye(2, 3)

        def reset(self) -> None:
            self.resets += 1

    camera, image = Camera(), np.zeros((64, 64, 3), np.uint8)
    guided = Guided(create("bytetrack"), camera=camera)
    car = Detections.from_array([[20, 10, 60, 50, 0.9, 0]])
    for index, epoch in enumerate((0, 0, 1, 1, 2)):
        tracks = guided.update(car, Frame(index, index + 10.0 * epoch, image, epoch))
        assert tracks.confirmed.ids.tolist() == [1]
    assert camera.frames == [0, 1, 2, 3, 4] and camera.resets == 2


def test_time_of_the_filter_follows_the_stream(serve, packets) -> None:
    """A slow consumer drops frames; the velocity per second that the tracker finds is the true one all the same."""

    class Mover(Passed):
        def decode(self, image, placement) -> Detections:
            x = 2.0 * number_of(image)  # 2 px per frame of the camera: 120 px a second
            return Detections.from_array([[x, 10, x + 400, 50, 0.9, 0]])

    camera = serve(lambda camera, handler: send_ts(packets, camera, handler, range(150)), limit=PROBED)
    tracker, steps = create("bytetrack", frame_rate=FPS), []
    with open_source(camera.url, timeout_s=PATIENCE_S, reconnect_s=0) as source:
        report = pipeline.run(
            source,
            Mover(source, camera),
            tracker,
            on_frame=lambda frame, tracks: steps.append((frame.time_s, len(tracks))),
        )
    assert report.dropped > report.frames > 25
    now = tracker.at(steps[-1][0])
    assert now.ids.tolist() == [1]
    assert now.velocities[0, 0] == pytest.approx(120, rel=0.1)
