"""`rvos convert`: convert a published `.pth` checkpoint to a checkpoint folder, without running code from it."""

from dataclasses import dataclass
from pathlib import Path

from jobs.config.convert import ConvertConfig
from jobs.result import JobResult
from model.errors import CheckpointError
from model.referformer.checkpoint import (
    load_published,
    require_new_folder,
    save_checkpoint,
    weights_digest,
)
from model.referformer.config import ReferFormerConfig
from model.referformer.tokenizer import load_tokenizer
from schemas.errors import InputError


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
    model_config = ReferFormerConfig.published(config.backbone)
    out = Path(config.out)
    try:
        require_new_folder(out)
        load_tokenizer(config.tokenizer, model_config.text.vocab_size)  # fails early, since loading takes long
        published = load_published(config.checkpoint, model_config)
        save_checkpoint(out, model_config, published.state, config.tokenizer)
    except CheckpointError as error:
        raise InputError(str(error)) from None
    return ConvertResult(
        out=config.out,
        backbone=config.backbone,
        tensors=len(published.state),
        numbers=sum(tensor.numel() for tensor in published.state.values()),
        megabytes=(out / "model.safetensors").stat().st_size / 1e6,
        tolerated=published.tolerated,
        digest=weights_digest(out),
    )
