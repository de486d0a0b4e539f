"""COCO panoptic: a folder of RGB pictures and a JSON that says what each of their segments is.

A pixel's segment is R + 256 G + 65536 B; 0 is void. The JSON lists `images`, `categories` (id, name, isthing) and
`annotations` with the `segments_info` (id, category_id, area, bbox, iscrowd) of every picture. The folder stands
beside the JSON and has its name without `.json`. As in video sets (VIPSeg, VPS), a thing keeps its segment id.

Source: Panoptic Segmentation, arXiv:1801.00868, and COCO's format page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FormatError, why
from tracker.formats.class_set import ClassSet
from tracker.formats.frame_objects import FrameObjects, PixelMap
from tracker.formats.png import encode_png, read_png
from tracker.masks import Masks

_FACTOR = 100_000  # a segment is class * 100000 + id + 1, below 2**24 for classes to 166 and ids to 65535
_MAX_SEGMENT = (1 << 24) - 1


def read_panoptic_png(path: str | os.PathLike[str]) -> NDArray[np.int32]:
    """Segment of every pixel: (H, W) int32, 0 is void.

    Raises:
        FormatError: it cannot be read or is not an 8-bit RGB PNG.
    """
    pixels = read_png(path).pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] < 3:
        raise FormatError(f"{path}: expected an 8-bit RGB PNG, got {pixels.dtype} {pixels.shape}")
    wide = pixels.astype(np.int32)
    return np.asarray(wide[:, :, 0] | wide[:, :, 1] << 8 | wide[:, :, 2] << 16, np.int32)


def encode_panoptic_png(segments: NDArray[np.integer[Any]]) -> bytes:
    """PNG bytes of segments (H, W), 0 to 2**24 - 1.

    Raises:
        FormatError: a number outside that range.
    """
    if segments.size and (int(segments.min()) < 0 or int(segments.max()) > _MAX_SEGMENT):
        raise FormatError(f"a COCO picture holds segments 0 to {_MAX_SEGMENT}, got {segments.min()}..{segments.max()}")
    return encode_png(np.stack([segments & 255, segments >> 8 & 255, segments >> 16], 2).astype(np.uint8))


def read_frames(path: str | os.PathLike[str]) -> Iterator[FrameObjects]:
    """The pictures of a JSON in the order of its annotations.

    Class numbers of the picture are places in the JSON's list of categories; crowds get id 0. Ids of things are
    segment ids, made smaller by class * 100000 + 1 where this module wrote them. Object ids are class * 2**24 + id.

    Raises:
        FormatError: a broken JSON, a picture with a segment that the JSON does not know, or one that is missing.
    """
    content = _load(path)
    things = [category for category in content["categories"] if category.get("isthing", 1)]
    names = tuple(str(category["name"]) for category in content["categories"])
    place = {category["id"]: k for k, category in enumerate(content["categories"])}
    class_set = ClassSet(names, tuple(place[category["id"]] for category in things))
    folder = Path(path).with_suffix("")
    for index, annotation in enumerate(content["annotations"]):
        picture = folder / str(annotation["file_name"])
        segments = read_panoptic_png(picture)
        found, rows = np.unique(segments, return_inverse=True)
        info = {segment["id"]: segment for segment in annotation["segments_info"]}
        classes = np.full(len(found), class_set.void, np.uint8)
        ids = np.zeros(len(found), np.int32)
        for row, number in enumerate(found.tolist()):
            if number == 0:
                continue
            if number not in info:
                raise FormatError(f"{picture}: segment {number} is not in the segments_info of {path}")
            if info[number]["category_id"] not in place:
                raise FormatError(f"{path}: segment {number} has the unknown category {info[number]['category_id']}")
            classes[row] = place[info[number]["category_id"]]
            if classes[row] in class_set.things and not info[number].get("iscrowd", 0):
                own = number - int(classes[row]) * _FACTOR - 1
                ids[row] = own if 0 < own < _FACTOR else number
        pixels = PixelMap(classes[rows].reshape(segments.shape), ids[rows].reshape(segments.shape), class_set)
        yield FrameObjects.from_pixels(index, pixels, id_factor=_MAX_SEGMENT + 1)


class PanopticWriter:
    """Writes pictures as they come and the JSON when it is closed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Make the folder and an empty JSON.

        Args:
            path: of the JSON; the folder has its name without `.json`.
        """
        self._path = Path(path)
        self._folder = self._path.with_suffix("")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(b"")
        self._content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
        self._closed = False

    def write(self, frame: FrameObjects) -> None:
        """Write one picture.

        Raises:
            FormatError: the frame has no picture, or an id above 65535.
        """
        if frame.pixels is None:
            raise FormatError(f"frame {frame.index} has no panoptic picture: objects alone do not say what the rest is")
        pixels, class_set = frame.pixels, frame.pixels.class_set
        if len(pixels.ids) and int(pixels.ids.max()) >= _FACTOR:
            raise FormatError(f"a COCO picture of a video holds ids below {_FACTOR}, got {pixels.ids.max()}")
        void = pixels.classes == class_set.void
        segments = np.where(void, 0, pixels.classes.astype(np.int64) * _FACTOR + pixels.ids + 1)
        name = f"{frame.index:06d}.png"
        (self._folder / name).write_bytes(encode_panoptic_png(segments))
        found, rows = np.unique(segments[~void], return_inverse=True)
        labels = np.zeros(segments.shape, np.int32)
        labels[~void] = rows.reshape(-1) + 1
        masks = Masks.from_label_map(labels, len(found))
        info = []
        for number, area, (x0, y0, x1, y1) in zip(
            found.tolist(), masks.areas.tolist(), masks.boxes.astype(int).tolist(), strict=True
        ):
            category = number // _FACTOR
            crowd = category in class_set.things and number % _FACTOR == 1
            info.append(
                {"id": number, "category_id": category, "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0],
                 "iscrowd": int(crowd)}
            )  # fmt: skip
        height, width = segments.shape
        self._content["images"].append({"id": frame.index, "file_name": name, "height": height, "width": width})
        self._content["annotations"].append({"image_id": frame.index, "file_name": name, "segments_info": info})
        self._content["categories"] = [
            {"id": number, "name": name, "isthing": int(number in class_set.things)}
            for number, name in enumerate(class_set.names)
        ]

    def close(self) -> None:
        """Write the JSON; twice is harmless."""
        if not self._closed:
            self._closed = True
            self._path.write_text(json.dumps(self._content), encoding="utf-8")


def _load(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        segments = [segment for annotation in content["annotations"] for segment in annotation["segments_info"]]
        numbers = [segment[key] for segment in segments for key in ("id", "category_id")]
        numbers += [category["id"] for category in content["categories"]]
        names = [annotation["file_name"] for annotation in content["annotations"]]
        names += [category["name"] for category in content["categories"]]
        if not all(isinstance(number, int) for number in numbers) or not all(isinstance(name, str) for name in names):
            raise FormatError(f"{path}: expected ids as whole numbers and names as text")
    except OSError as error:
        raise FormatError(f"cannot read {path}: {why(error)}") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}, line {error.lineno}: not JSON: {error.msg.lower()}") from None
    except UnicodeDecodeError:
        raise FormatError(f"cannot read {path}: not a JSON text") from None
    except KeyError as error:
        raise FormatError(f"{path}: not a COCO panoptic file: {error} is missing") from None
    except TypeError:
        raise FormatError(f"{path}: not a COCO panoptic file: expected images, annotations and categories") from None
    return dict(content)
