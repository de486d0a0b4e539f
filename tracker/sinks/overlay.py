"""The painter: masks, boxes, names and trails of confirmed tracks on a copy of the frame, and stuff behind them.

All work happens on crops around the objects, so the cost follows the objects and not the frame; but for stuff, where a
panoptic model gives it.
"""

from __future__ import annotations

import colorsys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.masks import Masks
from tracker.sinks.crossings import CrossingsSink
from tracker.sinks.labels import place_labels
from tracker.sinks.run_info import RunInfo
from tracker.types import Frame, Panoptic, Tracks

Colour = tuple[int, int, int]

_GOLDEN = 0.6180339887498949  # successive multiples, modulo 1, lie as far apart as numbers can
_TONES = ((0.85, 1.00), (0.45, 1.00), (1.00, 0.72), (0.62, 0.88))  # saturation and value, in turn: ids 5, 13, 21 ...
# apart have nearly the same hue, but with four tones never the same tone
_LUMA = (0.114, 0.587, 0.299)  # of BGR
_DARKEST = 95.0
_STUFF = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70), "wall": (102, 102, 156),
    "fence": (190, 153, 153), "pole": (153, 153, 153), "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180),
}  # fmt: skip
_FAR = 16000  # pixels; OpenCV draws with 16 bits
_SMOOTH = 0.8  # pixels that an outline may be off the mask's edge; fewer corners are drawn faster
_PLACE = (255, 255, 255)  # colour of lines and zones that count
_AGES, _FADES = np.array([1, 2 / 3, 1 / 3]), (0.3, 0.6, 0.9)  # opacity of a trail's thirds, the oldest first


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """How tracks are painted.

    Attributes:
        fill: opacity of masks, 0..1.
        stuff: opacity of what a panoptic model sees beside objects, 0..1.
        trail_s: length of the trails in seconds; 0 for none.
        coasting: also paint tracks that are not seen in this frame, thin and dashed.
    """

    fill: float = 0.42
    stuff: float = 0.25
    trail_s: float = 1.5
    coasting: bool = False


@lru_cache(maxsize=4096)
def colour_of(track_id: int) -> Colour:
    """BGR colour of an id: the same in every run, and far from those of the ids before and after."""
    saturation, value = _TONES[track_id % len(_TONES)]
    hue = track_id * _GOLDEN % 1.0
    bgr = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))[::-1]
    luma = float(bgr @ _LUMA)
    if luma < _DARKEST:  # blue on a dark street: mix in as much white as it takes
        bgr += (255 - bgr) * (_DARKEST - luma) / (255 - luma)
    blue, green, red = np.rint(bgr).astype(int).tolist()
    return blue, green, red


def class_colours(names: Sequence[str]) -> NDArray[np.uint8]:
    """(256, 1, 3) BGR colour of each class index: Cityscapes' for its stuff, else one of its own."""
    table = np.zeros((256, 1, 3), np.uint8)
    for label in range(255):
        red, green, blue = _STUFF.get(names[label] if label < len(names) else "", (0, 0, 0))
        table[label, 0] = (blue, green, red) if red + green + blue else colour_of(label + 1)
    return table


