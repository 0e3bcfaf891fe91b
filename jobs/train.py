"""`rvos train`: train ReferFormer on manifests with annotations or pseudo-labels, on Ray Train."""

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray.train
import ray.train.torch
import torch

from jobs.config.train import TrainConfig
from jobs.result import JobResult
from model.errors import CheckpointError
from model.referformer.checkpoint import WEIGHTS, load_model, save_checkpoint, weights_digest
from model.referformer.config import ReferFormerConfig
from model.referformer.network.referformer import ReferFormer, class_heads
from model.referformer.tokenizer import load_tokenizer, write_tokenizer
from pipeline.cluster.errors import describe_cause, find_own_error
from pipeline.cluster.session import connect_to_ray
from pipeline.io import output_folder, storage
from pipeline.training import loop
from pipeline.training.examples import TrainingSource, gather_examples
from pipeline.training.log import LOG, PLOT, read_log
from pipeline.training.recipe import Recipe, read_recipe
from schemas.errors import InfrastructureError, InputError
from schemas.json_text import parse_object
from schemas.shown import shown_json
from schemas.version import __version__

DOCUMENT = "train.json"
LOG_INTERVAL = 2.0  # seconds between two reads of the log


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult(JobResult):
    """The checkpoint and the last losses and scores."""

    out: str
    examples: int
    left_out: dict[str, int]  # manifest rows, by reason
    steps: int
    loss: float  # mean of the last log entry
    heldout: dict[str, float] | None  # last scores

    @property
    def checkpoint(self) -> str:
        return storage.join(self.out, loop.RESULT)

    def to_json(self) -> dict:
        return asdict(self) | {"checkpoint": self.checkpoint}

    def text(self) -> str:
        lines = [f"checkpoint  {self.checkpoint}", f"steps       {self.steps}, loss {self.loss:.3f} at the end"]
        left = "".join(f"; {count} {reason}" for reason, count in self.left_out.items())
        lines.append(f"examples    {self.examples}{left}")
        if self.heldout:
            lines.append(
                f"held out    J&F {self.heldout['J&F']:.4f} (J {self.heldout['J']:.4f}, F {self.heldout['F']:.4f}) "
                f"on {self.heldout['pairs']:.0f} pairs"
            )
        return "\n".join([*lines, f"log         {storage.join(self.out, LOG)}, {PLOT}"])


def run(config: TrainConfig, show: Callable[[str], None] = lambda _: None) -> TrainResult:
    """Train, or resume the training in `config.out`. Passes each new log entry to `show` as text.

    Raises InputError before training starts if an input is invalid or `out` contains another training, and
    InfrastructureError if the cluster fails.
    """
    recipe = read_recipe(config.config)
    out = storage.absolute(config.out)
    document = prepare(config, recipe, out)
    if not storage.exists(storage.join(out, loop.RESULT, WEIGHTS)):
        with connect_to_ray(config.address) as resources, _following(out, show):
            _fit(config, recipe, out, resources)
    lines = read_log(out)
    steps = [line for line in lines if line["kind"] == "step"]
    scores = [line for line in lines if line["kind"] == "heldout"]
    return TrainResult(
        out=out,
        examples=document["examples"],
        left_out=document["left_out"],
        steps=steps[-1]["step"],
        loss=steps[-1]["loss"],
        heldout={name: scores[-1][name] for name in ("J&F", "J", "F", "pairs")} if scores else None,
    )


