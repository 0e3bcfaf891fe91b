"""The checkpoint that a training starts from: --init, or a fresh model, perhaps with pretrained parts."""

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from jobs.config.train import TrainConfig
from model.referformer.checkpoint import load_model, save_checkpoint
from model.referformer.config import ReferFormerConfig
from model.referformer.network.referformer import ReferFormer, class_heads, with_quality_head
from model.referformer.pretrained.parts import by_module, load_backbone, load_text, tensor_names
from model.referformer.pretrained.source import weight_files
from model.referformer.tokenizer import load_tokenizer, write_tokenizer
from model.referformer.training.optimizer import freeze
from pipeline.io import storage
from pipeline.io.local_copy import local_file, local_folder
from pipeline.io.private_folder import private_folder
from pipeline.io.stand_in import HEAD_BYTES, stand_in
from pipeline.training.recipe import Recipe
from schemas.errors import InputError

TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt")
HUB_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w-]*")  # such as FacebookAI/roberta-base, microsoft/resnet-50


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The tensors of the first checkpoint: which are fresh, and which of the given files were not used."""

    fresh: dict[str, int]  # module -> number of its tensors; all others come from files
    frozen: dict[str, int]  # those of `fresh` that the recipe does not train
    unused: dict[str, list[str]]  # option -> names of tensors in its file that the model has no place for

    @classmethod
    def of(cls, model: ReferFormer, fresh: Collection[str], unused: dict[str, list[str]], recipe: Recipe) -> "Start":
        """Freeze the parts of `model` that `recipe` does not train, and report on the names of its fresh tensors."""
        freeze(model, recipe.rates, text_encoder=recipe.freeze_text_encoder)
        frozen = [name for name, x in model.named_parameters() if name in fresh and not x.requires_grad]
        return cls(fresh=by_module(fresh, model), frozen=by_module(frozen, model), unused=unused)

    def to_json(self) -> dict:
        return asdict(self)


def write_start(config: TrainConfig, recipe: Recipe, sentences: list[str], folder: Path) -> Start:
    """Write the checkpoint to start from: --init, or fresh weights of the recipe's model with pretrained parts.

    Raises InputError for options that do not fit, CheckpointError for files that do not.
    """
    if config.init is None:
        if recipe.model is None:
            raise InputError(
                "got neither --init nor a [model] in the recipe; give a checkpoint to start from, or --backbone NAME"
            )
        with contextlib.ExitStack() as stack:
            options = (config.backbone_weights, config.text_weights)
            backbone, text = (uri and stack.enter_context(_local(uri)) for uri in options)
            tokenizer = config.tokenizer and stack.enter_context(local_folder(config.tokenizer))
            made = write_fresh(
                recipe.model, recipe.seed, tokenizer or text, sentences, folder, backbone=backbone, text=text
            )
            return Start.of(*made, recipe)
    with local_folder(config.init) as init:
        model = load_model(init)
        if recipe.model is not None and recipe.model != model.config:
            raise InputError(f"the recipe's [model] differs from the model of {config.init}; omit one of them")
        fresh = []
        if recipe.fresh_class_heads:
            torch.manual_seed(recipe.seed)
            model.class_embed = class_heads(model.config)
            fresh = [name for name in model.state_dict() if name.startswith("class_embed.")]
        if recipe.quality is not None and model.config.quality is None:
            torch.manual_seed(recipe.seed)
            model = with_quality_head(model, recipe.quality)
            fresh += [name for name in model.state_dict() if name.startswith("quality_head.")]
        save_checkpoint(folder, model.config, model.state_dict(), init)
        return Start.of(model, fresh, {}, recipe)


def write_fresh(
    model: ReferFormerConfig,
    seed: int,
    tokenizer: str | None,
    sentences: Sequence[str],
    folder: str | Path,
    *,
    backbone: str | None = None,
    text: str | None = None,
) -> tuple[ReferFormer, set[str], dict[str, list[str]]]:
    """Write a checkpoint folder with fresh weights of `model`, except for the parts whose weights are given.

    tokenizer: a folder with its files; None: build one from `sentences`. backbone, text: as `load_backbone` and
    `load_text` take them. Returns the model, the names of its fresh tensors, and those in given files that were not
    used, by option. Raises CheckpointError if anything does not fit.
    """
    with torch.random.fork_rng(devices=[]), contextlib.ExitStack() as stack:
        torch.manual_seed(seed)
        if tokenizer is None:
            tokenizer = stack.enter_context(private_folder())
            write_tokenizer(tokenizer, sentences, model.text.vocab_size)
        load_tokenizer(tokenizer, model.text.vocab_size)  # fail before the weights are drawn, which takes longer
        network, unused = ReferFormer(model), {}
        fresh = tensor_names(network)
        parts = {
            "--backbone-weights": (backbone, "backbone.", load_backbone),
            "--text-weights": (text, "text_encoder.", load_text),
        }
        for option, (path, prefix, load) in parts.items():
            if path is not None:
                left, unused[option] = load(network, path)
                fresh = {name for name in fresh if not name.startswith(prefix)} | {*left}
        save_checkpoint(folder, model, network.state_dict(), tokenizer)
        return network, fresh, unused


def files_digest(uri: str) -> str:
    """Return the sha256, in hex, of a file, or over those files of a folder that are read. Raises InputError."""
    total = hashlib.sha256()
    with _local(uri) as path:
        for file in _files_read(Path(path)):
            with file.open("rb") as opened:
                if found := stand_in(opened.read(HEAD_BYTES)):
                    raise InputError(f"{uri}: {file.name} is not the file itself, but {found}")
                opened.seek(0)
                total.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _files_read(path: Path) -> list[Path]:
    """Return a file itself; of a folder, the files that are there and decide what is read."""
    if not path.is_dir():
        return [path]
    files = [path / "config.json", *weight_files(path), *(path / name for name in TOKENIZER)]
    return [file for file in files if file.is_file()]


def refuse_long(sentences: Collection[str], start: Path) -> None:
    """Raise InputError if expressions are too long for the text encoder."""
    text = ReferFormerConfig.from_dict(json.loads((start / "config.json").read_text())).text
    tokenizer = load_tokenizer(start, text.vocab_size)
    long = sorted(sentence for sentence in sentences if tokenizer.count(sentence) > text.max_tokens)
    if long:
        raise InputError(
            f"{len(long)} expressions have more than {text.max_tokens} tokens; shorten them. First: {long[0][:80]!r}"
        )


@contextlib.contextmanager
def _local(uri: str) -> Iterator[str]:
    """Yield a local path of a file or folder. Raises InputError if there is none."""
    with contextlib.ExitStack() as stack:
        try:
            open_it = local_folder if storage.is_folder(uri) else local_file
            path = stack.enter_context(open_it(uri))
        except FileNotFoundError:
            hint = f"; if it is a name on the hub, 'hf download {uri} --local-dir DIR' makes a folder to give"
            raise InputError(
                f"{uri}: no such file or folder of weights{hint if HUB_NAME.fullmatch(uri) else ''}"
            ) from None
        yield path
