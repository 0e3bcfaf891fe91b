"""Each block of docs/benchmarks.md runs as it is printed, on small data sets and with a small checkpoint file."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from click.testing import CliRunner
from PIL import Image

from cli import main
from model.referformer.config import ReferFormerConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import write_byte_level_tokenizer
from tests.jobs.test_convert import TINY, content
from tests.reference import Recordings, named_folder

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```\n(.*?)^```", (ROOT / "docs/benchmarks.md").read_text(), re.MULTILINE | re.DOTALL)
PUBLISHED = Recordings(named_folder("RVOS_PUBLISHED_DIR", ROOT.parent / "shared/published"), may_lack=True)
IN_PUBLISHED = {"ref-youtube-vos": "ref-youtube-vos", "ref-davis": "ref-davis", "a2d_sentences": "a2d"}
LARGE = ("ref-youtube-vos", "ref-davis")  # seconds each
SMALL = ["--short-side", "64", "--limit", "2", "--device", "cpu"]
NAMES = [f"{number:05d}" for number in range(1, 5)]
MASK = np.arange(96)[None].repeat(64, axis=0) < 48

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def write_frames(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.fromarray(np.full((*MASK.shape, 3), 40 * number, np.uint8)).save(folder / f"{name}.{suffix}")


def write_jhmdb(root: Path) -> None:
    for video in ("b_1", "b_2", "b_3"):
        write_frames(root / "Rename_Images/jump" / video, "png")
        (root / "puppet_mask/jump" / video).mkdir(parents=True)
        masks = {"part_mask": np.repeat(MASK[..., None], len(NAMES), axis=2).astype(np.uint8)}
        scipy.io.savemat(root / "puppet_mask/jump" / video / "puppet_mask.mat", masks)
    (root / "jhmdb_annotation.txt").write_text("video_id,query\nb_1,man jumping\nb_2,a man\nb_3,jumps\n")
    samples = [[video, f"x/{name}.png", "x.mat", 4, "x"] for video in ("b_1", "b_2", "b_3") for name in NAMES[::2]]
    (root / "jhmdb_sentences_samples_metadata.json").write_text(json.dumps(samples))


def write_mevis(root: Path) -> None:
    write_frames(root / "valid/JPEGImages/v", "jpg")
    expressions = {str(number): {"exp": text} for number, text in enumerate(("a cat", "a dog", "both"))}
    document = {"videos": {"v": {"expressions": expressions, "frames": NAMES}}}
    (root / "valid/meta_expressions.json").write_text(json.dumps(document))


@pytest.fixture
def downloads(tmp_path, monkeypatch) -> Path:
    """Current folder with the tokenizer; any published checkpoint is a small one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ReferFormerConfig, "published", classmethod(lambda cls, name: TINY))
    (tmp_path / "roberta-base").mkdir()
    write_byte_level_tokenizer(tmp_path / "roberta-base")
    return tmp_path


def data_set(name: str, folder: Path) -> Path:
    if name in IN_PUBLISHED:
        return PUBLISHED / f"data/{IN_PUBLISHED[name]}"
    {"jhmdb_sentences": write_jhmdb, "mevis": write_mevis}[name](folder / name)
    return folder / name


def typed(words: list[str]) -> str:
    result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
    assert result.exit_code == 0, (words, result.output)
    return result.output


@pytest.mark.parametrize("block", BLOCKS, ids=[text.split("rvos benchmark ")[1].split()[0] for text in BLOCKS])
def test_a_block_that_is_copied(ray_session, downloads, block):
    lines = block.splitlines()
    convert = lines[0] if len(lines) > 1 else BLOCKS[0].splitlines()[0]
    (name,) = re.findall(r" /data/(\S+)", lines[-1])
    root = data_set(name, downloads)
    torch.manual_seed(0)
    torch.save(content(ReferFormer(TINY).state_dict()), shlex.split(convert)[2])
    typed(shlex.split(convert))
    output = typed([*shlex.split(lines[-1].replace(f"/data/{name}", str(root))), *SMALL])
    commands = re.findall(r"^\$ (rvos .*)$", output, re.MULTILINE)
    served = "export submission" in commands[-1]
    assert [shlex.split(command)[1] for command in commands[:2]] == ["import", "segment"]
    assert Path("benchmark/submission.zip" if served else "benchmark/report/report.html").is_file()
    if "--rules" in commands[1]:
        rules = json.loads(Path("benchmark/run/run.json").read_text())["rules"]
        assert rules["differences"] == {"short_side": {"published": 360, "run": 64}}
    for command in commands if name not in LARGE else ():  # each can be typed by itself
        typed(shlex.split(command))
