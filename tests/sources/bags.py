"""Bags for tests, of ROS 2 and 1, made by the `rosbags` package."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tracker.ros import Header, Messages, make_header

STAMP, STEP = 1_700_000_000_123_456_789, 33_333_333


def stamps(count, start=STAMP, step=STEP):
    return [start + k * step for k in range(count)]


def raw(messages, image, stamp, frame_id="lens"):
    """A `sensor_msgs/Image`, bgr8."""
    return messages.make(
        "sensor_msgs/Image", header=make_header(Header(stamp, frame_id), messages), height=image.shape[0],
        width=image.shape[1], encoding="bgr8", is_bigendian=0, step=3 * image.shape[1], data=image.reshape(-1),
    )  # fmt: skip


def png(messages, image, stamp, frame_id="lens"):
    """A `sensor_msgs/CompressedImage` without loss."""
    data = cv2.imencode(".png", image)[1].reshape(-1)
    header = make_header(Header(stamp, frame_id), messages)
    return messages.make("sensor_msgs/CompressedImage", header=header, format="bgr8; png compressed bgr8", data=data)


def write_bag(path: Path, topics, *, mcap=False, late_ns=5_000_000):
    """A ROS 2 bag: `topics` is name -> list of (maker, image, stamp); recorded `late_ns` after the stamp."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    messages = Messages(store.types.__getitem__, lambda data: data)
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3) as writer:
        entries = []
        for topic, items in topics.items():
            connection = None
            for k, (maker, image, stamp) in enumerate(items):
                message = maker(messages, image, stamp)
                connection = connection or writer.add_connection(topic, message.__msgtype__, typestore=store)
                entries.append(((stamp or STAMP + k * STEP) + late_ns, connection, message))
        for recorded, connection, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(connection, recorded, store.serialize_cdr(message, message.__msgtype__))
    return path


def write_ros1_bag(path: Path, topic, images):
    """A ROS 1 `.bag` of bgr8 images at `stamps`."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    kinds = store.types
    with Writer(path) as writer:
        connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store)
        for k, (image, stamp) in enumerate(zip(images, stamps(len(images)))):
            time = kinds["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9))
            header = kinds["std_msgs/msg/Header"](seq=k, stamp=time, frame_id="lens")
            message = kinds["sensor_msgs/msg/Image"](
                header,
                image.shape[0],
                image.shape[1],
                "bgr8",
                0,
                3 * image.shape[1],
                np.ascontiguousarray(image).reshape(-1),
            )
            writer.write(connection, stamp, store.serialize_ros1(message, "sensor_msgs/msg/Image"))
    return path
