"""The first batches of each published recipe against the published rules, written here once more.

Videos are made here: frame i of each shows its own rectangle, so that a mask tells its frame. The random choices of the
augmentation are read off the functions that carry them out.
"""

from collections import Counter
from itertools import combinations, product

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from model.referformer.tokenizer import load_tokenizer
from pipeline.training import augment, loading
from pipeline.training.examples import EXAMPLES
from pipeline.training.loading import BatchLoader
from pipeline.training.recipe import read_recipe
from pipeline.training.sampling import clip_frames
from schemas import rle

HEIGHT, WIDTH = 120, 160
VIDEO_SCALES = [288, 320, 352, 392, 416, 448, 480, 512]
IMAGE_SCALES = [480, 512, 544, 576, 608, 640, 672, 704, 736, 768]
AFTER_CROP = [296, 328, 360, 392, 416, 448, 480, 512]
BATCHES = 6


def frame_mask(frame: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10 + frame : 90 + frame, 20 + frame : 120 + frame] = True
    return mask


def example(number: int, frames: int, annotated: list[int], source: int = 0) -> dict:
    masks = [rle.encode(frame_mask(frame)[None])[0] for frame in annotated]
    names = {"video_id": f"v{number}", "video_uri": f"v{number}.mp4", "expression_id": "0"}
    sizes = {"height": HEIGHT, "width": WIDTH, "frames": list(range(frames))}
    return names | sizes | {"source": source, "expression": "the left one", "annotated": annotated, "counts": masks}


VIDEOS = [example(i, count, list(range(count))) for i, count in enumerate((12, 7, 3))]
IMAGES = [example(i, 1, [0]) for i in range(10, 16)]
DATA = {
    "ref-youtube-vos": VIDEOS,
    "images": IMAGES,
    "joint": [*IMAGES, *({**video, "source": 1} for video in VIDEOS)],
    "a2d-sentences": [example(0, 24, [4, 11, 23]), example(1, 9, [0, 5]), example(2, 2, [1]), example(3, 1, [0])],
}


def allowed_clips(count: int, anchor: int, length: int) -> Counter[tuple[int, ...]]:
    """All clips that the published rule can choose, with their probability: one neighbour on each side, at most three
    frames away, the rest from outside of them, or from everywhere if that is too little."""
    found = Counter()
    for before, after in product((1, 2, 3), repeat=2):
        near = [max(0, anchor - before), anchor, min(count - 1, anchor + after)]
        outside = [*range(min(near)), *range(max(near), count)]
        wanted = length - 3
        pool = outside if len(outside) > wanted else list(range(count))
        drawn = list(combinations(pool, wanted)) if len(pool) >= wanted else []
        drawn = drawn or [(*pool, *more) for more in combinations(pool, wanted - len(pool))]
        for rest in drawn:
            found[tuple(sorted((*near, *rest)))] += 1 / 9 / len(drawn)
    return found


@pytest.mark.parametrize(("count", "anchor"), [(12, 5), (12, 0), (7, 6), (3, 1), (1, 0)])
def test_clips_are_as_likely_as_published(count, anchor):
    expected, rng, draws = allowed_clips(count, anchor, 5), np.random.default_rng(0), 6000
    drawn = Counter(tuple(clip_frames(count, anchor, 5, rng)) for _ in range(draws))
    assert set(drawn) <= set(expected)
    for clip, share in expected.items():
        deviation = (draws * share * max(0.0, 1 - share)) ** 0.5
        assert abs(drawn[clip] - draws * share) <= 5 * deviation + 1e-6, clip


def published_size(height: int, width: int, side: int, most: int | None) -> tuple[int, int]:
    """The size after a resize of the shorter side, which makes room for the longer one."""
    short, long = min(height, width), max(height, width)
    if most is not None and long / short * side > most:
        side = round(most * short / long)
    if side == short:
        return height, width
    return (side, int(side * width / height)) if height < width else (int(side * height / width), side)


