"""The compiled code of `count_pixels`: draw RLE strings as bits, and count pixels and matched boundary pixels.

Masks are drawn as bits, 64 rows of a column to a word (`bits[row // 64, column]`), so that a loop along a row of words
processes 64 image rows at once with vector instructions. Union, intersection, boundary map and the dilation by a disk
are shifts and bit operations on such rows. A boundary pixel is matched if it is in the dilated boundary of the other
mask. No branch depends on pixels, so noise costs as much as clean masks.

Canvas: each row of words is `radius` words wider than the frame on both sides, and has enough blank rows above and
below, that the disk never leaves it. All drawing and counting is in this one file, since numba's cache on disk notices
changes of the file of the called function only.
"""

import numpy as np

from pipeline.evaluation.metrics import count_columns
from pipeline.masks.compile_numba import compiled, compiled_entry_point, popcount

BOUND = 0.008  # radius of the disk, as a share of the frame's diagonal
_MAX_GROUPS = 7  # as in schemas.rle
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
_LAST = np.uint64(63)
_WITH_BIT = np.array([sum(1 << n for n in range(64) if n >> k & 1) for k in range(6)], np.uint64)


@compiled_entry_point
def count_frames(
    strings, starts, truth_first, truth_rows, prediction_rows, void_rows, heights, widths, box, counts, errors
):
    """`box`: first and last rows and columns of the canvas that any plane uses, but for the repeated last column."""
    canvas = np.zeros((6, 1, 1), np.uint64)
    last_height = last_width = radius = np.int64(0)
    for n in range(heights.size):
        height, width = heights[n], widths[n]
        if height != last_height or width != last_width:
            last_height, last_width = height, width
            radius = np.int64(np.ceil(BOUND * np.sqrt(np.float64(height * height + width * width))))
            canvas = np.zeros((6, (height >> 6) + 2 + 2 * _margin(radius), width + 1 + 2 * radius), np.uint64)
        box[0], box[1], box[2], box[3] = canvas.shape[1], 0, canvas.shape[2], 0
        spare, truth, prediction, void = canvas[0], canvas[1], canvas[2], canvas[3]
        for k in range(truth_first[n], truth_first[n + 1]):
            if not _paint(strings, starts, truth_rows[k], height, width, radius, spare, truth, box):
                errors[n] = count_columns.BAD_TRUTH
        row = prediction_rows[n]
        if row >= 0 and not _paint(strings, starts, row, height, width, radius, spare, prediction, box):
            errors[n] = count_columns.BAD_PREDICTION
        row = void_rows[n]
        if row >= 0 and not _paint(strings, starts, row, height, width, radius, spare, void, box):
            errors[n] = count_columns.BAD_VOID
        if errors[n] == count_columns.OK:
            _score_frame(canvas, box, height, width, radius, counts[n])
        for plane in range(1, 6):
            _clear(canvas[plane], box[0], box[1], box[2], box[3] + 1)


@compiled_entry_point
def describe_frames(strings, starts, truth_first, truth_rows, heights, widths, box, shapes):
    canvas = np.zeros((2, 1, 1), np.uint64)
    last_height = last_width = np.int64(0)
    for n in range(heights.size):
        height, width = heights[n], widths[n]
        if height != last_height or width != last_width:
            last_height, last_width = height, width
            canvas = np.zeros((2, (height >> 6) + 4, width + 1), np.uint64)
        box[0], box[1], box[2], box[3] = canvas.shape[1], 0, canvas.shape[2], 0
        for k in range(truth_first[n], truth_first[n + 1]):
            _paint(strings, starts, truth_rows[k], height, width, 0, canvas[0], canvas[1], box)
        _describe(canvas[1], box, height, width, shapes[n])
        _clear(canvas[1], box[0], box[1], box[2], box[3])


@compiled
def _describe(mask, box, height, width, shape):
    for word in range(box[0], box[1]):
        top = (word - _margin(0)) * 64
        inside = _ALL if top + 64 <= height else (_ONE << np.uint64(height & 63)) - _ONE
        edge = np.uint64(0)
        if top == 0:
            edge |= _ONE
        if top <= height - 1 < top + 64:
            edge |= _ONE << np.uint64((height - 1) & 63)
        for x in range(box[2], box[3]):
            bits = mask[word, x] & inside
            area = np.int64(popcount(bits))
            shape[0] += area
            shape[1] += top * area
            for k in range(6):  # sum of positions: bits whose position has bit k count 2^k
                shape[1] += np.int64(popcount(bits & _WITH_BIT[k])) << k
            shape[2] += x * area
            shape[3] += area if x == 0 or x == width - 1 else np.int64(popcount(bits & edge))


