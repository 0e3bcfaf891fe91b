"""The training loop of one process. It does not use Ray: with `world` above 1 it needs torch's process group.

FOLDER/start/              the checkpoint that training starts from, with config and tokenizer
FOLDER/examples.parquet    the examples to train on
FOLDER/heldout.parquet     the examples to score, if any
FOLDER/state.safetensors   the state to resume from
FOLDER/log.jsonl, log.png  losses and held-out scores
FOLDER/checkpoint/         the result
"""

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from model.referformer.checkpoint import WEIGHTS, load_model, save_checkpoint
from model.referformer.inference.segmenter import PRECISIONS
from model.referformer.network.text_encoder import TokenBatch
from model.referformer.tokenizer import load_tokenizer
from model.referformer.training.activation_checkpointing import checkpoint_gradients
from model.referformer.training.losses import Losses, clip_losses
from model.referformer.training.optimizer import adamw, freeze, rate_factor
from pipeline.io import parquet, storage
from pipeline.io.local_copy import local_folder
from pipeline.io.private_folder import private_folder
from pipeline.training.heldout import heldout_scores
from pipeline.training.loading import Batch, BatchLoader
from pipeline.training.log import TrainingLog
from pipeline.training.recipe import Recipe
from pipeline.training.state import TrainingProgress, load_state, put_file, save_state
from schemas.errors import InputError

