"""`rvos train`: train ReferFormer on manifests with annotations or pseudo-labels, on Ray Train."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from jobs.config.train import TrainConfig
from jobs.result import JobResult
from jobs.train_processes import choose_processes, train_on
from jobs.train_start import files_digest, refuse_long, write_start
from model.errors import CheckpointError
from model.referformer.checkpoint import WEIGHTS, weights_digest
from model.referformer.config import ReferFormerConfig
from pipeline.cluster.session import connect_to_ray
from pipeline.io import output_folder, parquet, storage
from pipeline.io.local_copy import local_folder
from pipeline.io.private_folder import private_folder
from pipeline.runs.run_json import is_run
from pipeline.training import loop
from pipeline.training.examples import EXAMPLES, TrainingSource, gather_examples
from pipeline.training.log import LOG, PLOT, read_log
from pipeline.training.recipe import Recipe, read_recipe
from schemas.errors import InputError
from schemas.json_fields import known_fields
from schemas.json_text import parse_object
from schemas.printable import counted
from schemas.shown import shown_json
from schemas.version import __version__

DOCUMENT = "train.json"
MAX_BYTES = 2**24  # of DOCUMENT
LOG_INTERVAL = 2.0  # seconds between two reads of the log
SHOWN = 6  # names of unused tensors in the output; train.json has all


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult(JobResult):
    """The checkpoint and the last losses and scores."""

    out: str
    examples: int
    left_out: dict[str, int]  # manifest rows, by reason
    fresh: dict[str, int]  # modules that started from random values -> number of their tensors
    frozen: dict[str, int]  # those of `fresh` that keep these values
    unused: dict[str, list[str]]  # option -> tensors in its file that the model has no place for
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
        lines += start_lines(self.fresh, self.frozen, self.unused)
        if self.heldout:
            lines.append(
                f"held out    J&F {self.heldout['J&F']:.4f} (J {self.heldout['J']:.4f}, F {self.heldout['F']:.4f}) "
                f"on {counted(self.heldout['pairs'], 'pair', '.0f')}"
            )
        return "\n".join([*lines, f"log         {storage.join(self.out, LOG)}, {PLOT}"])


def start_lines(fresh: Mapping[str, int], frozen: Mapping[str, int], unused: Mapping[str, list[str]]) -> list[str]:
    """Return what to tell about the start: what is random, or stays so, and what of given files was not used."""
    lines = []
    for label, found in (("fresh       ", fresh), ("frozen      at random values: ", frozen)):
        modules = ", ".join(f"{module} ({counted(count, 'tensor')})" for module, count in found.items())
        lines += [f"{label}{modules}"] if modules else []
    for option, found in unused.items():
        if names := sorted(found, key=lambda name: name.count(".")):  # heads before what is deep inside
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"not used    of {option}: {', '.join(names[:SHOWN])}{more}")
    return lines


def run(config: TrainConfig, show: Callable[[str], None] = lambda _: None) -> TrainResult:
    """Train, or resume the training in `config.out`. Passes each new log entry to `show` as text.

    Raises InputError before training starts if an input is invalid or `out` contains another training, and
    InfrastructureError if the cluster fails.
    """
    recipe = _recipe(config)
    out = storage.absolute(config.out)
    document = prepare(config, recipe, out)
    fresh, frozen, unused = document["fresh"], document["frozen"], document["unused"]
    if not storage.exists(storage.join(out, loop.RESULT, WEIGHTS)):
        show("".join(f"{line}\n" for line in start_lines(fresh, frozen, unused)))
        with connect_to_ray(config.address) as resources, _following(out, show):
            train_on(choose_processes(config, resources), config, recipe, out, show)
    lines = read_log(out)
    steps = [line for line in lines if line["kind"] == "step"]
    scores = [line for line in lines if line["kind"] == "heldout"]
    if not steps:
        raise InputError(f"{out} has a result and no step in its {LOG}; restore it, or use another --out")
    return TrainResult(
        out=out,
        examples=document["examples"],
        left_out=document["left_out"],
        fresh=fresh,
        frozen=frozen,
        unused=unused,
        steps=steps[-1]["step"],
        loss=steps[-1]["loss"],
        heldout={name: scores[-1][name] for name in ("J&F", "J", "F", "pairs")} if scores else None,
    )


def _recipe(config: TrainConfig) -> Recipe:
    """Return the recipe, with the model of --backbone."""
    recipe = read_recipe(config.config)
    if config.backbone is None:
        return recipe
    model = ReferFormerConfig.published(config.backbone)
    if recipe.model not in (None, model):
        raise InputError(f"--backbone {config.backbone} differs from the recipe's [model]; omit one of them")
    return replace(recipe, model=model)


def prepare(config: TrainConfig, recipe: Recipe, out: str) -> dict:
    """Write the inputs of the workers, train.json last. If `out` has them, check that they are of this training."""
    try:
        inputs = _fingerprint_inputs(config, recipe)
        uri = storage.join(out, DOCUMENT)
        if output_folder.has_marker(out, DOCUMENT, leftovers=(loop.EXAMPLES, loop.HELDOUT, loop.START)):
            document = _read_document(uri)
            _refuse_other(document["decides"], inputs, out)
            return document
        sources, heldout_source = _sources(config)
        if config.min_score and not any(is_run(source.annotations) for source in sources):
            raise InputError("--min-score chooses among pseudo-labels, and none of --annotations is a run; omit it")
        heldout = gather_examples([heldout_source])[0] if heldout_source else EXAMPLES.empty_table()
        held_out = set(zip(heldout["video_uri"].to_pylist(), heldout["expression"].to_pylist(), strict=True))
        examples, left_out = gather_examples(sources, held_out)
        learned = examples["expression"].to_pylist()
        parquet.write_table(storage.join(out, loop.EXAMPLES), examples)
        if heldout_source:
            parquet.write_table(storage.join(out, loop.HELDOUT), heldout)
        with private_folder() as folder:
            start = Path(folder) / loop.START
            report = write_start(config, recipe, learned, start)
            refuse_long({*learned, *heldout["expression"].to_pylist()}, start)
            for file in start.iterdir():
                storage.write_bytes(storage.join(out, loop.START, file.name), file.read_bytes())
    except CheckpointError as error:
        raise InputError(str(error)) from None
    document = {"version": __version__, "decides": inputs, "examples": len(examples), "left_out": dict(left_out)}
    document |= report.to_json()
    storage.write_bytes(uri, f"{shown_json(document)}\n".encode())
    return document


@dataclass(frozen=True, kw_only=True, slots=True)
class _Document:
    """The fields of train.json that are used again. Trainings that began before the last three have none of these."""

    decides: dict
    examples: int
    left_out: dict[str, int]
    fresh: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)
    unused: dict[str, list[str]] = field(default_factory=dict)


def _read_document(uri: str) -> dict:
    """Read train.json. Raises InputError if it is damaged, or another program's."""
    try:
        return asdict(_Document(**known_fields(_Document, parse_object(storage.read_bytes(uri, limit=MAX_BYTES)))))
    except (TypeError, ValueError) as error:
        raise InputError(f"{uri} is damaged ({error}); restore it, or use another --out") from None


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
        with local_folder(config.init) as folder:
            digest = weights_digest(folder)
    sources, heldout = _sources(config)
    inputs = {
        "sources": [asdict(source) for source in sources],
        "weight": config.weight,
        "heldout": heldout and asdict(heldout),
        "init": digest,
        "backbone_weights": config.backbone_weights and files_digest(config.backbone_weights),
        "text_weights": config.text_weights and files_digest(config.text_weights),
        "tokenizer": config.tokenizer and storage.absolute(config.tokenizer),
        "recipe": recipe.fingerprint_inputs(),
    }
    return json.loads(json.dumps(inputs))


def _refuse_other(earlier: dict, inputs: dict, out: str) -> None:
    differing = [name for name in inputs if earlier.get(name) != inputs[name]]
    if "recipe" in differing:
        before = earlier.get("recipe")
        known = before if isinstance(before, dict) else {}
        names = [name for name, value in inputs["recipe"].items() if known.get(name) != value]
        differing[differing.index("recipe")] = f"recipe ({', '.join(names)})"
    if differing:
        raise InputError(
            f"{out} holds a training with other {', '.join(differing)}; use the same options, or another --out"
        )


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
                shown = min(shown, len(lines))  # a training that starts again drops what comes once more
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
        pairs = counted(line["pairs"], "pair")
        return f"epoch {line['epoch']}  step {line['step']}  held-out J&F {line['J&F']:.4f} on {pairs}"
    return (
        f"epoch {line['epoch']}  step {line['step']}  loss {line['loss']:.3f}  rate {line['rate']:.2g}  "
        f"{line['sentences_per_second']:.1f} sentences/s"
    )
