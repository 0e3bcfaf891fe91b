"""The bundled checkpoint is small and complete, and finds the shapes that sentences name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from model.bundled import FOLDER
from model.families import check_checkpoint, load_segmenter
from pipeline.datasets.synthetic.shape_scenes import paint
from pipeline.datasets.synthetic.synthetic import BACKGROUNDS, SyntheticVideos

ROOT = Path(__file__).resolve().parents[2]
TEST = SyntheticVideos(videos=12, split="test", frames=(8, 8), expressions=1, focus="appearance", seed=3)


def test_it_is_small_and_whole():
    info = check_checkpoint(FOLDER)
    assert (info.family, info.short_side, info.max_tokens) == ("referformer", 96, 64)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10e6
    assert {str(tensor.dtype) for tensor in load_file(FOLDER / "model.safetensors").values()} == {"torch.float16"}
    card = " ".join((FOLDER / "MODEL_CARD.md").read_text().split())
    assert "not the world" in card
    assert all(path.name in card for path in FOLDER.iterdir() if path.name != "MODEL_CARD.md")


def overlap(answer: np.ndarray, truth: np.ndarray) -> float:
    return float((answer & truth).sum() / max(1, (answer | truth).sum()))


def test_it_finds_what_the_sentence_names():
    """Clearly better with the scene's own sentence than with that of the next scene."""
    segmenter = load_segmenter(FOLDER, device="cpu")
    scenes = [TEST.scene(index) for index in range(TEST.videos)]
    own, other = [], []
    for i, scene in enumerate(scenes):
        background = BACKGROUNDS["test"](np.random.default_rng(i), TEST.height, TEST.width)
        frames = [segmenter.prepare(frame) for frame in paint(scene.actors, scene.seen, background)]
        target = scene.sentences[0].target
        assert target is not None
        sentences = [scene.sentences[0].text, scenes[i - 1].sentences[0].text]
        first, second = segmenter.segment(frames, (TEST.height, TEST.width), sentences)
        own.append(overlap(first.masks, scene.seen[target]))
        other.append(overlap(second.masks, scene.seen[target]))
    assert np.mean(own) > 0.5
    assert np.mean(other) < np.mean(own) - 0.25


@pytest.mark.slow
def test_the_phase_of_motion_repeats_to_the_last_bit(tmp_path):
    script = [sys.executable, "benchmarks/tiny_motion.py", "--checkpoint", str(FOLDER), "--steps", "2", "--scenes", "8"]
    environment = os.environ | {"PYTHONPATH": "."}
    made = []
    for name in ("one", "two"):
        subprocess.run([*script, "--out", str(tmp_path / name)], cwd=ROOT, env=environment, check=True)
        made.append((tmp_path / name / "model.safetensors").read_bytes())
    assert made[0] == made[1]
