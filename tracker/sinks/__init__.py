"""Where tracks go while they are made: `write(frame, tracks)` for every frame, `close()` at the end.

A new sink is one file here and one row in `SINKS`. The window of `--show` is `tracker.sinks.window.WindowSink`; it
makes no file and therefore has no row.
"""

from __future__ import annotations

from tracker.sinks.dataset import (
    DavisSink,
    KittiSink,
    KittiStepSink,
    MotsChallengeSink,
    MotsPngSink,
    MotStepSink,
    YoutubeVisSink,
)
from tracker.sinks.events import EventsSink
from tracker.sinks.jsonl import JsonlSink
from tracker.sinks.mot import MotSink
from tracker.sinks.mots import MotsSink
from tracker.sinks.rosbag import RosbagSink
from tracker.sinks.run_info import RunInfo
from tracker.sinks.sink import Sink
from tracker.sinks.video import VideoSink

__all__ = ["SINKS", "EventsSink", "JsonlSink", "MotSink", "MotsSink", "RunInfo", "Sink", "VideoSink"]

SINKS: dict[str, tuple[type[Sink], str]] = {
    "mot": (MotSink, "tracks.txt"),
    "mots": (MotsSink, "masks.txt"),
    "jsonl": (JsonlSink, "tracks.jsonl"),
    "events": (EventsSink, "events.jsonl"),
    "video": (VideoSink, "video.mp4"),
    "kitti": (KittiSink, "kitti.txt"),
    "mots-challenge": (MotsChallengeSink, "mots_challenge.txt"),
    "kitti-mots-png": (MotsPngSink, "kitti_mots_png"),
    "kitti-step": (KittiStepSink, "kitti_step"),
    "mot-step": (MotStepSink, "mot_step"),
    "youtube-vis": (YoutubeVisSink, "youtube_vis.json"),
    "davis": (DavisSink, "davis"),
    "rosbag": (RosbagSink, "tracks_bag"),
}
"""Name -> class and the file name that it has in an output folder. A sink opens as `Sink(path, info)`."""