class Overlay:
    """Paints frame after frame of one stream; it remembers where tracks were, as long as they live.

    Args:
        info: about the run.
        style: how to paint.
        counts: has lines and zones to paint, and how often something happened there by now.
    """

    def __init__(self, info: RunInfo, style: OverlayStyle | None = None, counts: CrossingsSink | None = None) -> None:
        import cv2

        self._cv2 = cv2
        self._info = info
        self._style = style or OverlayStyle()
        self._trails: dict[int, deque[tuple[float, int, int]]] = {}
        self._class_colours = class_colours(info.class_names)
        self._counts = counts

    def paint(self, frame: Frame, tracks: Tracks) -> NDArray[np.uint8]:
        """A copy of the frame's image with its confirmed tracks (and, if the style says so, coasting ones).

        Lines and letters grow with the image: 2 pixels at 720 rows.
        """
        image = frame.image.copy()
        short = min(frame.height, frame.width)
        thickness = max(1, round(short / 360))
        seen = tracks.confirmed
        colours = [colour_of(track_id) for track_id in seen.ids.tolist()]
        boxes = np.rint(seen.boxes).astype(np.int64)
        masks = seen.masks
        if tracks.detections.panoptic is not None and self._style.stuff > 0:
            self._paint_stuff(image, tracks.detections.panoptic)
        if masks is not None and (masks.height, masks.width) == image.shape[:2]:
            for row in np.argsort(boxes[:, 3], kind="stable").tolist():  # nearer objects last
                self._paint_mask(image, masks, row, colours[row], thickness)
        self._paint_trails(image, frame.time_s, tracks, thickness)
        if self._style.coasting:
            self._paint_coasting(image, tracks.coasting)
        frame_line = thickness if masks is None else max(1, thickness // 2)  # the outline says more than the box
        for box, colour in zip(boxes, colours, strict=True):
            self._cv2.rectangle(image, _point(box[:2]), _point(box[2:] - 1), colour, frame_line)
        names = map(self._info.class_name, seen.labels.tolist())
        texts = [f"{track_id} {name}" for track_id, name in zip(seen.ids.tolist(), names, strict=True)]
        if self._counts is not None:
            places = self._paint_places(image, self._counts, thickness)
            texts = [*places, *texts]  # in this order: those of places stay where they are
            boxes = np.concatenate([np.array(list(places.values())), boxes])
            colours = [_PLACE] * len(places) + colours
        self._paint_labels(image, texts, boxes, colours, short)
        return image

    def _paint_places(self, image: NDArray[Any], counts: CrossingsSink, thickness: int) -> dict[str, list[int]]:
        """Lines and zones; returns the text of each with the box (x0, y0, x1, y1) that the text belongs to."""
        texts = {}
        for name, points in (*counts.lines.items(), *counts.zones.items()):
            path = np.clip(np.rint(points), -_FAR, _FAR).astype(np.int32)
            self._cv2.polylines(image, [path], name in counts.zones, _PLACE, thickness, self._cv2.LINE_AA)
            events = {"in": "entered", "out": "exited"} if name in counts.zones else {"L": "to_left", "R": "to_right"}
            text = " ".join([name, *(f"{short} {counts.counts[name, event]}" for short, event in events.items())])
            texts[text] = [*path.min(0).tolist(), *path.max(0).tolist()]
        return texts

    def _paint_stuff(self, image: NDArray[Any], picture: Panoptic) -> None:
        """Tint every pixel that is no detection in the colour of its class; void stays as it is."""
        if picture.classes.shape != image.shape[:2]:
            return
        colours = self._cv2.applyColorMap(picture.classes, self._class_colours)
        tinted = self._cv2.addWeighted(colours, self._style.stuff, image, 1 - self._style.stuff, 0)
        known = (picture.rows == 0) & (picture.classes != Panoptic.VOID)
        self._cv2.copyTo(tinted, known.view(np.uint8), image)

    def _paint_mask(self, image: NDArray[Any], masks: Masks, row: int, colour: Colour, thickness: int) -> None:
        crop = masks.crop(row).view(np.uint8)
        if crop.size == 0:
            return
        x0, y0, x1, y1 = masks.rects[row].tolist()
        region = image[y0:y1, x0:x1]
        fill = self._style.fill
        tint = tuple(fill * value for value in colour)
        tinted = self._cv2.add(self._cv2.convertScaleAbs(region, alpha=1 - fill), (*tint, 0.0))
        self._cv2.copyTo(tinted, crop, region)
        outlines, _ = self._cv2.findContours(crop, self._cv2.RETR_CCOMP, self._cv2.CHAIN_APPROX_SIMPLE)
        smooth = [self._cv2.approxPolyDP(outline, _SMOOTH, True) for outline in outlines]
        self._cv2.drawContours(image, smooth, -1, colour, thickness, self._cv2.LINE_AA, offset=(x0, y0))

    def _paint_trails(self, image: NDArray[Any], time_s: float, tracks: Tracks, thickness: int) -> None:
        """Paths of the boxes' feet, fading towards the past; those of dead tracks are forgotten."""
        if self._style.trail_s <= 0:
            return
        alive = set(tracks.ids.tolist())
        for gone in self._trails.keys() - alive:
            del self._trails[gone]
        for track_id, box in tracks.confirmed:
            trail = self._trails.setdefault(track_id, deque())
            trail.append((time_s, round(float(box[0] + box[2]) / 2), round(float(box[3]))))
        for track_id, trail in self._trails.items():
            while trail and trail[0][0] < time_s - self._style.trail_s:
                trail.popleft()
            if len(trail) > 1:
                self._paint_trail(image, trail, time_s, colour_of(track_id), thickness)

    def _paint_trail(
        self, image: NDArray[Any], trail: deque[tuple[float, int, int]], time_s: float, colour: Colour, thickness: int
    ) -> None:
        path = np.array(trail)
        points = path[:, 1:].astype(np.int32)
        margin = 2 * thickness
        starts = np.searchsorted(path[:, 0], time_s - self._style.trail_s * _AGES).tolist()
        for fade, first, end in zip(_FADES, starts, [*starts[1:], len(path)], strict=True):
            piece = points[first : end + 1]  # up to the first point of the next piece
            if end <= first or len(piece) < 2:
                continue
            low = np.maximum(piece.min(0) - margin, 0)
            high = piece.max(0) + margin + 1
            region = image[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
            if region.size == 0:
                continue
            layer = region.copy()
            self._cv2.polylines(layer, [piece - low], False, colour, thickness + 1, self._cv2.LINE_AA)
            self._cv2.addWeighted(layer, fade, region, 1 - fade, 0, dst=region)

    def _paint_coasting(self, image: NDArray[Any], tracks: Tracks) -> None:
        for track_id, box in tracks:
            x0, y0, x1, y1 = np.rint(box).astype(np.int64).tolist()
            colour = colour_of(track_id)
            dash = max(6, image.shape[0] // 90)
            for x in range(max(x0, 0), min(x1, image.shape[1]), 2 * dash):
                for y in (y0, y1 - 1):
                    self._cv2.line(image, (x, y), (min(x + dash, x1), y), colour, 1)
            for y in range(max(y0, 0), min(y1, image.shape[0]), 2 * dash):
                for x in (x0, x1 - 1):
                    self._cv2.line(image, (x, y), (x, min(y + dash, y1)), colour, 1)

    def _paint_labels(
        self, image: NDArray[Any], texts: Sequence[str], boxes: NDArray[np.int64], colours: Sequence[Colour], short: int
    ) -> None:
        """Names on plates beside the boxes, see `place_labels`."""
        font = self._cv2.FONT_HERSHEY_SIMPLEX
        scale = max(0.4, short / 1440)
        weight = 1 if scale < 0.8 else 2
        measured = [self._cv2.getTextSize(text, font, scale, weight) for text in texts]
        height = max((size[1] for size, _ in measured), default=0)
        baseline = max((below for _, below in measured), default=0)
        pad = max(2, round(height / 4))
        high = height + baseline + pad
        wide = [size[0] + 2 * pad for size, _ in measured]
        corners = place_labels(boxes.tolist(), wide, high, (image.shape[1], image.shape[0]))
        for text, (x, y), width, colour in zip(texts, corners, wide, colours, strict=True):
            image[y : y + high, x : x + width] = colour
            bright = np.dot(colour, _LUMA) > 140
            ink = (16, 16, 16) if bright else (255, 255, 255)
            place = (x + pad, y + height + pad // 2 + 1)
            self._cv2.putText(image, text, place, font, scale, ink, weight, self._cv2.LINE_AA)


def _point(corner: NDArray[np.int64]) -> tuple[int, int]:
    """A corner as OpenCV takes it; far outside stays far outside without leaving 16 bits."""
    x, y = np.clip(corner, -_FAR, _FAR).tolist()
    return x, y
