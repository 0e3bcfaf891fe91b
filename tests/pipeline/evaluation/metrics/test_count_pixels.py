"""The compiled kernel against a plain numpy one written from the definitions, and against broken strings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import count_columns, count_pixels
from schemas import rle


def boundary(mask):
    """Where a pixel differs from its right, lower or lower-right neighbour; outside of the frame is no neighbour."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    edge[-1] = edge[:, -1] = False
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge


def matched(edge, other, radius):
    """How many points of `edge` have one of `other` at Euclidean distance `radius` or less."""
    points, others = np.argwhere(edge), np.argwhere(other)
    if not len(others):
        return 0
    count = 0
    for chunk in np.array_split(points, len(points) * len(others) // 4_000_000 + 1):
        squared = ((chunk[:, None] - others[None]) ** 2).sum(-1)
        count += int((squared.min(1) <= radius**2).sum())
    return count


def reference(truth, prediction, void):
    truth, prediction = truth & ~void, prediction & ~void
    radius = int(np.ceil(0.008 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
    a, b = boundary(truth), boundary(prediction)
    regions = [(truth & prediction).sum(), (truth | prediction).sum()]
    return [*regions, a.sum(), b.sum(), matched(a, b, radius), matched(b, a, radius), prediction.sum()]


def score(frames):
    """Kernel over frames (list of truth masks, prediction or None, void or None), or their strings with a size."""
    strings, truth, predictions, voids, sizes = [], [], [], [], []

    def row(mask):
        if mask is None:
            return -1
        strings.append(mask if isinstance(mask, bytes) else rle.encode(mask[None])[0])
        return len(strings) - 1

    for size, truths, prediction, void in frames:
        truth.append([row(mask) for mask in truths])
        predictions.append(row(prediction))
        voids.append(row(void))
        sizes.append(size)
    lengths = [len(string) for string in strings]
    return count_pixels.score_frames(
        np.frombuffer(b"".join(strings), np.uint8),
        np.cumsum([0, *lengths]),
        np.cumsum([0, *(len(rows) for rows in truth)]),
        np.array([row for rows in truth for row in rows], np.int64),
        np.array(predictions),
        np.array(voids),
        *np.array(sizes, np.int64).T.copy(),
    )


def assert_equals_reference(frames):
    counts, errors = score([(truth.shape, [truth], prediction, void) for truth, prediction, void in frames])
    assert not errors.any()
    expected = [reference(t, p, np.zeros_like(t) if v is None else v) for t, p, v in frames]
    np.testing.assert_array_equal(counts, expected)


def some_masks(rng, height, width):
    """Empty, full, noise of several densities, boxes that touch borders and ones that do not."""
    box, line = np.zeros((2, height, width), bool)
    top, bottom = np.sort(rng.integers(0, height + 1, 2))
    left, right = np.sort(rng.integers(0, width + 1, 2))
    box[top:bottom, left:right] = True
    line[-1] = line[:, 0] = True
    noise = [rng.random((height, width)) < density for density in (0.01, 0.2, 0.5)]
    corner = ~np.roll(box, (height // 2, width // 2), (0, 1))
    return [np.zeros((height, width), bool), np.ones((height, width), bool), box, line, corner, *noise]


SIZES = [(1, 1), (1, 17), (19, 1), (2, 2), (3, 64), (63, 5), (64, 64), (65, 9), (127, 4), (128, 3), (37, 53)]
LONG = [(1, 16_000), (1_000, 5)]  # radii of 128 and 8
LONGER = [pytest.param(*size, marks=pytest.mark.slow) for size in ((9_000, 2), (2, 9_000))]  # radii of 72


@pytest.mark.parametrize(("height", "width"), SIZES + LONG + LONGER)
def test_every_size_and_kind_of_mask(height, width):
    rng = np.random.default_rng(height * 7 + width)
    masks = some_masks(rng, height, width)
    if height * width > 5_000:
        masks = [*masks[:5], rng.random((height, width)) < 0.02]
    voids = [None, *(rng.random((height, width)) < density for density in (0.02, 0.6))]
    assert_equals_reference([(a, b, voids[(i + j) % 3]) for i, a in enumerate(masks) for j, b in enumerate(masks)])


def disk(size, centre, radius):
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@pytest.mark.parametrize(("height", "width"), [(480, 854), (1080, 1920), (2160, 3840)])
def test_video_sizes(height, width):
    size, middle = (height, width), (height // 2, width // 2)
    whole = disk(size, middle, height // 4)
    near = disk(size, (middle[0] + height // 60, middle[1] + 5), height // 4)
    cut = disk(size, (height, width), height // 3) | disk(size, middle, 9)
    assert_equals_reference([(whole, near, None), (near, cut, None), (cut, whole, near)])


def test_truth_is_the_union_of_its_strings():
    rng = np.random.default_rng(5)
    masks = some_masks(rng, 37, 53)
    frames = [((37, 53), [masks[i], masks[j], masks[2]], masks[5], None) for i in range(8) for j in range(8)]
    counts, errors = score(frames)
    assert not errors.any()
    expected = [reference(np.logical_or.reduce(truth), p, np.zeros_like(p)) for _, truth, p, _ in frames]
    np.testing.assert_array_equal(counts, expected)


def test_no_string_is_an_empty_mask():
    mask = disk((20, 30), (9, 9), 5)
    counts, _ = score([((20, 30), [], mask, None), ((20, 30), [mask], None, None), ((20, 30), [], None, None)])
    assert counts[:, count_columns.UNION].tolist() == [mask.sum(), mask.sum(), 0]
    assert counts[:, count_columns.INTER].tolist() == [0, 0, 0]


def test_frames_do_not_touch_each_other():
    """Sizes alternate, and broken strings stand between good ones: each frame scores as it does alone."""
    rng = np.random.default_rng(1)
    frames = []
    for size in [(5, 7), (64, 9), (5, 7), (130, 40), (130, 40)] * 3:
        masks = some_masks(rng, *size)
        frames.append((size, [masks[7]], masks[6], None))
        frames.append((size, [masks[1]], b"o", None))
        frames.append((size, [masks[1], b""], masks[2], None))
        frames.append((size, [masks[2]], masks[3], b"#"))
        frames.append((size, [masks[4]], masks[2], None))
    together, errors = score(frames)
    assert errors.tolist() == [0, count_columns.BAD_PREDICTION, count_columns.BAD_TRUTH, count_columns.BAD_VOID, 0] * 15
    for n in np.flatnonzero(errors == 0):
        np.testing.assert_array_equal(score([frames[n]])[0][0], together[n])


def is_valid(counts, size):
    try:
        rle.check(counts, *size)
    except rle.RleError:
        return False
    return True


broken = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=30).map(lambda raw: bytes(48 + byte % 64 for byte in raw)),
    st.binary(max_size=12).map(lambda raw: bytes(48 + byte % 16 for byte in raw)),
)


@settings(max_examples=300, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), broken, broken)
def test_any_bytes_are_scored_or_named_as_the_bad_side(size, truth, prediction):
    _, errors = score([(size, [truth], prediction, None)])
    valid = is_valid(truth, size), is_valid(prediction, size)
    if all(valid):
        assert errors[0] == count_columns.OK
    else:
        assert errors[0] == (count_columns.BAD_PREDICTION if valid[0] or not valid[1] else count_columns.BAD_TRUTH)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_strings(data):
    """One byte of a good string changed, dropped or added, at a size where runs are long."""
    size = (70, 40)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    counts = bytearray(rle.encode(some_masks(rng, *size)[data.draw(st.integers(2, 7))][None])[0])
    at = data.draw(st.integers(0, len(counts) - 1))
    counts[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    damaged = bytes(counts)
    found, errors = score([(size, [damaged], damaged, None)])
    assert (errors[0] == count_columns.OK) == is_valid(damaged, size)
    if errors[0] == count_columns.OK:
        area = rle.decode(damaged, *size).sum()
        assert found[0, : count_columns.N_GT].tolist() == [area, area]
