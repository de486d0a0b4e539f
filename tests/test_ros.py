"""Images from messages, tracks to messages: real CDR of `rosbags`, no ROS; and the node, against a fake rclpy."""

from __future__ import annotations

import array
import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.sinks.scenes import COASTING, CONFIRMED, CROWD, HEIGHT, NAMES, TENTATIVE, WIDTH, tracks
from tracker.errors import ConfigError, FrameError
from tracker.ros import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    TRACKS_TYPE,
    Ages,
    Header,
    Messages,
    make_header,
    make_labels,
    make_tracks,
    read_details,
    read_frame,
    read_image,
    stamp_of,
)
from tracker.sources import open_source
from tracker.types import Detections, Frame, Tracks

ROOT = Path(__file__).resolve().parent.parent
STAMP = 1_700_000_000_123_456_789


@pytest.fixture(scope="module")
def store():
    pytest.importorskip("rosbags")
    from tracker.sinks.rosbag import typestore

    return typestore()


@pytest.fixture(scope="module")
def messages(store):
    return Messages(store.types.__getitem__, lambda data: data)


def sent(store, message, kind):
    """The message after a way through CDR, as another process gets it."""
    return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)


def image_message(messages, pixels, encoding, *, pad=0, bigendian=0, data=None, stamp=STAMP):
    """A `sensor_msgs/Image` of (H, W[, C]) pixels with `pad` bytes of rubbish after each row."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1).view(np.uint8)
    padded = np.hstack([rows, np.full((height, pad), 77, np.uint8)])
    return messages.make(
        "sensor_msgs/Image", header=make_header(Header(stamp, "lens"), messages), height=height, width=width,
        encoding=encoding, is_bigendian=bigendian, step=padded.shape[1],
        data=messages.pack(padded.reshape(-1)) if data is None else data,
    )  # fmt: skip


# ---------------------------------------------------------------------- the types themselves
def test_vision_msgs_are_the_real_ones(store):
    """RIHS01 hashes that a ROS 2 build of vision_msgs 4 generates."""
    assert store.hash_rihs01(TRACKS_TYPE) == ("RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968")
    assert store.hash_rihs01("vision_msgs/msg/BoundingBox2D") == (
        "RIHS01_008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f"
    )


# ---------------------------------------------------------------------- images in
@pytest.fixture(scope="module")
def picture():
    """Many colours, each in two neighbours, so that subsampling loses none."""
    x, y = np.meshgrid(np.repeat(np.linspace(0, 255, 16), 2), np.linspace(0, 255, 20))
    return np.stack([x, y, (x + y) / 2], 2).astype(np.uint8)


def encoded(picture, encoding):
    """Pixels of an encoding, made the long way round."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    alpha = np.full((*grey.shape, 1), 9, np.uint8)
    if encoding.startswith(("yuv", "uyvy", "yuyv")):
        b, g, r = (picture[..., k].astype(float) for k in range(3))
        luma = 0.299 * r + 0.587 * g + 0.114 * b  # BT.601, in video range
        y = 16 + luma * 219 / 255
        u, v = (128 + 0.5 * (colour - luma) / scale * 224 / 255 for colour, scale in ((b, 0.886), (r, 0.701)))
        chroma = np.empty_like(luma)
        chroma[:, ::2], chroma[:, 1::2] = u[:, ::2], v[:, ::2]
        pair = (chroma, y) if encoding in ("yuv422", "uyvy") else (y, chroma)
        return np.stack(pair, 2).round().astype(np.uint8)
    return {
        "bgr8": picture, "8UC3": picture, "rgb8": picture[..., ::-1], "mono8": grey, "8UC1": grey,
        "mono16": grey.astype("<u2") * 257, "bgra8": np.concatenate([picture, alpha], 2),
        "8UC4": np.concatenate([picture, alpha], 2), "rgba8": np.concatenate([picture[..., ::-1], alpha], 2),
    }[encoding]  # fmt: skip


ENCODINGS = (
    "bgr8", "8UC3", "rgb8", "mono8", "8UC1", "mono16", "bgra8", "8UC4", "rgba8", "yuv422", "uyvy", "yuv422_yuy2",
    "yuyv",
)  # fmt: skip


