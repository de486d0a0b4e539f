"""The node: subscribes to images, publishes tracks. README.md lists topics and parameters."""

from __future__ import annotations

import array
from time import monotonic
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rosidl_runtime_py.utilities import get_message

from tracker.errors import FrameError, TrackerError
from tracker.pipeline import Histogram
from tracker.ros import COMPRESSED_TYPE, IMAGE_TYPE, TRACKS_TYPE, Messages, stamp_of
from trackstream_ros.settings import NAMES, configure, open_follower

_REPORT_S = 10.0  # between two lines about latency


class TrackNode(Node):
    """Tracks the newest image; those that arrive meanwhile are dropped by the queue of one, never made to wait."""

    def __init__(self) -> None:
        super().__init__("tracker")
        given = {name: self._parameter(name, "") for name in NAMES}
        config = configure(given, str(self._parameter("config", "")))
        compressed = str(self._parameter("compressed", "false")).lower() == "true"
        messages = Messages(get_message, lambda data: array.array("B", data.tobytes()))
        self._follower, self._state = open_follower(config, messages, float(self._parameter("frame_rate", 30.0)))
        self._clear_report()
        # A best-effort reader takes what reliable and best-effort cameras send. A reliable writer reaches readers of
        # both kinds; with a queue of one it keeps nothing back either.
        newest = QoSProfile(depth=1, history=QoSHistoryPolicy.KEEP_LAST, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        answers = QoSProfile(depth=1, history=QoSHistoryPolicy.KEEP_LAST, reliability=QoSReliabilityPolicy.RELIABLE)
        tracks, image = get_message(TRACKS_TYPE), get_message(IMAGE_TYPE)
        self._tracks = self.create_publisher(tracks, "~/tracks", answers)
        self._whole = self.create_publisher(tracks, "~/tracks/all", answers)
        self._labels = self.create_publisher(image, "~/tracks/labels", answers)
        kind = get_message(COMPRESSED_TYPE) if compressed else image
        self._images = self.create_subscription(kind, "image", self._on_image, newest)
        self.get_logger().info(f"{config.model} with {config.tracker}, waiting for images")

    def _parameter(self, name: str, default: Any) -> Any:
        descriptor = ParameterDescriptor(dynamic_typing=True, read_only=True)
        return self.declare_parameter(name, default, descriptor).value

    def _on_image(self, message: Any) -> None:
        begin = monotonic()
        try:
            answer = self._follower.take(
                message, begin,
                whole=self._whole.get_subscription_count() > 0, labels=self._labels.get_subscription_count() > 0,
            )  # fmt: skip
        except FrameError as error:  # one damaged picture must not stop a robot
            self._refused += 1
            self.get_logger().error(str(error), throttle_duration_sec=_REPORT_S)
            return
        self._tracks.publish(answer.tracks)
        if answer.whole is not None:
            self._whole.publish(answer.whole)
        if answer.labels is not None:
            self._labels.publish(answer.labels)
        if self._state is not None:
            self._state.tick()
        self._work.add(round((monotonic() - begin) * 1e9))
        stamp = stamp_of(message.header)
        if stamp:
            self._age.add(max(self.get_clock().now().nanoseconds - stamp, 0))
        if begin - self._since > _REPORT_S:
            self._report(answer.count)

    def close(self) -> None:
        """Keep the tracker, if it shall be kept."""
        if self._state is not None:
            self._state.save()
        self.destroy_node()

    def _report(self, count: int) -> None:
        work, age = self._work.latency(), self._age.latency()
        self.get_logger().info(
            f"{work.count} images, {count} tracks; work p50 {work.p50:.1f} p99 {work.p99:.1f} ms; capture to tracks "
            f"p50 {age.p50:.1f} p99 {age.p99:.1f} max {age.max:.1f} ms; {self._refused} refused"
        )
        self._clear_report()

    def _clear_report(self) -> None:
        self._work, self._age = Histogram(), Histogram()
        self._refused, self._since = 0, monotonic()


def main(words: list[str] | None = None) -> int:
    """Run the node until it is stopped; returns the exit code."""
    rclpy.init(args=words)
    try:
        node = TrackNode()
    except TrackerError as error:
        get_logger("tracker").fatal(str(error))
        rclpy.try_shutdown()
        return 2
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.close()
        rclpy.try_shutdown()
    return 0
