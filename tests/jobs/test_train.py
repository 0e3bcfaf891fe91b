"""`rvos train`: what is refused before the start, and one training through Ray Train."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import train
from jobs.segment import SegmentConfig
from jobs.segment import run as segment
from jobs.train import TrainConfig
from model.families import check_checkpoint
from pipeline.training.log import read_log
from schemas.errors import InputError

RECIPE = """
epochs = 1
drops = [1]
clips = 3
frames = 4
fresh_class_heads = false
short_side = 64
max_size = 96
log_steps = 1

[augmentation]
sizes = [64]
max_size = 96
crop = 0.0
"""


@pytest.fixture
def config(shapes, checkpoint, tmp_path):
    """config(**changes) -> a TrainConfig of three small videos."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)

    def make(**changes) -> TrainConfig:
        options = {"data": (shapes[0],), "annotations": (shapes[1],), "init": checkpoint, "config": str(recipe)}
        return TrainConfig(**options | {"out": str(tmp_path / "out")} | changes)

    return make


@pytest.mark.slow
@pytest.mark.ray
def test_masks_of_one_model_train_the_next(config, shapes, checkpoint, ray_session, tmp_path):
    """Manifest -> masks -> pseudo-labels -> training -> a checkpoint that segments; and again is nothing to do."""
    made = segment(SegmentConfig(manifest=shapes[0], run=str(tmp_path / "run"), checkpoint=checkpoint, short_side=64))
    shown: list[str] = []
    last = pq.read_table(shapes[0]).slice(8)
    uris = pa.array([str(Path(shapes[0]).parent / uri) for uri in last["video_uri"].to_pylist()])
    last = last.set_column(last.column_names.index("video_uri"), "video_uri", uris)
    pq.write_table(last, tmp_path / "last.parquet")
    options = {"annotations": (made.run,), "heldout": str(tmp_path / "last.parquet"), "heldout_annotations": shapes[1]}
    result = train.run(config(**options), shown.append)
    assert result.heldout is not None
    assert result.left_out["held out"] == 1
    assert result.steps >= 2
    assert any("held-out J&F" in text for text in shown)
    check_checkpoint(result.checkpoint)
    json.dumps(result.to_json())
    assert result.checkpoint in result.text()
    again = train.run(config(**options), shown.append)
    assert again == result


def test_another_training_in_the_same_folder_is_refused(config, shapes, tmp_path):
    train.prepare(config(), train.read_recipe(config().config), config().out)
    Path(config().config).write_text(RECIPE.replace("clips = 3", "clips = 2"))
    with pytest.raises(InputError, match=r"other weight, recipe \(clips\)"):
        train.run(config(weight=(1.0,)))


@pytest.mark.parametrize(
    "changes",
    [
        {"decides": []}, {"decides": None}, {"decides": {"recipe": "x"}}, {"decides": {"recipe": [1]}},
        {"examples": "3"}, {"left_out": []}, {"left_out": {"x": []}}, {"fresh": "x"}, {"fresh": {"x": None}},
        {"unused": {"--x": "name"}},
        '{"decides": ' + "[" * 100_000, "{", '{"decides": {}}', '{"decides": ' + "1" * 5000 + "}",
    ],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
def test_the_document_of_a_training_that_others_made_is_one_line(config, tmp_path, changes):
    train.prepare(config(), train.read_recipe(config().config), config().out)
    path = tmp_path / "out" / train.DOCUMENT
    text = changes if isinstance(changes, str) else json.dumps(json.loads(path.read_text()) | changes)
    path.write_text(text)
    with pytest.raises(InputError, match=r"is damaged \(|with other "):
        train.run(config())


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000, "{", "[]", "{}", '{"kind": "step"}', '{"kind": ["step"], "step": 1}',
        '{"kind": "other", "step": 1}',
        '{"kind": "step", "step": "1", "epoch": 0, "rate": 1, "loss": 1, "sentences_per_second": 1}', "\xff",
        '{"kind": "step", "step": 1, "epoch": 0, "rate": 1, "loss": "\\u001b[31m", "sentences_per_second": 1}',
    ],
    ids=lambda line: line[:40],
)  # fmt: skip
def test_the_log_of_a_training_that_others_made_is_one_line(config, tmp_path, line):
    train.prepare(config(), train.read_recipe(config().config), config().out)
    (tmp_path / "out" / "log.jsonl").write_bytes(f"{line}\n".encode("latin-1"))
    (tmp_path / "out" / "checkpoint").mkdir()
    (tmp_path / "out" / "checkpoint/model.safetensors").touch()  # nothing is left to train
    with pytest.raises(InputError, match=r"log.jsonl, line 1 is damaged"):
        train.run(config())


def test_a_log_of_millions_of_lines_is_refused(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b"{}\n" * 300_000)
    with pytest.raises(InputError, match="has more than 262144 lines"):
        read_log(str(tmp_path))


def test_a_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not empty and has no train.json"):
        train.run(config())


def test_a_least_score_needs_a_run(config):
    with pytest.raises(InputError, match="--min-score chooses among pseudo-labels, and none of --annotations is a run"):
        train.run(config(min_score=0.5))


def test_a_start_is_needed(config):
    with pytest.raises(InputError, match=r"neither --init nor a \[model\]"):
        train.run(config(init=None))


def test_a_checkpoint_that_is_none_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="file not found; a checkpoint is a folder"):
        train.run(config(init=str(tmp_path)))


def test_a_tokenizer_beside_a_checkpoint_is_refused(config, checkpoint):
    with pytest.raises(InputError, match="has its own"):
        train.run(config(tokenizer=checkpoint))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": ()}, "got 1 --data, but 0 --annotations"),
        ({"weight": (1.0, 2.0)}, "got 1 --data, but 2 --weight"),
        ({"weight": (0.0,)}, "above 0"),
        ({"weight": (float("inf"),)}, "--weight must be a finite number"),
        ({"data": ("m", "m"), "annotations": ("a", "a")}, "got a pair of --data and --annotations twice; give it once"),
        ({"heldout": "m.parquet"}, "got only one of --heldout and --heldout-annotations; give both"),
    ],
)
def test_options_that_do_not_fit_are_refused(config, changes, message):
    with pytest.raises(InputError, match=message):
        config(**changes)
