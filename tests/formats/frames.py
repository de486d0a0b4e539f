"""Frames for tests of formats: the same little scene as boxes, masks and panoptic pictures."""

from __future__ import annotations

import numpy as np

from tracker.formats.class_set import KITTI_STEP, MOTCHALLENGE_STEP
from tracker.formats.frame_objects import FrameObjects, PixelMap
from tracker.masks import Masks

H, W = 24, 40


def picture(index, class_set=KITTI_STEP, ids=(3, 300)):
    """Two things that move, stuff around them, a crowd and void."""
    person, other = class_set.numbers_of(["person", "car"])
    classes = np.full((H, W), class_set.numbers_of(["sky"])[0], np.uint8)
    classes[H // 2 :] = class_set.numbers_of(["sidewalk"])[0]
    numbers = np.zeros((H, W), np.int32)
    things = [(person, ids[0]), (other if other >= 0 else person, ids[1])]
    for k, (number, own) in enumerate(things):
        place = slice(4, 14), slice(2 + 12 * k + index, 9 + 12 * k + index)
        classes[place], numbers[place] = number, own
    classes[0, :5] = class_set.void
    classes[-2:, -4:] = person  # a crowd
    return PixelMap(classes, numbers, class_set)


def panoptic_frames(count=3, class_set=KITTI_STEP):
    return [FrameObjects.from_pixels(k, picture(k, class_set), id_factor=100_000) for k in range(count)]


def mask_frames(count=3):
    """A person (id 5) in every frame, a car (id 7) in all but the second, nothing in the last."""
    out = []
    for index in range(count):
        stack = np.zeros((2, H, W), bool)
        stack[0, 3:12, 2 + index : 8 + index] = True
        stack[1, 14:20, 20:31] = True
        rows = [] if index == count - 1 else [0] if index == 1 else [0, 1]
        names = [("person", "car")[row] for row in rows]
        masks = Masks.from_dense(stack[rows])
        out.append(FrameObjects.from_masks(index, np.array([5, 7])[rows], names, masks, names_of_all=("car", "person")))
    return out


FRAMES = {"boxes": mask_frames, "masks": mask_frames, "panoptic": panoptic_frames}
SETS = {"mot-step": MOTCHALLENGE_STEP}


def write(form, path, frames):
    """Write frames with a format's writer."""
    writer = form.open(path)
    try:
        for frame in frames:
            writer.write(frame)
    finally:
        writer.close()
        writer.close()
    return path
