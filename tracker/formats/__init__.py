"""Dataset formats, one file each, to the byte: what a benchmark's own tools write and read.

In memory everything is in the engine's units (frames from 0, 0-based pixels, xyxy half-open); only these files know
that MOTChallenge counts from 1. A new format is one file here and one row in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracker.formats import coco_panoptic, davis, kitti, mot, mots, mots_png, step, youtube_vis
from tracker.formats.class_set import KITTI_STEP, MOTCHALLENGE_STEP, ClassSet
from tracker.formats.frame_objects import IGNORED, FrameObjects
from tracker.formats.mots_png import MotsPngEncoder
from tracker.formats.writers import FolderWriter, TextWriter, Writer

__all__ = ["FORMATS", "Format", "FrameObjects", "Reading", "Writer"]

Frames = Iterator[FrameObjects]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader may be told besides the path.

    Attributes:
        length: frames of the sequence, where a text file ends with its last object.
        two_channel: STEP pictures have the id in green alone.
        truth: ground truth of a YouTube-VIS result file, which has neither video nor category names.
    """

    length: int | None = None
    two_channel: bool = False
    truth: Path | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """One dataset format.

    Attributes:
        about: one line for people.
        holds: `boxes`, `masks` (and so boxes) or `panoptic` (and so masks of things).
        suffix: of its files; empty for a folder of pictures per sequence.
        read: (path of one sequence, options) -> all its frames from 0 on, empty ones too.
        open: (path) -> writer of one sequence.
        classes: names that it can say; None for any, empty if it says none.
    """

    about: str
    holds: str
    suffix: str
    read: Callable[[Path, Reading], Frames]
    open: Callable[[Path], Writer]
    classes: frozenset[str] | None = None


def _mots_text(first_frame: int, about: str) -> Format:
    return Format(
        about, "masks", ".txt",
        lambda path, how: mots.read_frames(path, first_frame, how.length),
        lambda path: TextWriter(path, lambda frame: mots.encode_frame(frame, first_frame)),
        _MOTS_CLASSES,
    )  # fmt: skip


def _mots_pictures(first_frame: int, about: str) -> Format:
    return Format(
        about, "masks", "",
        lambda path, how: mots_png.read_frames(path, first_frame),
        lambda path: FolderWriter(path, MotsPngEncoder(), "{:06d}.png", first_frame),
        _MOTS_CLASSES,
    )  # fmt: skip


def _step(class_set: ClassSet, first_frame: int, about: str) -> Format:
    return Format(
        about, "panoptic", "",
        lambda path, how: step.read_frames(path, class_set, first_frame, two_channel=how.two_channel),
        lambda path: FolderWriter(path, lambda f: step.encode_frame(f, class_set), "{:06d}.png", first_frame),
        frozenset(class_set.names),
    )  # fmt: skip


_MOTS_CLASSES = frozenset({*mots.CLASS_OF_NAME, IGNORED})

FORMATS: Mapping[str, Format] = {
    "mot": Format(
        "MOT16, MOT17, MOT20: det.txt, gt.txt and results; written as results", "boxes", ".txt",
        lambda path, how: mot.read_frames(path, length=how.length),
        lambda path: TextWriter(path, mot.encode_frame),
    ),
    "mot15": Format(
        "MOT15: the same without classes", "boxes", ".txt",
        lambda path, how: mot.read_frames(path, has_classes=False, length=how.length),
        lambda path: TextWriter(path, mot.encode_frame), frozenset(),
    ),
    "mot-gt": Format(
        "MOT16, MOT17, MOT20: gt.txt, written as ground truth with classes", "boxes", ".txt",
        lambda path, how: mot.read_frames(path, length=how.length),
        lambda path: TextWriter(path, mot.encode_truth_frame), frozenset({*mot.CLASS_NAMES.values(), "pedestrian"}),
    ),
    "kitti": Format(
        "KITTI tracking: labels and results", "boxes", ".txt",
        lambda path, how: kitti.read_frames(path, how.length),
        lambda path: TextWriter(path, kitti.encode_frame), frozenset(kitti.TYPE_OF_NAME),
    ),
    "kitti-mots": _mots_text(0, "KITTI MOTS text"),
    "mots-challenge": _mots_text(1, "MOTSChallenge text"),
    "kitti-mots-png": _mots_pictures(0, "KITTI MOTS 16-bit pictures"),
    "mots-challenge-png": _mots_pictures(1, "MOTSChallenge 16-bit pictures"),
    "kitti-step": _step(KITTI_STEP, 0, "KITTI-STEP pictures"),
    "mot-step": _step(MOTCHALLENGE_STEP, 1, "MOTChallenge-STEP pictures"),
    "coco-panoptic": Format(
        "COCO panoptic: a JSON and a folder of pictures", "panoptic", ".json",
        lambda path, how: coco_panoptic.read_frames(path), coco_panoptic.PanopticWriter,
    ),
    "youtube-vis": Format(
        "YouTube-VIS: results, or a ground truth file of one video", "masks", ".json",
        lambda path, how: youtube_vis.read_video(path, how.truth), youtube_vis.VisWriter,
    ),
    "youtube-vis-gt": Format(
        "YouTube-VIS: the same, written as ground truth", "masks", ".json",
        lambda path, how: youtube_vis.read_video(path, how.truth),
        lambda path: youtube_vis.VisWriter(path, truth=True),
    ),
    "davis": Format(
        "DAVIS palette pictures, without classes", "masks", "",
        lambda path, how: davis.read_frames(path),
        lambda path: FolderWriter(path, davis.DavisEncoder(), "{:05d}.png"), frozenset(),
    ),
}  # fmt: skip
"""Name on the command line -> format."""
