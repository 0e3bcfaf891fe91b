"""Batches: the same from the same seed, of the right form, and not stopped by one bad video."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from model.referformer.tokenizer import load_tokenizer
from pipeline.training.augment import Augmentation
from pipeline.training.examples import EXAMPLES, TrainingSource, gather_examples
from pipeline.training.loading import Batch, BatchLoader
from pipeline.training.recipe import Recipe, SmallModelOptions
from schemas.errors import InputError

SMALL = Augmentation(sizes=(48, 64), max_size=96, crop_from=(72,), crop_sides=(40, 64), crop_max_size=96)
FIXED = replace(SMALL, crop=0.0)


@pytest.fixture(scope="module")
def examples(shapes):
    return gather_examples([TrainingSource(manifest=shapes[0], annotations=shapes[1])])[0]


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint, 261)


@pytest.fixture(scope="module")
def recipe():
    return Recipe(frames=4, clips=2, augmentation=SMALL)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.frames, other.frames) and torch.equal(one.targets.masks, other.targets.masks)


def test_an_epoch_can_be_taken_up_anywhere(examples, tokenizer, recipe):
    whole = list(BatchLoader(examples, recipe, tokenizer).batches(1))
    rest = list(BatchLoader(examples, recipe, tokenizer).batches(1, skip=3))
    assert len(whole) == BatchLoader(examples, recipe, tokenizer).steps(1, 1) == len(rest) + 3
    assert all(map(same, whole[3:], rest))
    other = next(iter(BatchLoader(examples, recipe, tokenizer).batches(2)))
    assert not same(whole[0], other)


def test_processes_share_an_epoch(examples, tokenizer, recipe):
    whole = list(BatchLoader(examples, recipe, tokenizer).batches(0))
    parts = [list(BatchLoader(examples, recipe, tokenizer).batches(0, rank=rank, world=2)) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == len(whole) // 2
    assert all(same(whole[2 * i + rank], parts[rank][i]) for rank in (0, 1) for i in range(len(parts[0])))


def test_batches_fit_together(examples, tokenizer, recipe):
    for batch in BatchLoader(examples, recipe, tokenizer).batches(0):
        assert batch.frames.shape[:3] == (2, 4, 3)
        assert all(side % 32 == 0 for side in batch.frames.shape[3:])
        assert batch.targets.masks.shape == (2, 4, *batch.frames.shape[3:])
        assert batch.targets.present.any(1).all()
        if batch.padding is not None:
            assert not batch.frames.masked_select(batch.padding[:, :, None]).any()
            assert not batch.targets.masks[batch.padding].any()
        assert batch.valid_indices is None


@pytest.mark.parametrize("context", [False, True])
def test_a_sentence_about_nothing_shares_the_frames_of_the_others(examples, tokenizer, context):
    first = examples.to_pylist()[0]
    nothing = first | {"expression_id": "none", "expression": "the cat", "counts": [None] * len(first["counts"])}
    both = pa.Table.from_pylist([first, nothing], schema=EXAMPLES)
    recipe = Recipe(frames=4, clips=1, small=SmallModelOptions(sentences=2, context=context), augmentation=FIXED)
    batches = list(BatchLoader(both, recipe, tokenizer).batches(0))
    assert batches
    for batch in batches:
        assert sorted(batch.targets.meant.tolist()) == [False, True]
        assert not batch.targets.masks[~batch.targets.meant].any()


def only(examples, **columns):
    """One example with other columns."""
    return pa.Table.from_pylist([examples.to_pylist()[0] | columns], schema=EXAMPLES)


def test_one_annotated_frame_makes_an_a2d_batch(examples, tokenizer, recipe):
    first = examples.to_pylist()[0]
    table = only(examples, annotated=[5], counts=[first["counts"][5]])
    batch = next(iter(BatchLoader(table, replace(recipe, clips=1), tokenizer).batches(0)))
    assert batch.frames.shape[1] == 4
    assert batch.targets.masks.shape[1] == 1
    assert batch.valid_indices is not None
    assert 0 <= batch.valid_indices[0] < 4
    assert batch.targets.present.all()


def test_one_frame_altogether_makes_a_pseudo_clip(examples, tokenizer, recipe):
    first = examples.to_pylist()[0]
    table = only(examples, frames=[5], annotated=[5], counts=[first["counts"][5]])
    for length in (1, 4):
        changed = replace(recipe, clips=1, frames=length)
        batch = next(iter(BatchLoader(table, changed, tokenizer).batches(0)))
        assert batch.frames.shape[1] == batch.targets.masks.shape[1] == length
        assert batch.valid_indices is None


def test_a_video_that_is_lost_meanwhile_is_replaced_and_told(examples, tokenizer, recipe):
    gone = examples.to_pylist()[0]["video_uri"]
    uris = [uri + ".gone" if uri == gone else uri for uri in examples["video_uri"].to_pylist()]
    table = examples.set_column(examples.schema.get_field_index("video_uri"), "video_uri", [uris])
    loader = BatchLoader(table, recipe, tokenizer)
    assert len(list(loader.batches(0))) == loader.steps(0, 1)
    assert all(".gone does not exist" in problem for problem in loader.skipped)
    assert loader.skipped
    every = examples.set_column(
        examples.schema.get_field_index("video_uri"), "video_uri", [["nowhere"] * examples.num_rows]
    )
    with pytest.raises(InputError, match="samples in a row cannot be used"):
        next(iter(BatchLoader(every, recipe, tokenizer).batches(0)))


def test_weights_choose_among_sources(examples, tokenizer, recipe):
    sources = np.arange(examples.num_rows) % 2
    table = examples.set_column(0, examples.schema.field(0), [sources.astype(np.int32)])
    loader = BatchLoader(table, recipe, tokenizer, weights=[1, 0])
    order, _ = loader._plan(0)
    assert {sources[anchor.example] for anchor in order} == {0}


def test_sentences_about_a_clip_share_its_frames(examples, tokenizer, recipe):
    several = replace(recipe, small=SmallModelOptions(sentences=3, sampling="consecutive"), augmentation=FIXED)
    loader = BatchLoader(examples, several, tokenizer)
    assert loader.steps(0, 1) < BatchLoader(examples, recipe, tokenizer).steps(0, 1) / 2
    for batch in loader.batches(0):
        assert batch.frames.shape[:2] == (2, 4)
        assert len(batch.ids) == len(batch.targets.masks) == 6
        asked = [tuple(row) for row in batch.ids.tolist()]
        assert all(len(set(asked[i : i + 3])) == 3 for i in (0, 3))
        assert batch.targets.masks.any((-1, -2)).any(1).all()


def test_more_sentences_than_there_are_come_again(examples, tokenizer, recipe):
    several = replace(recipe, clips=1, small=SmallModelOptions(sentences=4), augmentation=FIXED)
    batch = next(iter(BatchLoader(only(examples), several, tokenizer).batches(0)))
    assert len(batch.ids) == 4
    assert len({tuple(row) for row in batch.ids.tolist()}) == 1


def test_context_frames_are_for_the_backbone_alone(examples, tokenizer, recipe):
    clips = replace(recipe, small=SmallModelOptions(context=True, sentences=2), augmentation=FIXED)
    places = set()
    for batch in BatchLoader(examples, clips, tokenizer).batches(0):
        assert batch.frames.shape[1] == 4
        assert batch.targets.masks.shape[:2] == (4, 1)
        assert batch.targets.present.all()
        assert batch.valid_indices is not None
        places |= set(batch.valid_indices.tolist())
    assert len(places) > 1


def test_frames_without_the_object_teach_that_too(examples, tokenizer, recipe):
    first = examples.to_pylist()[0]
    counts = [mask if number < 3 else None for number, mask in enumerate(first["counts"])]
    clips = replace(recipe, clips=1, small=SmallModelOptions(context=True, sampling="consecutive"), augmentation=FIXED)
    loader, present = BatchLoader(only(examples, counts=counts), clips, tokenizer), set()
    for epoch in range(10):
        for batch in loader.batches(epoch):
            assert bool(batch.targets.present) == bool(batch.targets.masks.any())
            present.add(bool(batch.targets.present))
    assert present == {False, True}
    assert not loader.skipped


def test_sentences_that_name_colours_have_frames_of_their_own(examples, tokenizer, recipe):
    first = examples.to_pylist()[0]
    said = ["the red one", "the left one", "the blue one", "the big one"]
    rows = [first | {"expression_id": str(number), "expression": text} for number, text in enumerate(said)]
    table = pa.Table.from_pylist(rows, schema=EXAMPLES)
    several = replace(
        recipe, clips=1, small=SmallModelOptions(sentences=2), augmentation=replace(FIXED, other_colours=0.5)
    )
    assert BatchLoader(table, several, tokenizer).together == [[0, 2], [1, 3], [0, 2], [1, 3]]
    together = replace(several, augmentation=replace(SMALL, crop=0.0))
    assert BatchLoader(table, together, tokenizer).together == [[0, 1, 2, 3]] * 4
