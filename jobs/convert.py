"""`rvos convert`: convert a published `.pth` checkpoint to a checkpoint folder, without running code from it."""

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from jobs.config.convert import ConvertConfig
from jobs.result import JobResult
from model.errors import CheckpointError
from model.referformer.backbone_of import backbone_of
from model.referformer.checkpoint import WEIGHTS, fit_published, save_checkpoint, weights_digest
from model.referformer.config import PUBLISHED, ReferFormerConfig
from model.referformer.pth import read_pth
from model.referformer.tokenizer import load_tokenizer
from pipeline.io import output_folder, storage
from pipeline.io.local_copy import local_file, local_folder
from pipeline.io.private_folder import private_folder
from pipeline.training.state import put_file
from schemas.errors import InputError

BODY = "backbone.0.body."  # before the names of a backbone's tensors in a published checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertResult(JobResult):
    """The checkpoint that was written."""

    out: str
    backbone: str
    tensors: int
    numbers: int  # in all tensors together
    megabytes: float  # of model.safetensors
    tolerated: dict[str, list[str]]  # reason -> names of tensors in the file that were left out
    digest: str

    def text(self) -> str:
        lines = [
            f"wrote    {self.out} ({self.megabytes:.0f} MB)",
            f"model    {self.backbone}: {self.tensors} tensors, {self.numbers / 1e6:.1f} million numbers, none missing",
        ]
        for reason, names in self.tolerated.items():
            lines.append(f"left out {len(names)} {reason}: {names[0]}{' ...' if len(names) > 1 else ''}")
        return "\n".join([*lines, f"digest   {self.digest}"])


def run(config: ConvertConfig) -> ConvertResult:
    """Convert. Writes nothing unless every tensor fits.

    Raises InputError if checkpoint or tokenizer are invalid or `out` exists, OSError if writing fails.
    """
    out = storage.absolute(config.out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(output_folder.new(out))
        try:
            if not storage.is_remote(config.checkpoint) and not storage.exists(config.checkpoint):
                raise FileNotFoundError(errno.ENOENT, "", config.checkpoint)  # before a remote tokenizer is asked for
            source = stack.enter_context(_local_file(config.checkpoint))
            tokenizer = stack.enter_context(local_folder(config.tokenizer))
        except FileNotFoundError as error:
            raise InputError(f"{error.filename}: no such file or folder; correct the path") from None
        try:
            vocabulary = ReferFormerConfig.published(config.backbone or next(iter(PUBLISHED))).text.vocab_size
            load_tokenizer(tokenizer, vocabulary)  # fails early, since loading takes long
            tensors = read_pth(source)
            backbone = _backbone(config, tensors)
            model = ReferFormerConfig.published(backbone)
            published = fit_published(tensors, model, source)
            folder = Path(out)
            if storage.is_remote(out):
                folder = Path(stack.enter_context(private_folder())) / "checkpoint"
            save_checkpoint(folder, model, published.state, tokenizer)
        except CheckpointError as error:
            raise InputError(
                str(error).replace(source, config.checkpoint).replace(tokenizer, config.tokenizer)
            ) from None
        if storage.is_remote(out):  # the weights come last: they mark the folder as complete
            for file in sorted(folder.iterdir(), key=lambda file: file.name == WEIGHTS):
                put_file(file, storage.join(out, file.name))
        return ConvertResult(
            out=config.out,
            backbone=backbone,
            tensors=len(published.state),
            numbers=sum(tensor.numel() for tensor in published.state.values()),
            megabytes=(folder / WEIGHTS).stat().st_size / 1e6,
            tolerated=published.tolerated,
            digest=weights_digest(folder),
        )


def _local_file(uri: str) -> contextlib.AbstractContextManager[str]:
    """Yield a local path of a file; of one on this machine its own, so that its reader says what is wrong with it."""
    return local_file(uri) if storage.is_remote(uri) else contextlib.nullcontext(uri)


def _backbone(config: ConvertConfig, tensors: Mapping[str, Tensor]) -> str:
    """Return the backbone of the file. Raises InputError if --backbone names another, or if it is not known."""
    found = backbone_of({name.removeprefix(BODY): x for name, x in tensors.items() if name.startswith(BODY)})
    if found is None and config.backbone is None:
        raise InputError(f"{config.checkpoint} has none of the published backbones: {', '.join(PUBLISHED)}")
    if found and config.backbone not in (None, found):
        raise InputError(f"--backbone {config.backbone}: {config.checkpoint} holds {found}; leave --backbone out")
    return config.backbone or found or ""