def test_every_encoding_is_tried():
    from tracker import ros

    assert set(ENCODINGS) == set(ros._ENCODINGS)


@pytest.mark.parametrize("pad", [0, 6])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_images_of_every_encoding(encoding, pad, picture, messages, store):
    message = sent(store, image_message(messages, encoded(picture, encoding), encoding, pad=pad), IMAGE_TYPE)
    frame = read_frame(message, 3, 1.5)
    grey = np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None], 3, 2)
    wanted = grey if encoding in ("mono8", "8UC1", "mono16") else picture
    off = np.abs(frame.image.astype(int) - wanted)
    if encoding.startswith(("yuv", "uyvy", "yuyv")):
        assert off.max() <= 3
    else:
        assert off.max() == 0
    assert isinstance(frame, Frame) and (frame.index, frame.time_s, frame.epoch) == (3, 1.5, 0)
    assert frame.header == Header(STAMP, "lens")
    assert frame.image.flags.c_contiguous and frame.image.flags.writeable


def test_a_nodes_bytes_are_not_copied_where_that_can_be(picture, messages):
    data = array.array("B", picture.tobytes())
    message = image_message(messages, picture, "bgr8", data=data)
    assert np.shares_memory(read_image(message), np.frombuffer(data, np.uint8))
    readonly = image_message(messages, picture, "bgr8", data=picture.tobytes())
    np.testing.assert_array_equal(read_image(readonly), picture)


def test_the_last_row_may_lack_its_padding(picture, messages):
    data = np.hstack([picture.reshape(20, -1), np.zeros((20, 4), np.uint8)]).reshape(-1)[:-4]
    message = image_message(messages, picture, "bgr8", pad=4, data=data)
    np.testing.assert_array_equal(read_image(message), picture)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoding": "32FC1"}, "got '32FC1'; convert it"),
        ({"encoding": "bayer_rggb8"}, "convert it"),
        ({"step": 95}, "a step of 95"),
        ({"height": 21}, "1920 bytes"),
        ({"width": 0, "step": 0}, "with pixels"),
        ({"data": np.zeros(0, np.uint8)}, "0 bytes"),
        ({"encoding": "mono16", "is_bigendian": 1}, "big-endian"),
        ({"encoding": "yuv422", "width": 31}, "even width"),
    ],
)
def test_images_that_cannot_be_used(change, reason, picture, messages):
    message = image_message(messages, picture, "bgr8")
    fields = {
        name: getattr(message, name)
        for name in ("header", "height", "width", "encoding", "is_bigendian", "step", "data")
    }
    with pytest.raises(FrameError, match=reason) as caught:
        read_image(SimpleNamespace(**{**fields, **change}))
    assert "\n" not in str(caught.value)


def test_the_byte_order_of_bytes_means_nothing(picture, messages):
    np.testing.assert_array_equal(read_image(image_message(messages, picture, "bgr8", bigendian=1)), picture)


@pytest.mark.parametrize(("suffix", "format", "most"), [(".png", "bgr8; png compressed bgr8", 0), (".jpg", "jpeg", 12)])
def test_compressed_images(suffix, format, most, picture, messages, store):
    data = cv2.imencode(suffix, picture)[1].reshape(-1)
    header = make_header(Header(STAMP, "lens"), messages)
    message = messages.make("sensor_msgs/CompressedImage", header=header, format=format, data=data)
    frame = read_frame(sent(store, message, COMPRESSED_TYPE), 0, 0.0)
    assert np.abs(frame.image.astype(int) - picture).max() <= most and frame.header == Header(STAMP, "lens")
    for broken, kind in ((data[:10], format), (data[:0], format), (data, "16UC1; compressedDepth")):
        with pytest.raises(FrameError, match="expected a"):
            read_image(SimpleNamespace(header=header, format=kind, data=broken))


