"""`rvos train`: train ReferFormer on manifests with annotations or pseudo-labels, on Ray Train."""

import contextlib
import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray.train
import ray.train.torch
import torch

from jobs.config.train import TrainConfig
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
from schemas.version import __version__

DOCUMENT = "train.json"
LOOK_EVERY = 2.0  # seconds, at the log


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What came out."""

    out: str
    examples: int
    left_out: dict[str, int]  # manifest rows, by reason
    steps: int
    loss: float  # mean over the last line of the log
    heldout: dict[str, float] | None  # of the last epoch

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
    """Train, or go on with the training in `config.out`; `show` is told each new line of the log.

    Raises InputError for whatever is wrong with inputs, before anything is computed, or if `out` holds another
    training; InfrastructureError if the cluster fails.
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
    """Write everything that the workers start from; train.json comes last. Or check that it is this training's."""
    try:
        decides = _decides(config, recipe)
        uri = storage.join(out, DOCUMENT)
        if output_folder.has_marker(out, DOCUMENT, leftovers=(loop.EXAMPLES, loop.HELDOUT, loop.START)):
            document = json.loads(storage.read_bytes(uri))
            _refuse_other(document["decides"], decides, out)
            return document
        examples, left_out = gather_examples(training_sources(config))
        learned = examples["expression"].to_pylist()
        sentences = set(learned)
        storage.write_table(storage.join(out, loop.EXAMPLES), examples)
        if held_out := heldout_source(config):
            heldout, _ = gather_examples([held_out])
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
    document = {"version": __version__, "decides": decides, "examples": len(examples), "left_out": dict(left_out)}
    storage.write_bytes(uri, (json.dumps(document, indent=2) + "\n").encode())
    return document


def training_sources(config: TrainConfig) -> list[TrainingSource]:
    """What to learn from."""
    pairs = zip(config.data, config.annotations, strict=True)
    return [
        TrainingSource(manifest=storage.absolute(m), annotations=storage.absolute(a), min_score=config.min_score)
        for m, a in pairs
    ]


def heldout_source(config: TrainConfig) -> TrainingSource | None:
    """What to score."""
    if config.heldout is None or config.heldout_annotations is None:
        return None
    return TrainingSource(
        manifest=storage.absolute(config.heldout), annotations=storage.absolute(config.heldout_annotations)
    )


def _decides(config: TrainConfig, recipe: Recipe) -> dict:
    """Everything that decides the result, as JSON has it."""
    digest = None
    if config.init is not None:
        with storage.local_folder(config.init) as folder:
            digest = weights_digest(folder)
    heldout = heldout_source(config)
    decides = {
        "sources": [asdict(source) for source in training_sources(config)],
        "weight": config.weight,
        "heldout": heldout and asdict(heldout),
        "init": digest,
        "tokenizer": config.tokenizer and storage.absolute(config.tokenizer),
        "recipe": recipe.fingerprint_inputs(),
    }
    return json.loads(json.dumps(decides))


def _refuse_other(there: dict, here: dict, out: str) -> None:
    differing = [name for name in here if there.get(name) != here[name]]
    if "recipe" in differing:
        names = [name for name, value in here["recipe"].items() if there.get("recipe", {}).get(name) != value]
        differing[differing.index("recipe")] = f"recipe ({', '.join(names)})"
    if differing:
        raise InputError(
            f"{out} holds a training with other {', '.join(differing)}; repeat its command, or name another folder"
        )


def _write_start(config: TrainConfig, recipe: Recipe, sentences: list[str], folder: Path) -> None:
    """The checkpoint to start from: that of --init, or fresh weights of the recipe's model."""
    if config.init is None:
        if recipe.model is None:
            raise InputError("there is neither --init nor a [model] in the recipe; give a checkpoint to start from")
        write_fresh(recipe.model, recipe.seed, config.tokenizer, sentences, folder)
        return
    if config.tokenizer is not None:
        raise InputError("--tokenizer goes with fresh weights; a checkpoint of --init has its own")
    with storage.local_folder(config.init) as init:
        model = load_model(init)
        if recipe.model is not None and recipe.model != model.config:
            raise InputError(f"the recipe's [model] is not the model of {config.init}; leave one of them out")
        if recipe.fresh_class_heads:
            torch.manual_seed(recipe.seed)
            model.class_embed = class_heads(model.config)
        save_checkpoint(folder, model.config, model.state_dict(), init)