def prepare(config: TrainConfig, recipe: Recipe, out: str) -> dict:
    """Write the inputs of the workers, train.json last. If `out` has them, check that they are of this training."""
    try:
        inputs = _fingerprint_inputs(config, recipe)
        uri = storage.join(out, DOCUMENT)
        if output_folder.has_marker(out, DOCUMENT, leftovers=(loop.EXAMPLES, loop.HELDOUT, loop.START)):
            document = parse_object(storage.read_bytes(uri))
            _refuse_other(document["decides"], inputs, out)
            return document
        sources, heldout_source = _sources(config)
        examples, left_out = gather_examples(sources)
        learned = examples["expression"].to_pylist()
        sentences = set(learned)
        storage.write_table(storage.join(out, loop.EXAMPLES), examples)
        if heldout_source:
            heldout, _ = gather_examples([heldout_source])
            sentences |= set(heldout["expression"].to_pylist())
            storage.write_table(storage.join(out, loop.HELDOUT), heldout)
        with tempfile.TemporaryDirectory() as folder:
            start = Path(folder) / loop.START
            _write_start(config, recipe, learned, start)
            _refuse_long(sentences, start)
            for file in start.iterdir():
                storage.write_bytes(storage.join(out, loop.START, file.name), file.read_bytes())
    except CheckpointError as error:
        raise InputError(str(error)) from None
    document = {"version": __version__, "decides": inputs, "examples": len(examples), "left_out": dict(left_out)}
    storage.write_bytes(uri, f"{shown_json(document)}\n".encode())
    return document


def _sources(config: TrainConfig) -> tuple[list[TrainingSource], TrainingSource | None]:
    """Return the sources to train on, and the held-out one."""
    train = [
        TrainingSource(
            manifest=storage.absolute(m),
            annotations=storage.absolute(a),
            min_score=config.min_score,
            allow_local=config.allow_local,
        )
        for m, a in zip(config.data, config.annotations, strict=True)
    ]
    if config.heldout is None or config.heldout_annotations is None:
        return train, None
    manifest, annotations = storage.absolute(config.heldout), storage.absolute(config.heldout_annotations)
    return train, TrainingSource(manifest=manifest, annotations=annotations)


def _fingerprint_inputs(config: TrainConfig, recipe: Recipe) -> dict:
    """Return everything that affects the result, in the form that JSON gives back."""
    digest = None
    if config.init is not None:
        with storage.local_folder(config.init) as folder:
            digest = weights_digest(folder)
    sources, heldout = _sources(config)
    inputs = {
        "sources": [asdict(source) for source in sources],
        "weight": config.weight,
        "heldout": heldout and asdict(heldout),
        "init": digest,
        "tokenizer": config.tokenizer and storage.absolute(config.tokenizer),
        "recipe": recipe.fingerprint_inputs(),
    }
    return json.loads(json.dumps(inputs))


def _refuse_other(earlier: dict, inputs: dict, out: str) -> None:
    differing = [name for name in inputs if earlier.get(name) != inputs[name]]
    if "recipe" in differing:
        names = [name for name, value in inputs["recipe"].items() if earlier.get("recipe", {}).get(name) != value]
        differing[differing.index("recipe")] = f"recipe ({', '.join(names)})"
    if differing:
        raise InputError(
            f"{out} holds a training with other {', '.join(differing)}; use the same options, or another --out"
        )


def _write_start(config: TrainConfig, recipe: Recipe, sentences: list[str], folder: Path) -> None:
    """Write the checkpoint to start from: --init, or fresh weights of the recipe's model."""
    if config.init is None:
        if recipe.model is None:
            raise InputError("got neither --init nor a [model] in the recipe; give a checkpoint to start from")
        write_fresh(recipe.model, recipe.seed, config.tokenizer, sentences, folder)
        return
    if config.tokenizer is not None:
        raise InputError("--tokenizer needs fresh weights, but the checkpoint of --init has its own; omit one of them")
    with storage.local_folder(config.init) as init:
        model = load_model(init)
        if recipe.model is not None and recipe.model != model.config:
            raise InputError(f"the recipe's [model] differs from the model of {config.init}; omit one of them")
        if recipe.fresh_class_heads:
            torch.manual_seed(recipe.seed)
            model.class_embed = class_heads(model.config)
        save_checkpoint(folder, model.config, model.state_dict(), init)