START, EXAMPLES, HELDOUT, STATE, RESULT = (
    "start",
    "examples.parquet",
    "heldout.parquet",
    "state.safetensors",
    "checkpoint",
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The inputs of each process."""

    folder: str
    recipe: Recipe
    weights: tuple[float, ...] | None = None  # of the sources
    threads: int | None = None  # of torch on a CPU; None: torch chooses


def train(training: Training, rank: int = 0, world: int = 1, device: str = "cpu") -> None:
    """Train to the end, from the last saved state if any. Raises InputError if the loss is no longer finite."""
    if training.threads:
        torch.set_num_threads(training.threads)
    with ExitStack() as stack:
        start = stack.enter_context(local_folder(storage.join(training.folder, START)))
        worker = Worker(training, start, rank, world, torch.device(device))
        worker.run()
        if rank == 0:
            worker.write_result(start)


class Worker:
    """One process with its copy of the model."""

    def __init__(self, training: Training, start: str, rank: int, world: int, device: torch.device) -> None:
        self.recipe, self.folder = training.recipe, training.folder
        self.rank, self.world, self.device = rank, world, device
        self.model = load_model(start).to(device).train()
        self.tokenizer = load_tokenizer(start, self.model.config.text.vocab_size)
        freeze(self.model, self.recipe.rates, text_encoder=self.recipe.freeze_text_encoder)
        if self.recipe.gradient_checkpointing:
            checkpoint_gradients(self.model)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise InputError("the recipe freezes every part of the model; set one of its rates above 0")
        self.optimizer = adamw(self.model, self.recipe.rates, self.recipe.weight_decay)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.recipe.precision == "fp16")
        self.progress = load_state(self._uri(STATE), self.model, self.optimizer, self.scaler)
        self.network = self.model
        if world > 1:  # buffers are constants: tables of positions and frozen statistics, which need not be sent
            self.network = DistributedDataParallel(self.model, broadcast_buffers=False)
        examples = parquet.read_table(self._uri(EXAMPLES))
        self.loader = BatchLoader(examples, self.recipe, self.tokenizer, training.weights)
        self.heldout = parquet.read_table(self._uri(HELDOUT)) if storage.exists(self._uri(HELDOUT)) else None
        self.log = TrainingLog(self.folder, self.progress.step)
        self.recent: dict[str, list[float]] = defaultdict(list)  # since the last log entry
        self.since = time.perf_counter()

    def run(self) -> None:
        """Train the remaining epochs."""
        for epoch in range(self.progress.epoch, self.recipe.epochs):
            steps, done = self.loader.steps(epoch, self.world), self.progress.batches // self.world
            if not steps:
                raise InputError("too few examples for one batch per process; lower clips in the recipe, or --workers")
            for batch in self.loader.batches(epoch, rank=self.rank, world=self.world, skip=done):
                self.step(batch.to(self.device), epoch + done / steps)
                done += 1
                self.progress = TrainingProgress(epoch=epoch, batches=done * self.world, step=self.progress.step + 1)
                self._record(last=done == steps)
                if self.recipe.heldout_steps and self.progress.step % self.recipe.heldout_steps == 0 and done < steps:
                    self._score_heldout()
            self.progress = TrainingProgress(epoch=epoch + 1, step=self.progress.step)
            self._score_heldout()
            if self.rank == 0:
                save_state(self._uri(STATE), self.model, self.optimizer, self.scaler, self.progress)
                self.log.plot()
            self.since = time.perf_counter()

    def step(self, batch: Batch, epochs: float) -> Losses:
        """Run one forward and backward pass and one update after `epochs` epochs."""
        recipe = self.recipe
        factor = rate_factor(epochs, schedule=recipe.small.schedule, drops=recipe.drops, warmup=recipe.small.warmup)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        seed = np.random.SeedSequence([recipe.seed, self.progress.step, self.rank])
        torch.manual_seed(int(seed.generate_state(1)[0]))  # of dropout and drop path
        with torch.autocast(self.device.type, PRECISIONS[recipe.precision], enabled=recipe.precision != "fp32"):
            output = self.network(
                batch.frames,
                TokenBatch(batch.ids, batch.words),
                padding=batch.padding,
                sizes=batch.sizes,
                valid_indices=batch.valid_indices,
            )
        boxes = torch.tensor(float(batch.targets.count), device=self.device)  # frames that show their object
        if self.world > 1:
            torch.distributed.all_reduce(boxes)
        num_boxes = boxes.item() / self.world
        losses = clip_losses(output, batch.targets, recipe.coefficients, num_boxes, full_masks=recipe.small.full_masks)
        if not losses.total.isfinite():
            raise InputError(
                f"the loss is {losses.total.item()} in step {self.progress.step}; train again with another --out "
                "and lower rates or another precision"
            )
        self.optimizer.zero_grad()
        self.scaler.scale(losses.total).backward()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        values = {"loss": losses.total.detach(), "gradient_norm": norm, **losses.by_name()}
        for name, value in values.items():
            self.recent[name].append(value.item())
        self.recent["sentences"].append(float(len(batch.ids) * self.world))
        return losses

    def write_result(self, start: str) -> None:
        """Write the checkpoint folder, in the form of `rvos convert`."""
        with private_folder() as folder:
            path = Path(folder) / RESULT
            state = self.model.state_dict()
            if self.recipe.small.half_weights:
                state = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
            save_checkpoint(path, self.model.config, state, start, self.recipe.short_side)
            # The weights come last: they mark the folder as complete.
            for file in sorted(path.iterdir(), key=lambda file: file.name == WEIGHTS):
                put_file(file, storage.join(self._uri(RESULT), file.name))

    def _record(self, *, last: bool) -> None:
        """Write a log entry and save the state if the recipe asks for it after this step."""
        save = self.progress.step % self.recipe.checkpoint_steps == 0 and not last  # an epoch ends with one anyway
        if save or last or self.progress.step % self.recipe.log_steps == 0:
            self._log_step()
        if save and self.rank == 0:
            save_state(self._uri(STATE), self.model, self.optimizer, self.scaler, self.progress)

    def _log_step(self) -> None:
        """Write a log entry: means over all processes and the steps since the last entry."""
        sentences, seconds = self.recent.pop("sentences"), time.perf_counter() - self.since
        values = {name: sum(values) / len(values) for name, values in self.recent.items()}
        values["skipped"] = float(sum(self.loader.skipped.values()))
        if self.world > 1:
            summed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
            torch.distributed.all_reduce(summed)
            values = dict(zip(values, (summed / self.world).tolist(), strict=True))
        if self.rank == 0:
            self.log.add(
                "step",
                step=self.progress.step,
                epoch=self.progress.epoch,
                rate=self.optimizer.param_groups[0]["lr"],
                **values | {"skipped": round(values["skipped"] * self.world)},
                sentences_per_second=sum(sentences) / seconds,
            )
        self.recent.clear()
        self.since = time.perf_counter()

    def _score_heldout(self) -> None:
        if self.heldout is None:
            return
        start = time.perf_counter()
        scores = heldout_scores(self.model, self.tokenizer, self.heldout, self.recipe, self.rank, self.world)
        if self.rank == 0:
            self.log.add("heldout", step=self.progress.step, epoch=self.progress.epoch, **scores)
        self.since += time.perf_counter() - start

    def _uri(self, name: str) -> str:
        return storage.join(self.folder, name)