def write_fresh(
    model: ReferFormerConfig, seed: int, tokenizer: str | None, sentences: Sequence[str], folder: str | Path
) -> None:
    """A checkpoint folder with the weights that `model` starts its training from.

    tokenizer: a folder with its files; None: one is learned from `sentences`. CheckpointError if it does not fit.
    """
    with torch.random.fork_rng(devices=[]), contextlib.ExitStack() as stack:
        torch.manual_seed(seed)
        if tokenizer is not None:
            files = stack.enter_context(storage.local_folder(tokenizer))
        else:
            files = stack.enter_context(tempfile.TemporaryDirectory())
            write_tokenizer(files, sentences, model.text.vocab_size)
        load_tokenizer(files, model.text.vocab_size)  # before the long part
        save_checkpoint(folder, model, ReferFormer(model).state_dict(), files)


def _refuse_long(sentences: set[str], start: Path) -> None:
    """Expressions beyond what the text encoder takes."""
    text = ReferFormerConfig.from_dict(json.loads((start / "config.json").read_text())).text
    tokenizer = load_tokenizer(start, text.vocab_size)
    long = sorted(sentence for sentence in sentences if tokenizer.count(sentence) > text.max_tokens)
    if long:
        raise InputError(
            f"{len(long)} expressions have more than {text.max_tokens} tokens; shorten them, first: {long[0][:80]!r}"
        )


def _fit(config: TrainConfig, recipe: Recipe, out: str, resources: Mapping[str, float]) -> None:
    gpus, cpus = int(resources.get("GPU", 0)), max(1, int(resources.get("CPU", 1)))
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus > 0)
    if use_gpu and not gpus:
        raise InputError("--device cuda, but the cluster has no GPU; use --device cpu or auto")
    workers = config.workers or (gpus if use_gpu else 1)
    if config.address == "local" and workers > (gpus if use_gpu else cpus):
        raise InputError(f"--workers {workers} are more than this machine's {gpus if use_gpu else cpus}")
    training = loop.Training(
        folder=out,
        recipe=recipe,
        weights=config.weight or None,
        threads=None if use_gpu else max(1, cpus // workers),
    )
    scratch = tempfile.mkdtemp(prefix="rvos-train-")  # of Ray Train; what counts is in `out`
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
    """What each process of Ray Train does."""
    context = ray.train.get_context()
    device = str(ray.train.torch.get_device()) if options["use_gpu"] else "cpu"
    loop.train(options["training"], context.get_world_rank(), context.get_world_size(), device)


@contextlib.contextmanager
def _following(out: str, show: Callable[[str], None]) -> Iterator[None]:
    """Tell `show` each new line of the log while the block runs."""
    done, shown = threading.Event(), Counter[str]()
    shown["lines"] = len(read_log(out))

    def follow() -> None:
        while True:
            last = done.wait(LOOK_EVERY)
            with contextlib.suppress(OSError):
                lines = read_log(out)
                for line in lines[shown["lines"] :]:
                    show(_in_words(line) + "\n")
                shown["lines"] = len(lines)
            if last:
                return

    thread = threading.Thread(target=follow, name="follow-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _in_words(line: dict) -> str:
    if line["kind"] == "heldout":
        return f"epoch {line['epoch']}  step {line['step']}  held-out J&F {line['J&F']:.4f} on {line['pairs']} pairs"
    return (
        f"epoch {line['epoch']}  step {line['step']}  loss {line['loss']:.3f}  rate {line['rate']:.2g}  "
        f"{line['sentences_per_second']:.1f} sentences/s"
    )
