"""Kernels on packed mask bits; `Masks` owns the layout, and calls them.

A crop `rect` (x0, y0, x1, y1) keeps its rows in words on the image's 64-pixel grid: bit k of a word is pixel 64*i + k.
Their slow twins are plain numpy on dense stacks and pycocotools, in tests/test_masks.py.
"""

import numpy as np

from tracker._jit import inlined, kernel


@inlined
def _popcount(x):
    """Set bits of one word; LLVM turns these lines into its popcnt instruction."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@inlined
def _across(rect):
    """Words per row of a crop."""
    return (rect[2] - 1) // 64 - rect[0] // 64 + 1 if rect[2] > rect[0] else 0


@kernel
def pack(data, x, y, rect, words):
    """Bits of a crop whose first pixel stands at (x, y), clipped to `rect`."""
    across = _across(rect)
    first = rect[0] // 64
    for row in range(rect[1], rect[3]):
        at = (row - rect[1]) * across
        line = data[row - y]
        for k in range(across):
            begin, end = max((first + k) * 64, rect[0]), min((first + k) * 64 + 64, rect[2])
            words[at + k] = _gather_bits(line, np.uint64(begin - x), np.uint64(begin & 63), np.uint64(end - begin))


@inlined
def _gather_bits(line, at, low, count):
    """Word of `count` pixels from `at` on, the first one at bit `low`. Unsigned places: LLVM makes vectors of it."""
    word = np.uint64(0)
    if count == np.uint64(64):
        for bit in range(np.uint64(64)):
            word |= np.uint64(line[at + bit] != 0) << bit
    else:
        for bit in range(count):
            word |= np.uint64(line[at + bit] != 0) << (low + bit)
    return word


@kernel
def unpack(words, rect, out):
    across = _across(rect)
    first = rect[0] // 64
    for row in range(out.shape[0]):
        base = row * across
        for column in range(out.shape[1]):
            x = column + rect[0]
            out[row, column] = (words[base + x // 64 - first] >> np.uint64(x & 63)) & np.uint64(1) != 0


@inlined
def _run_end(line, x):
    """Where the run of equal labels that begins at `x` ends."""
    end = x + 1
    while end < len(line) and line[end] == line[x]:
        end += 1
    return end


@kernel
def find_label_rects(labels, count):
    """Tight rectangle of every label 1..count; labels come in runs, so a rectangle grows once per run."""
    height, width = labels.shape
    rects = np.zeros((count, 4), np.int32)
    for y in range(height):
        line = labels[y]
        x = 0
        while x < width:
            label, first = line[x], x
            x = _run_end(line, x)
            if label < 1 or label > count:
                continue
            r = rects[label - 1]
            if r[2] == 0:
                r[0], r[1], r[2], r[3] = first, y, x, y + 1
            else:
                r[0] = min(r[0], first)
                r[2] = max(r[2], x)
                r[3] = y + 1
    return rects


@kernel
def pack_labels(labels, count, rects, starts, words):
    """Bits of every label, a run at a time."""
    height, width = labels.shape
    for y in range(height):
        line = labels[y]
        x = 0
        while x < width:
            label, first = line[x], x
            x = _run_end(line, x)
            if label < 1 or label > count:
                continue
            r = rects[label - 1]
            at = starts[label - 1] + (y - r[1]) * _across(r) - r[0] // 64
            set_run(words, at, first, x)


@inlined
def set_run(words, at, first, end):
    """Set pixels [first, end) of the row whose word for pixel 0 would be `at`."""
    last = end - 1
    low = ~np.uint64(0) << np.uint64(first & 63)
    high = ~np.uint64(0) >> np.uint64(63 - (last & 63))
    if first // 64 == last // 64:
        words[at + first // 64] |= low & high
        return
    words[at + first // 64] |= low
    for k in range(first // 64 + 1, last // 64):
        words[at + k] = ~np.uint64(0)
    words[at + last // 64] |= high


@kernel
def paint(words, rects, starts, values, out):
    for i in range(len(rects)):
        r = rects[i]
        across = _across(r)
        at = starts[i]
        for y in range(r[1], r[3]):
            for k in range(across):
                word = words[at]
                at += 1
                if word == 0:
                    continue
                base = (r[0] // 64 + k) * 64
                for bit in range(64):
                    if (word >> np.uint64(bit)) & np.uint64(1):
                        out[y, base + bit] = values[i]


@kernel
def count_areas(words, starts):
    out = np.zeros(len(starts) - 1, np.int64)
    for i in range(len(out)):
        part = words[starts[i] : starts[i + 1]]
        total = np.uint64(0)
        for k in range(len(part)):
            total += _popcount(part[k])
        out[i] = total
    return out


@kernel
def find_boxes(words, rects, starts):
    out = np.zeros((len(rects), 4), np.int64)
    for i in range(len(rects)):
        r = rects[i]
        across = _across(r)
        x0, y0, x1, y1 = 1 << 40, 1 << 40, 0, 0
        at = starts[i]
        for y in range(r[1], r[3]):
            for k in range(across):
                word = words[at]
                at += 1
                if word == 0:
                    continue
                y0 = min(y0, y)
                y1 = y + 1
                base = (r[0] // 64 + k) * 64
                low = 0
                while not (word >> np.uint64(low)) & np.uint64(1):
                    low += 1
                high = 63
                while not (word >> np.uint64(high)) & np.uint64(1):
                    high -= 1
                x0 = min(x0, base + low)
                x1 = max(x1, base + high + 1)
        if y1 > 0:
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = x0, y0, x1, y1
    return out


@inlined
def _shared_bits(words_a, at_a, across_a, words_b, at_b, across_b, rows, columns):
    """Set bits that two blocks of words share. All numbers are uint64: no sign to test, so LLVM makes vectors of it."""
    total = np.uint64(0)
    if across_a == columns and across_b == columns:
        for k in range(rows * columns):
            total += _popcount(words_a[at_a + k] & words_b[at_b + k])
    elif columns == np.uint64(1):
        for _ in range(rows):
            total += _popcount(words_a[at_a] & words_b[at_b])
            at_a += across_a
            at_b += across_b
    else:
        for _ in range(rows):
            for k in range(columns):
                total += _popcount(words_a[at_a + k] & words_b[at_b + k])
            at_a += across_a
            at_b += across_b
    return total


@inlined
def count_shared(words_a, a, at_a, words_b, b, at_b):
    """Pixels that two crops share; reads only the rows and words that both have."""
    if a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]:
        return 0
    across_a, across_b = _across(a), _across(b)
    top, first = max(a[1], b[1]), max(a[0], b[0]) // 64
    at_a += (top - a[1]) * across_a + first - a[0] // 64
    at_b += (top - b[1]) * across_b + first - b[0] // 64
    rows, columns = min(a[3], b[3]) - top, (min(a[2], b[2]) - 1) // 64 - first + 1
    shared = _shared_bits(
        words_a, np.uint64(at_a), np.uint64(across_a), words_b, np.uint64(at_b), np.uint64(across_b),
        np.uint64(rows), np.uint64(columns),
    )  # fmt: skip
    return np.int64(shared)


@kernel
def compare(words_a, rects_a, starts_a, areas_a, words_b, rects_b, starts_b, areas_b):
    out = np.zeros((len(rects_a), len(rects_b)), np.float64)
    for i in range(len(rects_a)):
        x0, y0, x1, y1 = rects_a[i, 0], rects_a[i, 1], rects_a[i, 2], rects_a[i, 3]
        for j in range(len(rects_b)):  # most pairs end at the next line: they are not worth a call (25 ns each)
            if x0 >= rects_b[j, 2] or rects_b[j, 0] >= x1 or y0 >= rects_b[j, 3] or rects_b[j, 1] >= y1:
                continue
            shared = count_shared(words_a, rects_a[i], starts_a[i], words_b, rects_b[j], starts_b[j])
            if shared:
                out[i, j] = shared / (areas_a[i] + areas_b[j] - shared)
    return out


@inlined
def _differ(words_a, words_b, first, end, pattern_a, pattern_b):
    """Whether any pixel of these words has another label than its map's pattern."""
    rest = np.uint64(0)
    for k in range(first, end):
        rest |= (words_a[k] ^ pattern_a) | (words_b[k] ^ pattern_b)
    return rest != 0


