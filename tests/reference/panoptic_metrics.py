"""Slow, obvious twins of the panoptic metrics: whole videos in memory, one set of pixels after the other.

A video is four arrays (T, H, W): true classes, true ids, classes, ids.
"""

from __future__ import annotations

import math

import numpy as np

CROWD = 0


def segments_of(classes, ids, things):
    """(class, id) -> bool mask of each segment; id 0 for stuff."""
    out = {}
    for number in np.unique(classes).tolist():
        of_class = classes == number
        for own in np.unique(ids[of_class]).tolist() if number in things else [0]:
            out[number, own] = of_class & (ids == own) if number in things else of_class
    return out


def stq(videos, names, things, void, *, by_id=False):
    """STQ, AQ and SQ by the definitions."""
    quality, tubes = 0.0, 0
    shared, union = {}, {}
    everything = [*range(len(names)), void]
    for true_classes, true_ids, classes, ids in videos:
        crowd = np.isin(true_classes, things) & (true_ids == CROWD)
        segments = segments_of(true_classes, true_ids, things)
        truth = {key: mask for key, mask in segments.items() if key[0] in things and key[1] != CROWD}
        results = {}
        for (number, own), mask in segments_of(classes, ids, things).items():
            if number in things and (mask & ~crowd).any():
                key = ("any", own) if by_id and own else (number, own)
                results[key] = results.get(key, False) | (mask & ~crowd)
        for tube in truth.values():
            tubes += 1
            for other in results.values():
                both = int((tube & other).sum())
                quality += both * (both / int((tube | other).sum())) / int(tube.sum())
        labelled = true_classes != void
        for number in everything:
            mine, theirs = labelled & (true_classes == number), labelled & (classes == number)
            shared[number] = shared.get(number, 0) + int((mine & theirs).sum())
            union[number] = union.get(number, 0) + int((mine | theirs).sum())
    ious = [shared[number] / union[number] for number in everything if union[number]]
    aq, sq = quality / max(1, tubes), float(np.mean(ious)) if ious else math.nan
    return {"STQ": math.sqrt(aq * sq), "AQ": aq, "SQ": sq, "tubes": tubes}


def vpq(videos, names, things, void, window):
    """VPQ of one window length: mean over classes, NaN without any."""
    counts = {number: [0.0, 0, 0, 0] for number in range(len(names))}  # IoU, TP, FP, FN
    for video in videos:
        for start in range(len(video[0]) - window + 1):
            true_classes, true_ids, classes, ids = (part[start : start + window] for part in video)
            truth, results = segments_of(true_classes, true_ids, things), segments_of(classes, ids, things)
            empty = true_classes == void
            matched = set()
            for (number, own), tube in truth.items():
                if number == void or (number in things and own == CROWD):
                    continue
                for key, other in results.items():
                    overlap = (tube & other).sum() / (tube | (other & ~empty)).sum()
                    if key[0] == number and overlap > 0.5:
                        counts[number][0] += overlap
                        counts[number][1] += 1
                        matched.add(key)
                        break
                else:
                    counts[number][3] += 1
            for key, other in results.items():
                forgiven = empty | truth.get((key[0], CROWD), False) if key[0] in things else empty
                if key not in matched and key[0] != void and (other & forgiven).sum() / other.sum() <= 0.5:
                    counts[key[0]][2] += 1
    quality = [iou / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in counts.values() if tp + fp + fn]
    return float(np.mean(quality)) if quality else math.nan


def ptq(videos, names, things, void, precision=np.float32):
    """PTQ, sPTQ, IDS and sIDS; float32 is the precision of the nuScenes development kit."""
    counts = {number: [0.0, 0, 0, 0, 0, 0.0] for number in range(len(names))}  # IoU, TP, FP, FN, IDS, soft IDS
    for video in videos:
        before = {}
        for true_classes, true_ids, classes, ids in zip(*video):
            inside = true_classes != void
            truth = segments_of(np.where(inside, true_classes.astype(int), -1), true_ids, things)
            results = segments_of(np.where(inside, classes.astype(int), -1), ids, things)
            now, matched, of_class = {}, set(), {}
            for key, mask in truth.items():
                if key[0] == -1:
                    continue
                for other, theirs in results.items():
                    overlap = precision((mask & theirs).sum()) / precision((mask | theirs).sum())
                    if other[0] == key[0] and overlap > 0.5:
                        of_class.setdefault(key[0], []).append(overlap)
                        counts[key[0]][1] += 1
                        matched.add(other)
                        now[key] = other
                        if before.get(key, other) != other:
                            counts[key[0]][4] += 1
                            counts[key[0]][5] += float(overlap)
                        break
                else:
                    counts[key[0]][3] += 1
            for other in results:
                if other[0] not in (-1, void) and other not in matched:
                    counts[other[0]][2] += 1
            for number, overlaps in of_class.items():
                counts[number][0] += float(np.sum(overlaps, dtype=precision))
            before = now
    known = [c for c in counts.values() if c[1] + c[3]]
    weight = [tp + fp / 2 + fn / 2 for _, tp, fp, fn, _, _ in known]
    return {
        "PTQ": float(np.mean([(c[0] - c[4]) / w for c, w in zip(known, weight)])) if known else math.nan,
        "sPTQ": float(np.mean([(c[0] - c[5]) / w for c, w in zip(known, weight)])) if known else math.nan,
        "IDS": sum(c[4] for c in counts.values()),
        "sIDS": sum(c[5] for c in counts.values()),
    }


def plain_stq(frames, count, things, void):
    """The arithmetic of the reference numpy implementation written plainly, a frame at a time; for speed only."""
    truth, results, shared = {}, {}, {}
    confusion = np.zeros((count + 1, count + 1), np.int64)
    for true_classes, true_ids, classes, ids in frames:
        t = np.where(true_classes == void, count, true_classes).astype(np.int64)
        p = np.where(classes == void, count, classes).astype(np.int64)
        size = count + 1
        confusion += np.bincount(t.reshape(-1) * size + p.reshape(-1), minlength=size * size).reshape(size, size)
        true_key, key = (t << 16) + true_ids, (p << 16) + ids
        of_truth, of_result = np.isin(t, things), np.isin(p, things)
        crowd = of_truth & (true_ids == CROWD)
        of_truth, of_result = of_truth & ~crowd, of_result & ~crowd
        both = of_truth & of_result
        for table, keys in (
            (truth, true_key[of_truth]), (results, key[of_result]), (shared, true_key[both] * (1 << 24) + key[both]),
        ):  # fmt: skip
            for number, pixels in zip(*np.unique(keys, return_counts=True)):
                table[int(number)] = table.get(int(number), 0) + int(pixels)
    quality = 0.0
    for g, area in truth.items():
        for p, other in results.items():
            if both := shared.get(g * (1 << 24) + p):
                quality += both * (both / (area + other - both)) / area
    aq = quality / max(1, len(truth))
    confusion[count] = 0
    inter = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - inter
    return math.sqrt(aq * (inter / np.maximum(union, 1)).sum() / (union > 0).sum())