# ---------------------------------------------------------------------- tracks out
def test_tracks_as_detections(messages, store):
    snapshot = tracks(CROWD)
    header = make_header(Header(STAMP, "lens"), messages)
    ages = np.array([1.0, 2.5, 0.04, 0.0, 3.0])
    found = sent(store, make_tracks(snapshot, header, messages, NAMES[:2], ages), TRACKS_TYPE)
    assert stamp_of(found.header) == STAMP and found.header.frame_id == "lens"
    assert [detection.id for detection in found.detections] == ["1", "2", "3", "4", "5"]
    for detection, (_, state, (x0, y0, x1, y1), score, label), age in zip(found.detections, CROWD, ages, strict=True):
        assert stamp_of(detection.header) == STAMP
        box = detection.bbox
        assert (box.center.position.x, box.center.position.y) == ((x0 + x1) / 2, (y0 + y1) / 2)
        assert (box.size_x, box.size_y, box.center.theta) == (x1 - x0, y1 - y0, 0.0)
        best = max(detection.results, key=lambda result: result.hypothesis.score)
        assert best is detection.results[0], "who looks for the likeliest class finds it"
        assert best.hypothesis.class_id == ("person", "car", "2")[label]
        assert best.hypothesis.score == pytest.approx(score) and best.pose.pose.orientation.w == 1.0
        assert read_details(detection) == {
            "status": {CONFIRMED: "confirmed", TENTATIVE: "tentative", COASTING: "coasting"}[state],
            "hits": "3", "misses": "2" if state == COASTING else "0", "age": f"{age:.3f}",
        }  # fmt: skip


def test_no_tracks_and_no_ages(messages, store):
    header = make_header(Header(0, ""), messages)
    assert len(sent(store, make_tracks(Tracks.empty(), header, messages), TRACKS_TYPE).detections) == 0
    assert make_labels(Tracks.empty(), header, messages) is None
    (found,) = make_tracks(tracks(CROWD[:1]), header, messages).detections
    assert "age" not in read_details(found)
    found.results = found.results[:1]
    assert read_details(found) == {}, "another node's detections"


def test_labels_are_rows_and_share_no_pixel(messages, store):
    boxes = [(0, 0, 30, 30), (10, 10, 40, 40), (50, 5, 60, 20)]
    seen = tracks([(70_000 + k, CONFIRMED, box, (0.5, 0.9, 0.7)[k], 0) for k, box in enumerate(boxes)]).confirmed
    found = sent(store, make_labels(seen, make_header(Header(STAMP, "lens"), messages), messages), IMAGE_TYPE)
    assert (found.encoding, found.is_bigendian, found.step, found.width, found.height) == (
        "mono16", 0, 2 * WIDTH, WIDTH, HEIGHT,
    )  # fmt: skip
    labels = np.frombuffer(found.data, "<u2").reshape(HEIGHT, WIDTH)
    wanted = np.zeros((HEIGHT, WIDTH), int)
    for row in (0, 2, 1):  # the higher score on top
        x0, y0, x1, y1 = boxes[row]
        wanted[y0:y1, x0:x1] = row + 1
    np.testing.assert_array_equal(labels, wanted)
    ids = np.concatenate([[0], seen.ids])[labels]
    assert set(np.unique(ids)) == {0, 70_000, 70_001, 70_002}, "ids beyond 16 bits"
    assert stamp_of(found.header) == STAMP


def test_ages_begin_with_a_track_and_end_with_it():
    ages = Ages()
    rows = [(k, CONFIRMED, (0, 0, 9, 9), 0.9, 0) for k in (1, 2, 3)]
    assert ages.update(tracks(rows[:2], time_s=10.0)).tolist() == [0, 0]
    assert ages.update(tracks(rows[1:], time_s=11.5)).tolist() == [1.5, 0]
    assert ages.update(tracks(rows, time_s=12.0)).tolist() == [0, 2.0, 0.5], "1 was gone"
    assert ages.update(Tracks.empty(13.0)).tolist() == []


# ---------------------------------------------------------------------- the node
@pytest.fixture
def package(monkeypatch):
    """The ROS package's folder on the path, as colcon puts it there."""
    monkeypatch.syspath_prepend(ROOT / "ros2")
    yield
    for name in [name for name in sys.modules if name.startswith("trackstream_ros")]:
        del sys.modules[name]