def write_fresh(
    model: ReferFormerConfig, seed: int, tokenizer: str | None, sentences: Sequence[str], folder: str | Path
) -> None:
    """Write a checkpoint folder with fresh weights of `model`.

    tokenizer: a folder with its files; None: build one from `sentences`. Raises CheckpointError if it does not fit.
    """
    with torch.random.fork_rng(devices=[]), contextlib.ExitStack() as stack:
        torch.manual_seed(seed)
        if tokenizer is not None:
            files = stack.enter_context(storage.local_folder(tokenizer))
        else:
            files = stack.enter_context(tempfile.TemporaryDirectory())
            write_tokenizer(files, sentences, model.text.vocab_size)
        load_tokenizer(files, model.text.vocab_size)  # fail before the weights are drawn, which takes longer
        save_checkpoint(folder, model, ReferFormer(model).state_dict(), files)


def _refuse_long(sentences: set[str], start: Path) -> None:
    """Raise InputError if expressions are too long for the text encoder."""
    text = ReferFormerConfig.from_dict(json.loads((start / "config.json").read_text())).text
    tokenizer = load_tokenizer(start, text.vocab_size)
    long = sorted(sentence for sentence in sentences if tokenizer.count(sentence) > text.max_tokens)
    if long:
        raise InputError(
            f"{len(long)} expressions have more than {text.max_tokens} tokens; shorten them. First: {long[0][:80]!r}"
        )


def _fit(config: TrainConfig, recipe: Recipe, out: str, resources: Mapping[str, float]) -> None:
    gpus, cpus = int(resources.get("GPU", 0)), max(1, int(resources.get("CPU", 1)))
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus > 0)
    if use_gpu and not gpus:
        raise InputError("--device cuda needs a GPU, but the cluster has none; use --device cpu or auto")
    workers = config.workers or (gpus if use_gpu else 1)
    if config.address == "local" and workers > (gpus if use_gpu else cpus):
        have = f"{gpus} GPUs" if use_gpu else f"{cpus} CPUs"
        raise InputError(f"--workers {workers} exceeds the {have} of this machine; use fewer")
    training = loop.Training(
        folder=out,
        recipe=recipe,
        weights=config.weight or None,
        threads=None if use_gpu else max(1, cpus // workers),
    )
    scratch = tempfile.mkdtemp(prefix="rvos-train-")  # Ray Train needs it; the results are in `out`
    try:
        ray.train.torch.TorchTrainer(
            _work,
            train_loop_config={"training": training, "use_gpu": use_gpu},
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=use_gpu),
            run_config=ray.train.RunConfig(name="train", storage_path=scratch),
        ).fit()
    except Exception as error:
        raise find_own_error(error) or InfrastructureError(
            f"training stopped: {describe_cause(error)}\nRepeat the command to resume from the last saved state."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _work(options: dict) -> None:
    """Train in one process of Ray Train."""
    context = ray.train.get_context()
    device = str(ray.train.torch.get_device()) if options["use_gpu"] else "cpu"
    loop.train(options["training"], context.get_world_rank(), context.get_world_size(), device)


@contextlib.contextmanager
def _following(out: str, show: Callable[[str], None]) -> Iterator[None]:
    """Pass each new log entry to `show` while the block runs."""
    done, shown = threading.Event(), len(read_log(out))

    def follow() -> None:
        nonlocal shown
        while True:
            last = done.wait(LOG_INTERVAL)
            with contextlib.suppress(OSError):
                lines = read_log(out)
                for line in lines[shown:]:
                    show(_line_text(line) + "\n")
                shown = len(lines)
            if last:
                return

    thread = threading.Thread(target=follow, name="follow-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _line_text(line: dict) -> str:
    if line["kind"] == "heldout":
        return f"epoch {line['epoch']}  step {line['step']}  held-out J&F {line['J&F']:.4f} on {line['pairs']} pairs"
    return (
        f"epoch {line['epoch']}  step {line['step']}  loss {line['loss']:.3f}  rate {line['rate']:.2g}  "
        f"{line['sentences_per_second']:.1f} sentences/s"
    )