class Spy:
    """Records what the loader and the augmentation do, sample by sample."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.samples: list[dict] = []
        patch.setattr(loading, "bounded_map", lambda load, items, workers: map(load, items))  # one after the other
        patch.setattr(loading, "read_images", self.read)
        for module, name in ((augment, "flip"), (augment, "resize_clip"), (augment, "crop"), (loading, "pseudo_clip")):
            patch.setattr(module, name, self.recorded(name, getattr(module, name)))

    def read(self, example: dict, indices: list[int]) -> np.ndarray:
        self.samples.append({"video": example["video_id"], "frames": list(indices), "steps": []})
        return np.full((len(indices), HEIGHT, WIDTH, 3), 100, np.uint8)

    def recorded(self, name: str, function):
        def call(clip, *args, **options):
            result = function(clip, *args, **options)
            self.samples[-1]["steps"].append((name, args, result))
            return result

        return call


def replayed(sample: dict, valid: int | None, published: dict) -> np.ndarray:
    """Masks of a sample after the recorded choices, each checked against the published ones: bool [T, h, w]."""
    masks = torch.from_numpy(np.stack([frame_mask(frame) for frame in sample["frames"]]))
    names = [name for name, *_ in sample["steps"]]
    assert [name for name in names if name not in ("flip", "pseudo_clip")] in (
        ["resize_clip"],
        ["resize_clip", "crop", "resize_clip"],
    )
    resizes = [args for name, args, _ in sample["steps"] if name == "resize_clip"]
    plain = len(resizes) == 1
    (side, most), scales = resizes[-1], published["scales" if plain else "after_crop"]
    assert side in scales
    assert most == published["most" if plain else "most_after_crop"]
    assert plain or (resizes[0][0] in (400, 500, 600) and resizes[0][1] is None)
    for name, args, result in sample["steps"]:
        if name == "pseudo_clip":
            assert sum(np.array_equal(mask, frame_mask(0)) for mask in result.masks) == 1  # the image, and copies
            assert len(result.masks) == published["frames"]
            masks = torch.from_numpy(result.masks.copy())
        if name == "flip":
            masks = masks.flip(-1)
            assert result.sentence == "the right one"
        if name == "resize_clip":
            size = published_size(*masks.shape[1:], *args)
            masks = F.interpolate(masks[:, None].float(), size, mode="nearest")[:, 0] > 0.5
        if name == "crop":
            top, left, height, width = args
            for cut, side in ((height, masks.shape[1]), (width, masks.shape[2])):
                assert min(384, side) <= cut <= min(600, side)
            masks = masks[:, top : top + height, left : left + width]
    return masks.numpy() if valid is None else masks[valid : valid + 1].numpy()


VIDEO_RULE = {"scales": VIDEO_SCALES, "most": 640, "after_crop": VIDEO_SCALES, "most_after_crop": 640, "frames": 5}
IMAGE_RULE = {"scales": IMAGE_SCALES, "most": 800, "after_crop": AFTER_CROP, "most_after_crop": 640, "frames": 1}


@pytest.mark.parametrize("name", DATA)
def test_first_batches_are_as_published(name, checkpoint, monkeypatch):
    recipe, spy = read_recipe(name), Spy(monkeypatch)
    assert recipe.augmentation.colour == (name != "images")
    table = pa.Table.from_pylist(DATA[name], schema=EXAMPLES)
    loader = BatchLoader(table, recipe, load_tokenizer(checkpoint, 261))
    of = {row["video_id"]: row for row in DATA[name]}
    clips = 2 if name in ("images", "a2d-sentences") else 1
    stepped = Counter()
    for number, batch in enumerate(loader.batches(0)):
        if number == BATCHES:
            break
        samples = spy.samples[number * clips : (number + 1) * clips]
        assert batch.frames.shape[:2] == (clips, 1 if name == "images" else 5)
        for i, sample in enumerate(samples):
            row = of[sample["video"]]
            valid = None if batch.valid_indices is None else int(batch.valid_indices[i])
            count, frames = len(row["frames"]), tuple(sample["frames"])
            targets = row["annotated"]
            if count == 1:
                assert frames == (0,)
            elif name == "a2d-sentences":
                assert valid is not None
                target = frames[valid]
                assert target in targets
                assert frames.index(target) == valid
                assert frames in allowed_clips(count, target, 5)
            else:
                assert valid is None
                assert any(frames in allowed_clips(count, anchor, 5) for anchor in range(0, count, 5))
            masks = replayed(sample, valid, IMAGE_RULE if name == "images" else VIDEO_RULE)
            height, width = masks.shape[1:]
            assert batch.sizes[i].tolist() == [height, width]
            found = batch.targets.masks[i].numpy()
            assert np.array_equal(found[:, :height, :width], masks)
            assert not found[:, height:].any()
            assert not found[:, :, width:].any()
            assert torch.equal(batch.targets.present[i], torch.from_numpy(masks.any((1, 2))))
            for box, mask in zip(batch.targets.boxes[i].tolist(), masks, strict=True):
                if mask.any():
                    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
                    side = np.array([width, height])
                    expected = [*((low + high) / 2 / side), *((high - low) / side)]
                    assert np.allclose(box, expected, atol=1e-6)
            stepped[tuple(step for step, *_ in sample["steps"])] += 1
    assert len(stepped) > 1  # with and without flip and crop


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("ref-youtube-vos", 3 + 2 + 1),  # every fifth frame of each video
        ("images", 6),
        ("joint", 6 + 6),  # all samples of all data sets
        ("a2d-sentences", 3 + 2 + 1 + 1),  # every annotated frame
    ],
)
def test_an_epoch_has_the_published_samples(name, samples, checkpoint):
    recipe = read_recipe(name)
    table = pa.Table.from_pylist(DATA[name], schema=EXAMPLES)
    loader = BatchLoader(table, recipe, load_tokenizer(checkpoint, 261))
    order, _ = loader._plan(0)
    assert len(order) == len(set(order)) == samples
    assert order != loader._plan(1)[0]


def test_published_lengths_of_the_trainings():
    """Epochs, epochs of the drops, clips per process and frames of the published scripts."""
    lengths = {name: read_recipe(name) for name in DATA}
    assert {name: (r.epochs, r.drops, r.clips, r.frames) for name, r in lengths.items()} == {
        "ref-youtube-vos": (6, (3, 5), 1, 5),
        "images": (12, (8, 10), 2, 1),
        "joint": (12, (8, 10), 1, 5),
        "a2d-sentences": (6, (3, 5), 2, 5),
    }
    assert {name: r.freeze_text_encoder for name, r in lengths.items()} == dict.fromkeys(DATA, True) | {"images": False}


def test_frames_that_do_not_show_the_object_are_no_samples(checkpoint):
    row = example(0, 24, [4, 11, 23])
    row["counts"][1] = None
    nothing = {**row, "video_id": "nothing", "counts": [None] * 3}
    table = pa.Table.from_pylist([row, nothing], schema=EXAMPLES)
    loader = BatchLoader(table, read_recipe("a2d-sentences"), load_tokenizer(checkpoint, 261))
    assert sorted(loader._plan(0)[0]) == [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)]