@inlined
def _known(label, most):
    """The label, or 0 where there is no such object."""
    return np.uint64(label) if np.uint64(label) <= most else np.uint64(0)


@kernel
def count_overlaps(a, b, words_a, words_b, ones, pixel_bits, most_a, most_b, out):
    """Joint histogram of two label maps, a run of equal pairs at a time; adds to out[label in a, label in b].

    `a` and `b` are (P,) unsigned labels, P > 0; above `most_a`, `most_b` they count as 0. `words_a` and `words_b` are
    the same memory, eight bytes at a time, without the pixels at the end that fill no word. A label times `ones` is
    eight bytes of that label; `pixel_bits` is the binary logarithm of the bits of a pixel. All numbers are uint64.
    """
    per_word = np.uint64(6) - pixel_bits  # binary logarithm, too
    start = np.uint64(0)  # of the run of (label_a, label_b)
    label_a, label_b = a[start], b[start]
    pattern_a, pattern_b = np.uint64(label_a) * ones, np.uint64(label_b) * ones
    k, n_words, n = np.uint64(0), np.uint64(len(words_a)), np.uint64(len(a))
    while k < n_words:
        end = min(k + np.uint64(8), n_words)
        if not _differ(words_a, words_b, k, end, pattern_a, pattern_b):
            k = end
            continue
        while k < end:
            rest = (words_a[k] ^ pattern_a) | (words_b[k] ^ pattern_b)
            while rest != 0:
                pixel = _popcount((rest & (~rest + np.uint64(1))) - np.uint64(1)) >> pixel_bits  # first that differs
                at = (k << per_word) + pixel
                out[_known(label_a, most_a), _known(label_b, most_b)] += at - start
                start, label_a, label_b = at, a[at], b[at]
                pattern_a, pattern_b = np.uint64(label_a) * ones, np.uint64(label_b) * ones
                rest = (words_a[k] ^ pattern_a) | (words_b[k] ^ pattern_b)
                rest &= ~np.uint64(0) << (pixel << pixel_bits)
            k += np.uint64(1)
    for at in range(n_words << per_word, n):
        out[_known(label_a, most_a), _known(label_b, most_b)] += at - start
        start, label_a, label_b = at, a[at], b[at]
    out[_known(label_a, most_a), _known(label_b, most_b)] += n - start


