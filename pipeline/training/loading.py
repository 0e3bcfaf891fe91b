"""From samples to batches: read, augment, pad, normalise.

Everything that is drawn for a sample follows from (seed, epoch, position in the epoch), so the data are the same
whoever loads them, and when.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from model.referformer.inference.preprocess import normalize
from model.referformer.tokenizer import Tokenizer
from model.referformer.training.targets import Targets
from pipeline.io.parallel import bounded_map
from pipeline.training.augment import TrainingClip, relative_boxes, tight_boxes
from pipeline.training.colour import names_colour
from pipeline.training.pseudo_clip import pseudo_clip
from pipeline.training.recipe import SAMPLINGS, Recipe
from pipeline.training.sampling import Anchor, anchors, batches, epoch_order
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InputError, MediaError, pair_message

DIVISOR = 32  # clips are padded to multiples of it
ATTEMPTS = 20  # other samples tried in place of one that cannot be used
LOADERS = 2  # threads that read ahead


@dataclass(frozen=True)
class Batch:
    """What the model is given, and what it should answer: B clips, N sentences, the same number about each clip."""

    frames: Tensor  # [B, T, 3, H, W] normalised, zeros on padding
    padding: Tensor | None  # [B, T, H, W] bool, True on padding; None if there is none
    sizes: Tensor  # [B, 2] height and width without padding
    ids: Tensor  # [N, L]
    words: Tensor  # [N, L] bool
    valid_indices: Tensor | None  # [B]: only this frame of each clip has a target
    targets: Targets  # of N sentences

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(
            frames=self.frames.to(device),
            padding=None if self.padding is None else self.padding.to(device),
            sizes=self.sizes.to(device),
            ids=self.ids.to(device),
            words=self.words.to(device),
            valid_indices=None if self.valid_indices is None else self.valid_indices.to(device),
            targets=self.targets.to(device),
        )


@dataclass(frozen=True)
class ClipSample:
    """One augmented clip. `valid`: the position of the one frame with a target, None if all frames have one. `shown`:
    whether a frame with a target showed the object before the clip was changed."""

    clip: TrainingClip
    valid: int | None
    shown: bool


class BatchLoader:
    """Batches of one process, epoch after epoch."""

    def __init__(
        self, examples: pa.Table, recipe: Recipe, tokenizer: Tokenizer, weights: Sequence[float] | None = None
    ) -> None:
        """examples: EXAMPLES; weights: shares of the sources in an epoch, None for all that they have."""
        self.examples, self.recipe, self.tokenizer, self.weights = examples, recipe, tokenizer, weights
        annotated = pc.list_value_length(examples["annotated"]).to_numpy()
        frames = pc.list_value_length(examples["frames"]).to_numpy()
        self.alone = ((annotated == 1) & (frames > 1) & (recipe.frames > 1)).tolist()
        source_of = examples["source"].to_numpy()
        self.sources: list[list[Anchor]] = [[] for _ in range(int(source_of.max()) + 1)]
        self.together = (
            _together(examples, recipe) if recipe.small.sentences > 1 else [[i] for i in range(len(examples))]
        )
        for example, count in enumerate(annotated.tolist()):
            if (
                self.together[example].index(example) % recipe.small.sentences == 0
            ):  # an epoch asks each sentence about once
                self.sources[source_of[example]] += [Anchor(example, frame) for frame in anchors(count, recipe.frames)]
        self.skipped: Counter[str] = Counter()  # what could not be used, by reason

    def batches(self, epoch: int, *, rank: int = 0, world: int = 1, skip: int = 0) -> Iterator[Batch]:
        """The batches of process `rank` of `world` in one epoch, without the first `skip` of it."""
        order, plan = self._plan(epoch)
        usable = len(plan) // world * world
        own = plan[rank:usable:world][skip:]
        return bounded_map(lambda positions: self._batch(order, epoch, positions), own, LOADERS)

    def steps(self, epoch: int, world: int) -> int:
        """Batches of each process in an epoch."""
        return len(self._plan(epoch)[1]) // world

    def _plan(self, epoch: int) -> tuple[list[Anchor], list[list[int]]]:
        order = epoch_order(self.sources, self.weights, np.random.default_rng([self.recipe.seed, epoch]))
        return order, list(batches(order, self.alone, self.recipe.clips))

    def _batch(self, order: list[Anchor], epoch: int, positions: list[int]) -> Batch:
        samples = [sample for i in positions for sample in self._samples(order[i], epoch, i)]
        return collate(samples, self.tokenizer, self.recipe.small.sentences)

    def _samples(self, anchor: Anchor, epoch: int, position: int) -> list[ClipSample]:
        """A clip with each of its sentences, or another one drawn in its place if it cannot be read or shows nothing
        of an object."""
        rng = np.random.default_rng([self.recipe.seed, epoch, position])
        alone, problem = self.alone[anchor.example], ""
        for _ in range(ATTEMPTS):
            examples = [self.examples.slice(i, 1).to_pylist()[0] for i in self._asked(anchor.example, rng)]
            example = examples[0]
            try:
                samples = self._load(examples, anchor, rng)
                if all(_annotated(sample.clip, sample.valid).present.any() or not sample.shown for sample in samples):
                    return samples
                problem = "too small to be seen"
            except MediaError as error:
                problem = str(error)
            self.skipped[pair_message(example["video_id"], example["expression_id"], problem)] += 1
            same = self.same_kind[alone]
            anchor = same[int(rng.integers(len(same)))]
        raise InputError(f"{ATTEMPTS} samples in a row cannot be used, the last one: {problem}; check the videos")

    def _asked(self, example: int, rng: np.random.Generator) -> list[int]:
        """As many of the sentences about a clip as are asked in one step; again from the first if they are fewer."""
        if self.recipe.small.sentences == 1:
            return [example]
        return np.resize(rng.permutation(self.together[example]), self.recipe.small.sentences).tolist()

    @cached_property
    def same_kind(self) -> dict[bool, list[Anchor]]:
        """All samples, by whether only one frame of their example is annotated."""
        every = [anchor for source in self.sources for anchor in source]
        return {kind: [anchor for anchor in every if self.alone[anchor.example] == kind] for kind in (False, True)}

    def _load(self, examples: Sequence[dict], anchor: Anchor, rng: np.random.Generator) -> list[ClipSample]:
        """The same frames, changed in the same way, for each sentence."""
        indices, valid = self._frames(examples[0], anchor, rng)
        images, seed = read_images(examples[0], indices), int(rng.integers(2**63))
        samples = []
        for example in examples:
            clip = training_clip(example, indices, images)
            shown = bool(_annotated(clip, valid).present.any())
            samples.append(ClipSample(self._changed(clip, np.random.default_rng(seed)), valid, shown))
        return samples

    def _frames(self, example: dict, anchor: Anchor, rng: np.random.Generator) -> tuple[list[int], int | None]:
        """Positions in the source sequence, and which of them is the only one with a target, if that is so."""
        length, annotated, frames = self.recipe.frames, example["annotated"], example["frames"]
        pick = SAMPLINGS[self.recipe.small.sampling]
        if self.alone[anchor.example]:
            chosen = pick(len(frames), frames.index(annotated[0]), length, rng)
            indices = [frames[i] for i in chosen]
            return indices, indices.index(annotated[0])
        if len(frames) == 1:
            return annotated, None
        chosen = pick(len(annotated), anchor.frame, length, rng)
        shown = [i for i, counts in enumerate(example["counts"]) if counts is not None]
        shown = shown or list(range(len(annotated)))  # a sentence about nothing: any frame shows that
        if not set(chosen) & set(shown):
            chosen = pick(len(annotated), int(rng.choice(shown)), length, rng)
        valid = int(rng.integers(length)) if self.recipe.small.context else None  # it may be one without the object
        return [annotated[i] for i in chosen], valid

    def _changed(self, clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
        if len(clip.frames) < self.recipe.frames:  # a single image
            clip = pseudo_clip(clip, self.recipe.frames, rng)
        return self.recipe.augmentation.apply(clip, rng)


def read_images(example: dict, indices: Sequence[int]) -> np.ndarray:
    """Frames of an example (positions in the source sequence, repetitions allowed), uint8 [T, H, W, 3]; MediaError."""
    selection = Selection(indices=tuple(sorted(set(indices))))
    images = {frame.index: frame.image for frame in read_frames(example["video_uri"], selection)}
    if next(iter(images.values())).shape[:2] != (example["height"], example["width"]):
        raise MediaError("corrupt", f"{example['video_uri']} has changed its size since the start of the training")
    return np.stack([images[index] for index in indices])


def training_clip(example: dict, indices: Sequence[int], images: np.ndarray) -> TrainingClip:
    """The example's object in the frames that `read_images` gave, and its sentence."""
    counts = dict(zip(example["annotated"], example["counts"], strict=True))
    masks = np.zeros(images.shape[:3], bool)
    for mask, index in zip(masks, indices, strict=True):
        if counts.get(index) is not None:
            mask[:] = rle.decode(counts[index], *mask.shape)
    return TrainingClip(
        frames=images,
        masks=masks,
        boxes=tight_boxes(masks),
        present=np.any(masks, axis=(1, 2)),
        sentence=example["expression"],
    )