class Stub:
    """A message class as rosidl makes them: fields by keyword, only those of the type, `uint8[]` as an array."""

    fields: tuple[str, ...] = ()

    def __init__(self, **fields):
        assert set(fields) <= {*self.fields}, fields
        if "data" in fields:
            assert isinstance(fields["data"], array.array) and fields["data"].typecode == "B"
        self.__dict__.update(fields)


@pytest.fixture
def rclpy(monkeypatch, package, store):
    """Just enough of rclpy: parameters, one subscription, publishers that keep what they get."""
    world = SimpleNamespace(parameters={}, published={}, logged=[], listeners={}, callback=None, qos={}, spun=[])

    def get_message(name):
        kind = store.types[name]
        return type(kind.__name__, (Stub,), {"fields": tuple(kind.__dataclass_fields__), "__msgtype__": name})

    class Node:
        def __init__(self, name):
            self.name = name

        def declare_parameter(self, name, default, descriptor):
            assert descriptor.dynamic_typing
            return SimpleNamespace(value=world.parameters.pop(name, default))

        def create_publisher(self, kind, topic, qos):
            world.published[topic], world.qos[topic] = [], qos
            return SimpleNamespace(
                publish=world.published[topic].append, get_subscription_count=lambda: world.listeners.get(topic, 0)
            )

        def create_subscription(self, kind, topic, callback, qos):
            world.callback, world.kind, world.qos[topic] = callback, kind.__msgtype__, qos

        def get_logger(self):
            return SimpleNamespace(
                info=world.logged.append,
                error=lambda text, throttle_duration_sec: world.logged.append(text),
            )

        def get_clock(self):
            return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=STAMP + 10**12))

        def destroy_node(self):
            world.callback = None

    class QoSProfile(SimpleNamespace):
        pass

    policies = SimpleNamespace(KEEP_LAST="keep last", BEST_EFFORT="best effort", RELIABLE="reliable")
    modules = {
        "rclpy": {"init": lambda args: None, "spin": world.spun.append, "try_shutdown": lambda: None},
        "rclpy.node": {"Node": Node},
        "rclpy.logging": {"get_logger": lambda name: SimpleNamespace(fatal=world.logged.append)},
        "rclpy.executors": {"ExternalShutdownException": type("ExternalShutdownException", (Exception,), {})},
        "rclpy.qos": {"QoSProfile": QoSProfile, "QoSHistoryPolicy": policies, "QoSReliabilityPolicy": policies},
        "rcl_interfaces": {},
        "rcl_interfaces.msg": {"ParameterDescriptor": SimpleNamespace},
        "rosidl_runtime_py": {},
        "rosidl_runtime_py.utilities": {"get_message": get_message},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    world.messages = Messages(get_message, lambda data: array.array("B", data.tobytes()))
    return world


def street(frames):
    with open_source(f"synth:street?seed=5&objects=5&size=480x270&frames={frames}") as source:
        return list(source)


def test_the_node_from_image_to_tracks(rclpy):
    node_module = importlib.import_module("trackstream_ros.node")
    rclpy.parameters = {"model": "street", "tracker": "bytetrack", "set": ["max_coast_frames=5"], "min_score": 0.3}
    rclpy.listeners = {"~/tracks/labels": 1}
    node = node_module.TrackNode()
    assert not rclpy.parameters and rclpy.kind == IMAGE_TYPE, "every parameter was declared"
    assert (rclpy.qos["image"].depth, rclpy.qos["image"].reliability) == (1, "best effort")
    assert rclpy.qos["~/tracks"].depth == 1 and "street with bytetrack" in rclpy.logged[0]
    node._since -= 100  # the first report is due
    stamps = [STAMP + k * 33_333_333 for k in range(6)]
    for frame, stamp in zip(street(6), stamps, strict=True):
        rclpy.callback(image_message(rclpy.messages, frame.image, "bgr8", stamp=stamp))
    answers = rclpy.published["~/tracks"]
    assert [stamp_of(answer.header) for answer in answers] == stamps
    assert [len(labels.data) for labels in rclpy.published["~/tracks/labels"]] == [480 * 270 * 2] * 6
    assert rclpy.published["~/tracks/all"] == [], "nobody listens"
    last = answers[-1].detections
    assert len(last) >= 3 and {d.results[0].hypothesis.class_id for d in last} <= {"person", "car"}
    assert float(read_details(last[0])["age"]) == pytest.approx(5 / 30, abs=2e-3)
    assert "capture to tracks p50" in rclpy.logged[1]
    broken = image_message(rclpy.messages, np.zeros((4, 4), np.float32), "32FC1")
    rclpy.callback(broken)
    assert "32FC1" in rclpy.logged[-1] and len(answers) == 6, "one bad image does not end it"


def test_the_node_says_what_is_wrong_with_its_parameters(rclpy, tmp_path):
    node_module = importlib.import_module("trackstream_ros.node")
    for parameters, words in (({}, "no model given"), ({"model": "street", "device": "abacus"}, "abacus")):
        rclpy.parameters = parameters
        assert node_module.main() == 2
        assert words in rclpy.logged[-1] and not rclpy.spun
    rclpy.parameters = {"model": "street", "compressed": True, "state": str(tmp_path / "node.state"), "frame_rate": 15}
    assert node_module.main() == 0 and len(rclpy.spun) == 1 and rclpy.kind == COMPRESSED_TYPE
    assert (tmp_path / "node.state").exists() and rclpy.callback is None


def test_parameters_are_those_of_tracker_run(package, tmp_path):
    settings = importlib.import_module("trackstream_ros.settings")
    toml = tmp_path / "run.toml"
    toml.write_text('model = "a.onnx"\nmin_score = 0.25\nclasses = ["car"]\n[set]\nmax_coast_frames = 9\n')
    config = settings.configure({"min_score": 0.5, "set": "birth_score=0.7", "camera": True, "family": ""}, str(toml))
    assert (config.model, config.min_score, config.classes, config.camera) == ("a.onnx", 0.5, ("car",), True)
    assert config.set == {"max_coast_frames": 9, "birth_score": 0.7} and config.tracker == "bytetrack"
    assert settings.configure({"classes": ["car", "person"], "camera": False}).classes == ("car", "person")
    for wrong, words in (
        ({"modle": "x"}, "modle"), ({"min_score": "much"}, "min"), ({"set": "loose"}, "name=value"),
        ({"threads": 0}, "threads"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            settings.configure(wrong)


class Eyes:
    """A model that sees one box, and keeps the times of its frames."""

    def __init__(self):
        self.times = []

    def __call__(self, frame):
        assert isinstance(frame.header, Header)
        self.times.append(frame.time_s)
        return Detections.from_array([[4, 4, 20, 20, 0.9, 0]])


def follow(package, messages, stamps, arrivals):
    import tracker

    follower = importlib.import_module("trackstream_ros.follower")
    eyes = Eyes()
    loop = follower.Follower(eyes, tracker.create("bytetrack"), messages)
    pixels = np.zeros((32, 32, 3), np.uint8)
    answers = [
        loop.take(image_message(messages, pixels, "bgr8", stamp=stamp), arrived, labels=False)
        for stamp, arrived in zip(stamps, arrivals, strict=True)
    ]
    ids = [[detection.id for detection in answer.whole.detections] for answer in answers]
    return np.round(eyes.times, 6).tolist(), ids


def test_time_goes_by_the_stamps_and_never_back(package, messages):
    step = 40_000_000
    arrivals = [100 + 0.04 * k for k in range(6)]
    steady = [STAMP + k * step for k in (0, 1, 2, 5, 6, 7)]
    assert follow(package, messages, steady, arrivals)[0] == [0.0, 0.04, 0.08, 0.2, 0.24, 0.28], "drops lengthen dt"
    assert follow(package, messages, [0] * 6, arrivals)[0] == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2], "no stamps: arrivals"
    again = [*steady[:3], *steady[:3]]
    times, ids = follow(package, messages, again, arrivals)
    assert all(early < late for early, late in itertools.pairwise(times)) and times[3] == 0.12
    assert {track for row in ids for track in row} == {"1"}, "a bag that plays again reuses no id"


def test_frames_that_the_model_skips(package, messages):
    import tracker
    from tracker.pipeline import every

    eyes, kind = Eyes(), importlib.import_module("trackstream_ros.follower").Follower
    loop = kind(eyes, tracker.create("bytetrack"), messages, look=every(2))
    pixels = np.zeros((32, 32, 3), np.uint8)
    for k in range(4):
        answer = loop.take(image_message(messages, pixels, "bgr8", stamp=STAMP + k * 10**8), 0.1 * k)
        assert [detection.id for detection in answer.tracks.detections] == ["1"] and answer.labels is None
    assert np.round(eyes.times, 6).tolist() == [0.0, 0.2]


def test_another_resolution_goes_on_with_the_same_tracks(package, messages):
    """A plan that compares masks would refuse frames of another size."""
    import tracker
    from tracker.masks import Masks

    def see(frame):
        assert frame.image.shape == (60, 80, 3)
        mask = np.zeros((1, 60, 80), bool)
        mask[0, 10:30, 20:50] = True
        return Detections([[20, 10, 50, 30]], [0.9], masks=Masks.from_dense(mask))

    loop = importlib.import_module("trackstream_ros.follower").Follower(see, tracker.create("step-b1"), messages)
    for k, factor in enumerate((1, 1, 3, 2)):
        pixels = np.zeros((60 * factor, 80 * factor, 3), np.uint8)
        answer = loop.take(image_message(messages, pixels, "bgr8", stamp=STAMP + k * 10**8), 0.1 * k)
        (found,) = answer.tracks.detections
        box = found.bbox
        assert found.id == "1" and (box.size_x, box.size_y) == (pytest.approx(30 * factor), pytest.approx(20 * factor))
        labels = np.frombuffer(answer.labels.data, "<u2").reshape(60 * factor, 80 * factor)
        wanted = np.zeros_like(labels)
        wanted[10 * factor : 30 * factor, 20 * factor : 50 * factor] = 1
        np.testing.assert_array_equal(labels, wanted)


# ---------------------------------------------------------------------- embedding without ROS
EMBEDDED = """
import sys
import numpy as np
import tracker

robot = tracker.create("bytetrack", frame_rate=30, max_coast_s=1.5)
robot.warmup()

def on_picture(stamp_s, boxes, scores, masks):
    seen = tracker.Detections(boxes, scores, masks=tracker.Masks.from_dense(masks))
    tracks = robot.update(seen, time_s=stamp_s).confirmed
    labels = tracks.masks.disjoint(tracks.scores).to_label_map(tracks.ids)
    return tracks, labels, robot.at(stamp_s + 0.1)

def look(k):
    masks = np.zeros((2, 60, 200), bool)
    masks[0, 10:30, 10 + k : 30 + k] = masks[1, 20:50, 15 + k : 40 + k] = True
    boxes = [[10 + k, 10, 30 + k, 30], [15 + k, 20, 40 + k, 50]]
    return on_picture(1.7e9 + k / 30, boxes, [0.9, 0.8], masks)

for k in range(3):
    look(k)
touched, watching = [], False
sys.addaudithook(lambda event, given: touched.append((event, given)) if watching else None)
watching = True
open(sys.executable, "rb").close()
assert touched.pop()[0] == "open", "the hook sees it"
for k in range(3, 60):
    tracks, labels, ahead = look(k)
watching = False
heavy = {"onnxruntime", "cv2", "av", "torch"} & {name.partition(".")[0] for name in sys.modules}
outside = [e for e in touched if e[0].partition(".")[0] in ("open", "os", "socket", "subprocess", "_thread", "shutil")]
assert not heavy and not outside, (heavy, outside)
assert tracks.ids.tolist() == [1, 2] and set(np.unique(labels)) == {0, 1, 2}
assert abs(ahead.velocities[0, 0] - 30) < 3, ahead.velocities
"""


def test_an_embedded_tracker_opens_no_file_and_starts_no_thread():
    done = subprocess.run([sys.executable, "-c", EMBEDDED], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
