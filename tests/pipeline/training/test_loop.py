"""The training loop of one process: it learns, it goes on where it was killed, it stops on nonsense."""

import json
import multiprocessing
import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.train import TrainConfig, prepare
from model.referformer.checkpoint import load_model
from model.referformer.config import QualityConfig
from model.referformer.training.optimizer import Rates
from pipeline.training.log import read_log
from pipeline.training.loop import START, Training, Worker, train
from pipeline.training.state import TrainingProgress, load_state, save_state
from schemas.errors import InputError
from tests.second_device import second_device
from tests.tiny_training import BACKBONE, FIXED, RECIPE, TINY


def _one_video(manifest: str, first_row: int, folder: Path) -> str:
    """The path of a new manifest in `folder`: three rows of `manifest`, all of one video."""
    table = pq.read_table(manifest).slice(first_row, 3)
    assert len(set(table["video_id"].to_pylist())) == 1
    uris = [str(Path(manifest).parent / uri) for uri in table["video_uri"].to_pylist()]
    path = folder / f"manifest-{first_row}.parquet"
    pq.write_table(table.set_column(1, "video_uri", [uris]), path)
    return str(path)


@pytest.fixture
def prepared(shapes, tmp_path):
    """prepared(name, **changes of the recipe) -> a Training, ready to run."""

    def make(name: str, heldout: bool = False, **changes) -> Training:
        recipe = replace(RECIPE, **changes)
        annotations = shapes[1]
        manifest, other = (_one_video(shapes[0], first_row, tmp_path) for first_row in (0, 3))
        scored = {"heldout": other, "heldout_annotations": annotations} if heldout else {}
        config = TrainConfig(data=(manifest,), annotations=(annotations,), out=str(tmp_path / name), **scored)
        prepare(config, recipe, config.out)
        return Training(folder=config.out, recipe=recipe, threads=1)

    return make


def weights(training: Training) -> dict[str, torch.Tensor]:
    return load_file(Path(training.folder) / "checkpoint" / "model.safetensors")


def test_it_learns_logs_scores_and_writes_a_checkpoint(prepared):
    training = prepared("run", heldout=True, epochs=3, heldout_steps=5)
    train(training)
    lines = read_log(training.folder)
    steps = [line for line in lines if line["kind"] == "step"]
    assert steps[-1]["loss"] < 0.85 * steps[0]["loss"]
    assert [line["step"] for line in steps] == sorted({line["step"] for line in steps})
    scores = [line for line in lines if line["kind"] == "heldout"]
    assert [line["pairs"] for line in scores] == [3] * len(scores)
    assert [line["step"] for line in scores if line["step"] % 5 == 0]
    assert len(scores) > 3
    assert all(0 <= line["J&F"] <= 1 for line in scores)
    assert load_model(Path(training.folder) / "checkpoint").config == TINY
    assert (Path(training.folder) / "log.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"gradient_checkpointing": True}, {"frames": 1}])
def test_it_runs_with(prepared, changes):
    training = prepared("run", epochs=1, **changes)
    train(training)
    assert all(x.isfinite().all() for x in weights(training).values())


def test_steps_stay_on_the_models_device(prepared):
    def two_losses(name: str, device: torch.device) -> list[float]:
        training = prepared(name)
        worker = Worker(training, str(Path(training.folder) / START), 0, 1, device)
        batches = islice(worker.loader.batches(0, rank=0, world=1, skip=0), 2)
        return [worker.step(batch.to(device), 0.0).total.item() for batch in batches]

    here = two_losses("here", torch.device("cpu"))
    with second_device() as device:
        assert two_losses("there", device) == pytest.approx(here, rel=1e-5)


def test_what_a_stopped_training_goes_on_from_is_all_that_matters(prepared, monkeypatch):
    whole = prepared("whole", epochs=1)
    train(whole)
    stopped = prepared("stopped", epochs=1)
    step = Worker.step

    def stop(self, batch, epochs):
        if self.progress.step == 5:
            raise KeyboardInterrupt
        return step(self, batch, epochs)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(stopped)
    train(stopped)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(stopped)[name], tensor), name
    steps = [line["step"] for line in read_log(stopped.folder) if line["kind"] == "step"]
    assert steps == sorted(set(steps))


def test_a_head_alone_is_trained_and_the_rest_stays(prepared):
    still = {"main": 0.0, "backbone": 0.0, "text": 0.0, "offsets": 0.0}
    model = replace(TINY, quality=QualityConfig(hidden_dim=8))
    training = prepared("run", epochs=4, model=model, rates=Rates(**still, quality=1e-2))
    train(training)
    start = load_file(Path(training.folder) / START / "model.safetensors")
    for name, tensor in weights(training).items():
        assert torch.equal(tensor, start[name]) != name.startswith("quality_head."), name
    losses = [line["quality"] for line in read_log(training.folder)]
    assert losses[-1] < losses[0]


