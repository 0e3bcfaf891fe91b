"""Read, augment, pad and normalise training clips, and collate them to batches.

The random choices of a sample depend on (seed, epoch, position in the epoch) only, so that every process and every
resumed training loads the same data.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from schemas.advice import outside_a_run
from schemas.errors import InputError, MediaError
from schemas.pair import PairKey

DIVISOR = 32  # clips are padded to multiples of it
ATTEMPTS = 20  # samples tried for one position in an epoch
LOADERS = 2  # threads that read ahead


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of one step: B clips, N sentences, the same number for each clip."""

    frames: Tensor  # [B, T, 3, H, W] normalised, zeros on padding
    padding: Tensor | None  # [B, T, H, W] bool, True on padding; None if there is none
    sizes: Tensor  # [B, 2] height and width without padding
    ids: Tensor  # [N, L]
    words: Tensor  # [N, L] bool
    valid_indices: Tensor | None  # [B]: only this frame of each clip has a target
    targets: Targets  # of N sentences

    def to(self, device: torch.device) -> Self:
        """Copy to another device."""
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
    """One augmented clip with one sentence."""

    clip: TrainingClip
    valid: int | None  # position of the only frame with a target; None: all frames have one
    shown: bool  # a frame with a target showed the object before augmentation


class BatchLoader:
    """The batches of one process."""

    def __init__(
        self, examples: pa.Table, recipe: Recipe, tokenizer: Tokenizer, weights: Sequence[float] | None = None
    ) -> None:
        """examples: EXAMPLES; weights: shares of the sources in an epoch, None: each counts by its size."""
        self.examples, self.recipe, self.tokenizer, self.weights = examples, recipe, tokenizer, weights
        annotated = pc.list_value_length(examples["annotated"]).to_numpy()
        frames = pc.list_value_length(examples["frames"]).to_numpy()
        # Examples whose clips have a target in one frame only, because it is annotated alone or the recipe says so.
        alone = (annotated == 1) | recipe.one_target
        self.alone = (alone & (frames > 1) & (recipe.frames > 1)).tolist()
        source_of = examples["source"].to_numpy()
        self.sources: list[list[Anchor]] = [[] for _ in range(int(source_of.max()) + 1)]
        sentences = recipe.small.sentences
        self.together = _together(examples, recipe) if sentences > 1 else [[i] for i in range(len(examples))]
        for example, count in enumerate(annotated.tolist()):
            if self.together[example].index(example) % sentences == 0:  # an epoch has each sentence about once
                frames_of = self._shown(example) if self.alone[example] else anchors(count, recipe.frames)
                self.sources[source_of[example]] += [Anchor(example, frame) for frame in frames_of]
        every = [anchor for source in self.sources for anchor in source]
        self.spare = {alone: [a for a in every if self.alone[a.example] == alone] for alone in (False, True)}
        self.skipped: Counter[str] = Counter()  # unusable samples by reason

    def batches(self, epoch: int, *, rank: int = 0, world: int = 1, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of process `rank` of `world` in one epoch, without its first `skip`."""
        order, plan = self._plan(epoch)
        usable = len(plan) // world * world
        own = plan[rank:usable:world][skip:]

        def load(positions: list[int]) -> Batch:
            samples = [sample for i in positions for sample in self._samples(order[i], epoch, i)]
            return collate(samples, self.tokenizer, self.recipe.small.sentences)

        return bounded_map(load, own, LOADERS)

    def steps(self, epoch: int, world: int) -> int:
        """Return the number of batches per process in an epoch."""
        return len(self._plan(epoch)[1]) // world

    def _plan(self, epoch: int) -> tuple[list[Anchor], list[list[int]]]:
        order = epoch_order(self.sources, self.weights, np.random.default_rng([self.recipe.seed, epoch]))
        return order, list(batches(order, self.alone, self.recipe.clips))

    def _shown(self, example: int) -> list[int]:
        """Return the positions of the annotated frames that show the object; all for a sentence without a target."""
        counts = self.examples["counts"][example].as_py()
        return [i for i, mask in enumerate(counts) if mask is not None] or list(range(len(counts)))

    def _samples(self, anchor: Anchor, epoch: int, position: int) -> list[ClipSample]:
        """Load a clip with its sentences. Draw another one if it cannot be read or augmentation removed its object."""
        rng = np.random.default_rng([self.recipe.seed, epoch, position])
        alone, problem = self.alone[anchor.example], ""
        for _ in range(ATTEMPTS):
            asked = [anchor.example]
            if (count := self.recipe.small.sentences) > 1:  # repeats sentences if the clip has too few
                asked = np.resize(rng.permutation(self.together[anchor.example]), count).tolist()
            examples = [self.examples.slice(i, 1).to_pylist()[0] for i in asked]
            example = examples[0]
            try:
                samples = self._load(examples, anchor, rng)
                if all(_annotated(sample.clip, sample.valid).present.any() or not sample.shown for sample in samples):
                    return samples
                problem = "the object is too small"
            except MediaError as error:
                problem = outside_a_run(str(error))
            self.skipped[f"{PairKey.of(example)}: {problem}"] += 1
            anchor = self.spare[alone][int(rng.integers(len(self.spare[alone])))]
        raise InputError(f"{ATTEMPTS} samples in a row cannot be used; check the videos. The last one: {problem}")

    def _load(self, examples: Sequence[dict], anchor: Anchor, rng: np.random.Generator) -> list[ClipSample]:
        """Read the frames of a clip and augment them in the same way for each sentence."""
        indices, valid = self._frames(examples[0], anchor, rng)
        images, seed = read_images(examples[0], indices), int(rng.integers(2**63))
        samples = []
        for example in examples:
            clip = training_clip(example, indices, images)
            shown = bool(_annotated(clip, valid).present.any())
            own_rng = np.random.default_rng(seed)
            if len(clip.frames) < self.recipe.frames:  # a single image
                clip = pseudo_clip(clip, self.recipe.frames, own_rng)
            samples.append(ClipSample(self.recipe.augmentation.apply(clip, own_rng), valid, shown))
        return samples

    def _frames(self, example: dict, anchor: Anchor, rng: np.random.Generator) -> tuple[list[int], int | None]:
        """Choose the frames of a clip, as positions in the source sequence, and ClipSample.valid."""
        length, annotated, frames = self.recipe.frames, example["annotated"], example["frames"]
        pick = SAMPLINGS[self.recipe.small.sampling]
        if self.alone[anchor.example]:
            target = annotated[anchor.frame]
            indices = [frames[i] for i in pick(len(frames), frames.index(target), length, rng)]
            return indices, indices.index(target)
        if len(frames) == 1:
            return annotated, None
        chosen = pick(len(annotated), anchor.frame, length, rng)
        shown = self._shown(anchor.example)
        if not set(chosen) & set(shown):
            chosen = pick(len(annotated), int(rng.choice(shown)), length, rng)
        valid = int(rng.integers(length)) if self.recipe.small.context else None  # also frames without the object
        return [annotated[i] for i in chosen], valid


def read_images(example: dict, indices: Sequence[int]) -> np.ndarray:
    """Read frames of an example, uint8 [T, H, W, 3]. Raises MediaError.

    indices: positions in the source sequence; may repeat.
    """
    selection = Selection(indices=tuple(sorted(set(indices))))
    images = {frame.index: frame.image for frame in read_frames(example["video_uri"], selection)}
    if next(iter(images.values())).shape[:2] != (example["height"], example["width"]):
        raise MediaError("corrupt", f"{example['video_uri']} changed its size after the training began")
    return np.stack([images[index] for index in indices])


def training_clip(example: dict, indices: Sequence[int], images: np.ndarray) -> TrainingClip:
    """Combine the frames from `read_images` with the example's masks and sentence."""
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
    """For each example, list the examples that can share its augmented frames, itself included.

    If colours may change, examples whose sentences name a colour have frames of their own.
    """
    groups: dict[tuple, list[int]] = defaultdict(list)
    columns = examples.select(["source", "video_uri", "frames", "annotated", "expression"]).to_pylist()
    keys, apart = [], recipe.augmentation.other_colours > 0
    for number, row in enumerate(columns):
        named = apart and names_colour(row["expression"])
        keys.append((row["source"], row["video_uri"], tuple(row["frames"]), tuple(row["annotated"]), named))
        groups[keys[-1]].append(number)
    return [groups[key] for key in keys]


def collate(samples: Sequence[ClipSample], tokenizer: Tokenizer, sentences: int = 1) -> Batch:
    """Make a batch, padded on the right and below; each `sentences` samples in a row share their frames."""
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
    targets = [_annotated(sample.clip, sample.valid) for sample in samples]
    masks = np.zeros((len(targets), len(targets[0].masks), height, width), bool)
    for mask, clip in zip(masks, targets, strict=True):
        mask[:, : clip.size[0], : clip.size[1]] = clip.masks
    present = torch.from_numpy(np.stack([clip.present for clip in targets]))
    return Batch(
        frames=frames,
        padding=padding if padding.any() else None,
        sizes=torch.from_numpy(sizes),
        ids=words.ids,
        words=words.mask,
        valid_indices=torch.tensor(valid) if valid else None,
        targets=Targets(
            masks=torch.from_numpy(masks),
            boxes=torch.from_numpy(np.stack([relative_boxes(clip) for clip in targets])),
            present=present,
            labels=torch.zeros_like(present, dtype=torch.int64),
        ),
    )


def _annotated(clip: TrainingClip, valid: int | None) -> TrainingClip:
    """Return the frames of the clip that have a target."""
    if valid is None:
        return clip
    only = slice(valid, valid + 1)
    arrays = {name: getattr(clip, name)[only] for name in ("frames", "masks", "boxes", "present")}
    return replace(clip, **arrays)
