"""`rvos demo`: render, segment, score and draw two synthetic videos, through the same jobs as any real run."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from jobs import evaluate, segment
from model.checkpoint import save_checkpoint
from model.config import ReferFormerConfig, TextConfig, VideoSwinConfig
from model.referformer import ReferFormer
from model.tokenizer import write_byte_level_tokenizer
from pipeline import storage
from pipeline.datasets.moving_shapes import MovingShapes
from pipeline.overlay import contact_sheet, overlay
from pipeline.runs.run import Run
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InputError

MARK = "demo.txt"  # tells a folder of an earlier demo, which may be replaced, from anything else
DRAWN_FRAMES = 5
SHAPES = MovingShapes(videos=2, num_frames=16, height=128, width=192, seed=94)
SMALL = ReferFormerConfig(
    backbone=VideoSwinConfig(embed_dim=24, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window=(4, 4, 4)),
    text=TextConfig(vocab_size=261, hidden_size=64, layers=2, heads=4, intermediate_size=128),
    hidden_dim=64,
    heads=4,
    feedforward_dim=128,
    encoder_layers=2,
    decoder_layers=2,
    mask_dim=64,
    projection_groups=8,
    pixel_groups=8,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """Options of `rvos demo`."""

    out: str = "rvos-demo"  # a new folder, or that of an earlier demo


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """Results of the steps, and where everything is."""

    out: str
    picture: str
    segmented: segment.SegmentResult
    scored: evaluate.EvaluateResult

    @property
    def exit_code(self) -> int:
        return max(self.segmented.exit_code, self.scored.exit_code)

    def to_json(self) -> dict:
        steps = {"segment": self.segmented.to_json(), "evaluate": self.scored.to_json()}
        return {"out": self.out, "picture": self.picture, "trained": False} | steps

    def text(self) -> str:
        return "\n".join(
            [
                self.segmented.text(),
                "",
                self.scored.text(),
                "",
                "The weights are UNTRAINED (random, seeded): these masks and scores mean nothing.",
                "What the demo shows is that every step of the real path works on this machine.",
                "",
                f"masks    {self.out}/run/masks/",
                f"scores   {self.out}/scores/",
                f"picture  {self.picture} (orange: predicted, white line: truth)",
            ]
        )


def run(config: DemoConfig) -> DemoResult:
    """Do it all in `config.out`. Raises InputError if that folder holds anything but an earlier demo."""
    out = _fresh_folder(config.out)
    manifest, annotations = SHAPES.write(storage.join(out, "data"))
    checkpoint = storage.join(out, "checkpoint")
    write_untrained_checkpoint(checkpoint)
    segmented = segment.run(
        segment.SegmentConfig(
            manifest=manifest, run=storage.join(out, "run"), checkpoint=checkpoint, short_side=SHAPES.height
        )
    )
    scores = storage.join(out, "scores")
    scored = evaluate.run(
        evaluate.EvaluateConfig(predictions=segmented.run, annotations=annotations, out=scores, by=("colour", "shape"))
    )
    picture = storage.join(out, "masks.png")
    _draw(segmented.run, annotations, picture)
    return DemoResult(out=out, picture=picture, segmented=segmented, scored=scored)


def write_untrained_checkpoint(folder: str, config: ReferFormerConfig = SMALL, seed: int = 0) -> None:
    """A checkpoint folder with the weights that a model starts its training from."""
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as tokenizer:
        torch.manual_seed(seed)
        write_byte_level_tokenizer(tokenizer)
        save_checkpoint(folder, config, ReferFormer(config).state_dict(), tokenizer)


def _fresh_folder(out: str) -> str:
    folder = Path(storage.absolute(out))
    if folder.exists() and not (folder.is_dir() and ((folder / MARK).exists() or not any(folder.iterdir()))):
        raise InputError(f"{folder} holds something else; give a new folder with --out")
    storage.remove_folder(str(folder))
    storage.write_bytes(str(folder / MARK), b"Written by 'rvos demo'; the next demo replaces this folder.\n")
    return str(folder)


def _draw(run: str, annotations: str, picture: str) -> None:
    """One row for each pair, a few frames each."""
    truth = {_key(row, "object_id"): row for row in storage.read_table(annotations).to_pylist()}
    folder = storage.join(run, "masks")
    found = {
        _key(row, "expression_id"): row
        for name in storage.names(folder)
        for row in storage.read_table(storage.join(folder, name)).to_pylist()
    }
    indices = tuple(np.linspace(0, SHAPES.num_frames - 1, DRAWN_FRAMES).astype(int).tolist())
    rows = []
    for pair in Run.open(run).manifest().to_pylist():
        ids = pair["video_id"], pair["expression_id"]
        frames = [
            overlay(frame.image, _mask(found.get((*ids, frame.index))), _mask(truth.get((*ids, frame.index))))
            for frame in read_frames(pair["video_uri"], Selection(indices=indices))
        ]
        rows.append((f"{pair['video_id']}: {pair['expression']}", frames))
    contact_sheet(rows).save(picture)


def _key(row: dict, of: str) -> tuple[str, str, int]:
    """Here an expression has the id of the one object that it means."""
    return row["video_id"], row[of], row["frame_index"]


def _mask(row: dict | None) -> np.ndarray | None:
    return rle.decode(row["counts"], row["height"], row["width"]) if row and row["counts"] else None