@compiled
def _margin(radius):
    """Return the number of blank rows of words above and below the frame."""
    return (radius >> 6) + 1


@compiled
def _parse(strings, starts, row, pixels):
    """Return the runs of one string, background first; none if it is not an RLE of `pixels` pixels (`schemas.rle`)."""
    start, stop = starts[row], starts[row + 1]
    runs = np.empty(stop - start, np.int64)
    n = 0
    left = pixels
    value = shift = negative = np.int64(0)
    for i in range(start, stop):
        group = np.int64(strings[i]) - 48
        if group < 0 or group > 63 or shift == 5 * _MAX_GROUPS:
            return runs[:0]
        value |= (group & 31) << shift
        shift += 5
        if group & 32 == 0:
            value -= (group & 16) << (shift - 4)
            if n > 2:
                value += runs[n - 2]
            negative |= value
            left -= value
            runs[n] = value
            n += 1
            value = shift = np.int64(0)
    return runs[:n] if left == 0 and shift == 0 and negative >= 0 else runs[:0]


@compiled
def _paint(strings, starts, row, height, width, radius, toggles, mask, box):
    """Draw the foreground of one string into `mask`, which may hold others, and extend `box` by its boundary.

    A stretch within one column is drawn as two toggles, filled in afterwards. One that reaches the last image row
    continues below it, so that it has no boundary there: pixels outside the frame are not background. `toggles` is
    blank before and after. Returns False, with nothing drawn, if the string is corrupt.
    """
    runs = _parse(strings, starts, row, height * width)
    margin = _margin(radius)
    top, bottom, first, last = height, np.int64(0), width, np.int64(0)
    x = y = np.int64(0)
    for run in range(1, runs.size, 2):
        y += runs[run - 1]
        length = runs[run]
        while y >= height:
            y -= height
            x += 1
        while length > 0:
            stop = min(y + length, height)
            length -= stop - y
            top, bottom, first, last = min(top, y), max(bottom, stop), min(first, x), x + 1
            toggles[margin + (y >> 6), radius + x] ^= _ONE << np.uint64(y & 63)
            y = stop
            if stop < height:
                toggles[margin + (stop >> 6), radius + x] ^= _ONE << np.uint64(stop & 63)
            else:
                x, y = x + 1, np.int64(0)
    if first < last:
        top, bottom = margin + (max(top - 1, 0) >> 6), margin + (bottom >> 6) + 1
        first, last = radius + max(first - 1, 0), radius + last
        for word in range(top, bottom):
            _fill(toggles[word - 1, first:last], toggles[word, first:last], mask[word, first:last])
        _clear(toggles, top, bottom, first, last)
        box[0], box[1] = min(box[0], top), max(box[1], bottom)
        box[2], box[3] = min(box[2], first), max(box[3], last)
    return runs.size > 0


@compiled
def _fill(above, toggles, mask):
    """Turn a row of toggles into foreground, from each odd one to the next, and add it to `mask`.

    A stretch may continue from the row above.
    """
    for i in range(toggles.size):
        word = toggles[i]
        word ^= word << np.uint64(1)
        word ^= word << np.uint64(2)
        word ^= word << np.uint64(4)
        word ^= word << np.uint64(8)
        word ^= word << np.uint64(16)
        word ^= word << np.uint64(32)
        word ^= np.uint64(0) - (above[i] >> _LAST)
        toggles[i] = word
        mask[i] |= word


@compiled
def _score_frame(canvas, box, height, width, radius, counts):
    """Fill in `counts` from the masks drawn on the canvas; uses its other planes."""
    _draw_boundaries(canvas, box, height, width, radius, counts)
    if counts[count_columns.N_GT] and counts[count_columns.N_PRED]:
        spare, truth_edge, prediction_edge = canvas[0], canvas[4], canvas[5]
        counts[count_columns.GT_MATCH] = _matched(truth_edge, prediction_edge, box, radius, spare)
        counts[count_columns.PRED_MATCH] = _matched(prediction_edge, truth_edge, box, radius, spare)