def test_a_recipe_that_trains_nothing_is_refused(prepared):
    still = Rates(main=0.0, backbone=0.0, text=0.0, offsets=0.0)
    with pytest.raises(InputError, match="freezes every part of the model; set one of its rates above 0"):
        train(prepared("run", rates=still))


def test_a_loss_that_is_no_number_stops_it(prepared):
    training = prepared("run", rates=Rates(main=1e30, backbone=1e30, text=1e30, offsets=1e30), clip_norm=1e9)
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in step"):
        train(training)


def test_a_state_of_another_training_is_refused(prepared):
    training = prepared("run", epochs=1)
    (Path(training.folder) / "state.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not the state of this training"):
        train(training)


def test_a_state_that_others_made_is_refused_before_it_takes_memory(prepared):
    training = prepared("run", epochs=1)
    worker = Worker(training, str(Path(training.folder) / START), 0, 1, torch.device("cpu"))
    path = Path(training.folder) / "state.safetensors"
    save_state(str(path), worker.model, worker.optimizer, worker.scaler, TrainingProgress())
    tensors, name = load_file(path), next(iter(dict(worker.model.named_parameters())))
    good = {"progress": json.dumps(asdict(TrainingProgress(epoch=1))), "scaler": "{}"}

    def load(changes: dict[str, torch.Tensor], **document: str) -> TrainingProgress:
        save_file(tensors | changes, path, metadata=good | document)
        return load_state(str(path), worker.model, worker.optimizer, worker.scaler)

    assert load({}) == TrainingProgress(epoch=1)
    before = {key: value.clone() for key, value in worker.model.state_dict().items()}
    for changes in (
        {f"model.{name}": torch.zeros(1)},  # would be spread over the whole tensor
        {"model.more": torch.zeros(2)},
        {f"exp_avg.{name}": torch.zeros(1)},
        {f"step.{name}": torch.zeros(3)},
    ):
        with pytest.raises(InputError, match="is not the state of this training"):
            load(changes)
    documents = ("[" * 100_000, "[]", "{", '{"epoch": "1"}', '{"epoch": 1e400}', '{"step": -1}', '{"batches": true}')
    for progress in documents:
        with pytest.raises(InputError, match="is not the state of this training"):
            load({}, progress=progress)
    for scaler in ("[" * 100_000, '{"scale": "2"}', '{"scale": [1]}'):
        with pytest.raises(InputError, match="is not the state of this training"):
            load({}, scaler=scaler)
    path.write_bytes((2**30).to_bytes(8, "little") + b"{")
    with pytest.raises(InputError, match="its header alone has 1073741824 bytes"):
        load_state(str(path), worker.model, worker.optimizer, worker.scaler)
    assert all(value.equal(before[key]) for key, value in worker.model.state_dict().items())


def train_as(rank: int, training: Training, meeting: str) -> None:
    """Train in one of two processes that meet in a file."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    try:
        train(training, rank, 2)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_clips(prepared, tmp_path):
    model = replace(TINY, dropout=0.0, text=replace(TINY.text, dropout=0.0), backbone=replace(BACKBONE, drop_path=0.0))
    small = replace(FIXED, sizes=(48,), max_size=64)
    changes = {"model": model, "frames": 2, "augmentation": small, "log_steps": 1, "checkpoint_steps": 99, "epochs": 3}
    two, one = prepared("two", clips=1, **changes), prepared("one", clips=2, **changes)
    other = multiprocessing.get_context("spawn").Process(target=train_as, args=(1, two, str(tmp_path / "meeting")))
    other.start()
    train_as(0, two, str(tmp_path / "meeting"))
    other.join()
    train(one)
    logs = [[line for line in read_log(training.folder) if line["kind"] == "step"] for training in (one, two)]
    assert len(logs[0]) == len(logs[1]) > 20
    for line, same in zip(logs[0][:20], logs[1][:20], strict=True):
        for name in ("loss", *vars(RECIPE.coefficients)):
            assert abs(same[name] - line[name]) <= 1e-5 * max(1.0, line[name]), (line["step"], name)


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_training_ends_with_the_same_weights(prepared):
    whole = prepared("whole")
    train(whole)
    killed = prepared("killed")
    state = Path(killed.folder) / "state.safetensors"
    for _ in range(3):  # three times, each after one more state
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = multiprocessing.get_context("spawn").Process(target=train, args=(killed,))
        process.start()
        while process.is_alive() and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.02)
        process.kill()
        process.join()
    assert not (Path(killed.folder) / "checkpoint").exists()
    train(killed)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(killed)[name], tensor), name


def test_the_result_may_be_half_the_size(prepared):
    training = prepared("run", epochs=1, small=replace(RECIPE.small, half_weights=True, sentences=2, context=True))
    train(training)
    assert {tensor.dtype for tensor in weights(training).values()} == {torch.float16}
    assert load_model(Path(training.folder) / "checkpoint").query_embed.weight.dtype == torch.float32