def _together(examples: pa.Table, recipe: Recipe) -> list[list[int]]:
    """For each example, all that speak of the same frames and may be changed in the same way, itself included."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    columns = examples.select(["source", "video_uri", "frames", "annotated", "expression"]).to_pylist()
    keys, apart = [], recipe.augmentation.other_colours > 0
    for number, row in enumerate(columns):
        named = apart and names_colour(row["expression"])
        keys.append((row["source"], row["video_uri"], tuple(row["frames"]), tuple(row["annotated"]), named))
        groups[keys[-1]].append(number)
    return [groups[key] for key in keys]


def collate(samples: Sequence[ClipSample], tokenizer: Tokenizer, sentences: int = 1) -> Batch:
    """Samples of one kind as one batch, padded on the right and below; each `sentences` in a row share their frames."""
    clips = [sample.clip for sample in samples]
    shown = clips[::sentences]
    sizes = np.array([clip.size for clip in shown])
    height, width = (-(-side // DIVISOR) * DIVISOR for side in sizes.max(0).tolist())
    length = len(clips[0].frames)
    frames = torch.zeros(len(shown), length, 3, height, width)
    padding = torch.ones(len(shown), length, height, width, dtype=torch.bool)
    for i, (clip, (h, w)) in enumerate(zip(shown, sizes.tolist(), strict=True)):
        frames[i, :, :, :h, :w] = normalize(torch.from_numpy(np.ascontiguousarray(clip.frames)))
        padding[i, :, :h, :w] = False
    valid = [sample.valid for sample in samples[::sentences] if sample.valid is not None]
    words = tokenizer([clip.sentence for clip in clips])
    return Batch(
        frames=frames,
        padding=padding if padding.any() else None,
        sizes=torch.from_numpy(sizes),
        ids=words.ids,
        words=words.mask,
        valid_indices=torch.tensor(valid) if valid else None,
        targets=_targets([_annotated(sample.clip, sample.valid) for sample in samples], height, width),
    )


def _annotated(clip: TrainingClip, valid: int | None) -> TrainingClip:
    """The clip with the frames that have a target."""
    if valid is None:
        return clip
    only = slice(valid, valid + 1)
    arrays = {name: getattr(clip, name)[only] for name in ("frames", "masks", "boxes", "present")}
    return replace(clip, **arrays)


def _targets(clips: Sequence[TrainingClip], height: int, width: int) -> Targets:
    masks = np.zeros((len(clips), len(clips[0].masks), height, width), bool)
    for mask, clip in zip(masks, clips, strict=True):
        mask[:, : clip.size[0], : clip.size[1]] = clip.masks
    present = torch.from_numpy(np.stack([clip.present for clip in clips]))
    return Targets(
        masks=torch.from_numpy(masks),
        boxes=torch.from_numpy(np.stack([relative_boxes(clip) for clip in clips])),
        present=present,
        labels=torch.zeros_like(present, dtype=torch.int64),
    )