@compiled
def _draw_boundaries(canvas, box, height, width, radius, counts):
    """Count the pixels of both masks, then draw and count their boundaries."""
    truth, prediction, void, truth_edge, prediction_edge = canvas[1], canvas[2], canvas[3], canvas[4], canvas[5]
    first, last = box[2], box[3]
    for step in range(2):  # the boundary looks one row ahead, so the regions of all rows come first
        for word in range(box[0], box[1]):
            inside = _ALL if word < _margin(radius) + (height >> 6) else (_ONE << np.uint64(height & 63)) - _ONE
            if step == 0:
                _regions(truth[word, first:last], prediction[word, first:last], void[word, first:last], inside, counts)
                for mask in (truth, prediction):  # repeat the last column, so that it has no boundary there
                    mask[word, radius + width] = mask[word, radius + width - 1]
            else:
                counts[count_columns.N_GT] += _boundary(truth, word, first, last, inside, truth_edge)
                counts[count_columns.N_PRED] += _boundary(prediction, word, first, last, inside, prediction_edge)


@compiled
def _regions(truth, prediction, void, inside, counts):
    """Erase the void pixels of a row, and count the remaining ones."""
    inter = union = predicted = np.uint64(0)
    for i in range(truth.size):
        truth[i] &= ~void[i]
        prediction[i] &= ~void[i]
        inter += popcount(truth[i] & prediction[i] & inside)
        union += popcount((truth[i] | prediction[i]) & inside)
        predicted += popcount(prediction[i] & inside)
    counts[count_columns.PREDICTED] += np.int64(predicted)
    counts[count_columns.INTER] += np.int64(inter)
    counts[count_columns.UNION] += np.int64(union)


@compiled
def _boundary(mask, word, first, last, inside, edge):
    """Draw the boundary map of one row of words; return the number of its pixels.

    A pixel is boundary if it differs from its right, lower or lower-right neighbour.
    """
    total = np.uint64(0)
    here, below, out = mask[word, first : last + 1], mask[word + 1, first : last + 1], edge[word, first:last]
    for i in range(out.size):
        down = (here[i] >> _ONE) | (below[i] << _LAST)
        diagonal = (here[i + 1] >> _ONE) | (below[i + 1] << _LAST)
        out[i] = ((here[i] ^ here[i + 1]) | (here[i] ^ down) | (here[i] ^ diagonal)) & inside
        total += popcount(out[i])
    return np.int64(total)


@compiled
def _matched(edge, other, box, radius, scratch):
    """Count the pixels of `edge` within `radius` of one of `other`: those in `other` dilated by the disk."""
    total = np.uint64(0)
    start, stop = box[2] - radius, box[3] + radius
    size = box[3] - box[2]
    spread, dilated = scratch[0, start:stop], scratch[1, :size]
    for word in range(box[0], box[1]):
        spread[:] = 0
        dilated[:] = 0
        height = -1
        for dx in range(radius, -1, -1):  # the disk's columns, from its tips inwards, with growing height
            while (height + 1) * (height + 1) + dx * dx <= radius * radius:
                height += 1
                skip, shift = height >> 6, np.uint64(height & 63)
                _spread(
                    spread,
                    other[word - skip - 1, start:stop],
                    other[word - skip, start:stop],
                    other[word + skip, start:stop],
                    other[word + skip + 1, start:stop],
                    shift,
                )
            _or(dilated, spread[radius - dx :], spread[radius + dx :])
        total += _count_common(edge[word, box[2] : box[3]], dilated)
    spread[:] = 0
    dilated[:] = 0
    return np.int64(total)


@compiled
def _spread(out, above2, above, below, below2, shift):
    """Add the image rows `shift` above and below; `above2` and `below2` are the rows of words next further out."""
    back = _LAST - shift  # in two steps, since a shift by 64 is undefined
    for i in range(out.size):
        down = (above[i] << shift) | ((above2[i] >> _ONE) >> back)
        up = (below[i] >> shift) | ((below2[i] << _ONE) << back)
        out[i] |= down | up


@compiled
def _or(out, a, b):
    for i in range(out.size):
        out[i] |= a[i] | b[i]


@compiled
def _count_common(a, b):
    total = np.uint64(0)
    for i in range(a.size):
        total += popcount(a[i] & b[i])
    return total


@compiled
def _clear(plane, top, bottom, first, last):
    for word in range(top, bottom):
        for i in range(first, last):
            plane[word, i] = 0
