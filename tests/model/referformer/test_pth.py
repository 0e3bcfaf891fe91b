"""Reading `.pth` files: published forms are read, anything that would run code is refused by name."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from model.errors import CheckpointError
from model.referformer.pth import read_pth

ZIP_AND_LEGACY = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Runs:
    """Unpickles by calling `function(*args)`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def weights():
    shared = torch.arange(12.0).reshape(3, 4)
    return collections.OrderedDict(
        a=shared, b=shared, half=torch.ones(2).half(), table=torch.arange(5), p=torch.nn.Parameter(torch.ones(2, 3))
    )


def published(**args):
    return {
        "model": weights(),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-4}]},
        "lr_scheduler": {"milestones": collections.Counter({3: 1}), "gamma": 0.1},
        "epoch": 5,
        "args": argparse.Namespace(lr=1e-4, device="cuda", masks=True, **args),
    }


def save(content, path, zipped, **options):
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **options)
    return path


@ZIP_AND_LEGACY
@pytest.mark.parametrize("bare", [False, True])
def test_published_forms_are_read_whole(tmp_path, zipped, bare):
    path = save(weights() if bare else published(), tmp_path / "a.pth", zipped)
    state = read_pth(path)
    assert list(state) == list(weights())
    for name, tensor in weights().items():
        assert torch.equal(state[name], tensor)
        assert state[name].dtype == tensor.dtype
        assert not state[name].requires_grad


@ZIP_AND_LEGACY
@pytest.mark.parametrize("place", ["args", "nested", "model", "alone"])
def test_code_is_refused_by_name_and_not_run(tmp_path, zipped, place):
    mark = tmp_path / "ran"
    bomb = Runs(os.system, f"touch {mark}")
    content = {
        "args": published(callback=bomb),
        "nested": {**published(), "optimizer": {"state": [({"deep": [Runs(list, (bomb,))]},)]}},
        "model": {"model": {"a": torch.ones(1), "b": bomb}},
        "alone": bomb,
    }[place]
    path = save(content, tmp_path / "a.pth", zipped)
    with pytest.raises(CheckpointError, match=r"a\.pth: not read, and none of its code was run.*posix\.system"):
        read_pth(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_refused_by_name(tmp_path, protocol):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps([Runs(os.system, "true"), Runs(eval, "1"), Runs(os.system, "false")], protocol))
    with pytest.raises(CheckpointError, match=r"build: \w+\.eval, posix\.system\."):
        read_pth(path)


def test_an_installed_extension_code_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02" + pickle.EXT1 + b"\x07.")
    with pytest.raises(CheckpointError, match="copyreg extension 7"):
        read_pth(path)


@ZIP_AND_LEGACY
def test_harmless_but_unknown_types_are_listed_with_the_way_out(tmp_path, zipped):
    content = published(seed=np.float64(3.5), output=pathlib.PosixPath("out"))
    path = save(content, tmp_path / "a.pth", zipped)
    with pytest.raises(CheckpointError) as error:
        read_pth(path)
    for name in ("numpy._core.multiarray.scalar", "numpy.dtype", "pathlib", "torch.save({'model'"):
        assert name in str(error.value)


def test_the_advice_works(tmp_path):
    old = save(published(output=pathlib.PosixPath("out")), tmp_path / "old.pth", True)
    save({"model": torch.load(old, weights_only=False)["model"]}, tmp_path / "new.pth", True)
    assert torch.equal(read_pth(tmp_path / "new.pth")["a"], weights()["a"])


@ZIP_AND_LEGACY
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.999])
def test_truncated_files(tmp_path, zipped, kept):
    path = save(published(), tmp_path / "a.pth", zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(CheckpointError, match=r"a\.pth: (damaged|not a checkpoint)"):
        read_pth(path)


def test_a_flipped_bit_in_the_weights_is_found(tmp_path):
    path = save({"model": {"a": torch.full((1000,), 0.1)}}, tmp_path / "a.pth", True)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((4,), 0.1).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"damaged at .*/data/0"):
        read_pth(path)


def test_a_compressed_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(CheckpointError, match="compressed inside"):
        read_pth(path)


def test_a_claimed_size_takes_no_memory(tmp_path):
    path = tmp_path / "a.pth"
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.ones(1).expand(10**9)}}, buffer)
    path.write_bytes(buffer.getvalue())
    assert read_pth(path)["a"].shape == (10**9,)  # a view of one number; its shape is checked before it is used


def not_checkpoints():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    yield "empty", b"", "not a checkpoint"
    yield "text", b"hello there", "not a checkpoint"
    yield "image", b"\xff\xd8\xff\xe0" + bytes(1000), "not a checkpoint"
    yield "other zip", buffer.getvalue(), "a zip file, but not one of torch.save"
    yield "other pickle", pickle.dumps({"model": 3}), "not a checkpoint"


@pytest.mark.parametrize(("data", "message"), [pytest.param(*rest, id=name) for name, *rest in not_checkpoints()])
def test_other_files(tmp_path, data, message):
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        read_pth(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_pth(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_pth(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "no weights under 'model'; its keys: list"),
        ({"epoch": 3, "state": 4}, "its keys: 'epoch', 'state'"),
        ({"model": {}}, "no weights under"),
        (
            {"model": {"a": torch.ones(1), "b": [1], 3: torch.ones(1)}},
            "entries that are not a name with a tensor: 'b', 3",
        ),
    ],
)
def test_content_without_weights(tmp_path, content, message):
    path = save(content, tmp_path / "a.pth", True)
    with pytest.raises(CheckpointError, match=message):
        read_pth(path)