@kernel
def gather(words, starts, index, new_starts, out):
    for i in range(len(index)):
        if index[i] < 0:
            continue
        at = starts[index[i]]
        for k in range(new_starts[i + 1] - new_starts[i]):
            out[new_starts[i] + k] = words[at + k]


@kernel
def take_free(words, rects, starts, order, taken):
    for i in order:
        r = rects[i]
        across = _across(r)
        first = r[0] // 64
        at = starts[i]
        for y in range(r[1], r[3]):
            for k in range(across):
                words[at] &= ~taken[y, first + k]
                taken[y, first + k] |= words[at]
                at += 1


@kernel
def find_runs(crop, rect, height, width):
    """Alternating run lengths of a crop inside its frame, column by column, starting with background."""
    out = np.empty(2 * crop.size + 1, np.int64)
    n = 0  # out[:n] first holds where the object begins, ends, begins ... in column-major pixel order
    for column in range(crop.shape[1]):
        base = (rect[0] + column) * height + rect[1]
        for row in range(crop.shape[0]):
            if crop[row, column]:
                if n == 0 or out[n - 1] != base + row:
                    out[n] = base + row
                    n += 2
                out[n - 1] = base + row + 1
    if n == 0 or out[n - 1] != height * width:
        out[n] = height * width
        n += 1
    for i in range(n - 1, 0, -1):
        out[i] -= out[i - 1]
    return out[:n]


@kernel
def find_run_rect(runs, height, rect):
    """Tight crop of a mask given by runs; untouched for an empty one."""
    at = 0
    x0, y0, x1, y1 = 1 << 40, 1 << 40, 0, 0
    for i in range(len(runs)):
        n = runs[i]
        if i & 1 and n > 0:
            first, last = at, at + n - 1
            x0 = min(x0, first // height)
            x1 = max(x1, last // height + 1)
            if first // height != last // height:
                y0, y1 = 0, height
            else:
                y0 = min(y0, first % height)
                y1 = max(y1, last % height + 1)
        at += n
    if x1 > 0:
        rect[0], rect[1], rect[2], rect[3] = x0, y0, x1, y1


@kernel
def pack_runs(runs, height, rect, words):
    across = _across(rect)
    first = rect[0] // 64
    at = 0
    for i in range(len(runs)):
        if i & 1:
            for pixel in range(at, at + runs[i]):
                x, y = pixel // height, pixel % height
                words[(y - rect[1]) * across + x // 64 - first] |= np.uint64(1) << np.uint64(x & 63)
        at += runs[i]


@kernel
def compress(runs):
    """COCO's string of run lengths: 5 bits a character, from the 4th run on the difference to the run two before."""
    out = np.empty(13 * len(runs), np.uint8)
    n = 0
    for i in range(len(runs)):
        x = runs[i] - runs[i - 2] if i > 2 else runs[i]
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            out[n] = (c | 32 if more else c) + 48
            n += 1
    return out[:n]


@kernel
def decompress(data, out):
    """Inverse of `compress`; returns the number of runs, or -1 for a damaged string."""
    n = 0
    at = 0
    while at < len(data):
        x = 0
        shift = 0
        more = True
        while more:
            if at >= len(data) or shift > 60 or data[at] < 48 or data[at] > 111:
                return -1
            c = np.int64(data[at]) - 48
            x |= (c & 31) << shift
            more = c & 32 != 0
            at += 1
            shift += 5
            if not more and c & 16:
                x |= -1 << shift
        if n > 2:
            x += out[n - 2]
        out[n] = x
        n += 1
    return n
