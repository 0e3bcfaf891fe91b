"""Reading `.pth` files: published forms are read, anything that would run code is refused by name."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from model.errors import CheckpointError
from model.referformer import pickle_scan, pth
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
    for name in ("numpy._core.multiarray.scalar", "numpy.dtype", "pathlib", "torch.save({name: value"):
        assert name in str(error.value)


def test_the_advice_works(tmp_path):
    old = save(published(output=pathlib.PosixPath("out")), tmp_path / "old.pth", True)
    old = torch.load(old, weights_only=False)["model"]
    new = {name: value.float() for name, value in old.items() if torch.is_tensor(value)}
    save(new, tmp_path / "new.pth", True)
    assert torch.equal(read_pth(tmp_path / "new.pth")["a"], weights()["a"])


def test_the_advice_for_a_pickle_of_another_program_works(tmp_path):
    """As detectron2 writes it: torch.load does not take it."""
    old, new = tmp_path / "old.pkl", tmp_path / "new.pth"
    old.write_bytes(pickle.dumps({"model": {"a": weights()["a"].numpy()}, "__author__": "x"}))
    with pytest.raises(
        CheckpointError, match=re.escape("old = pickle.load(open(OLD, 'rb')), or what that has under 'model'")
    ):
        read_pth(old)
    read = pickle.load(old.open("rb"))["model"]
    torch.save({name: torch.as_tensor(value).float() for name, value in read.items()}, new)
    assert torch.equal(read_pth(new)["a"], weights()["a"])


@ZIP_AND_LEGACY
def test_types_of_numbers_that_the_model_has_not_are_cast_by_the_advice(tmp_path, zipped):
    path = save({"model": {"a": torch.ones(4).to(torch.float8_e4m3fn)}}, tmp_path / "old.pth", zipped)
    with pytest.raises(CheckpointError, match=r"torch.float8_e4m3fn.*old = torch.load\(OLD.*value.float\(\)"):
        read_pth(path)


def test_two_sets_of_weights_are_not_chosen_between(tmp_path):
    content = {"model": {"a": torch.ones(1)}, "state_dict": {"a": torch.zeros(1)}}
    with pytest.raises(CheckpointError, match="weights under 'model' and others under 'state_dict'; save those"):
        read_pth(save(content, tmp_path / "a.pth", True))
    assert read_pth(save(content | {"state_dict": {}}, tmp_path / "b.pth", True))["a"] == 1


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


@pytest.mark.parametrize("offset", [2**20, 2**40, 2**63 + 1])
def test_a_directory_that_points_outside_the_file_is_refused(tmp_path, offset):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.filelist[0].header_offset = offset
    with pytest.raises(CheckpointError, match=r"a\.pth: damaged at archive/data.pkl"):
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
    with pytest.raises(CheckpointError, match="claim more bytes than the file has: 'a'"):  # a view of one number
        read_pth(path)


def write_zip(path, content: bytes, name: str = "data.pkl") -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"archive/{name}", content)
        archive.writestr("archive/version", b"3\n")
    return path


def test_the_entry_that_torch_reads_is_the_one_that_is_scanned(tmp_path):
    mark = tmp_path / "ran"
    bomb = pickle.dumps(Runs(os.system, f"touch {mark}"), 2)
    with pytest.raises(CheckpointError, match=r"build: posix\.system"):
        read_pth(write_zip(tmp_path / "a.pth", bomb, "DATA.PKL"))
    assert not mark.exists()


@pytest.mark.parametrize(
    "between",
    [
        pickle.NONE + pickle.POP,
        pickle.BINPUT
        + b"\x00"
        + pickle.POP
        + pickle.BINUNICODE
        + b"\x01\x00\x00\x00x"
        + pickle.POP
        + pickle.BINGET
        + b"\x00",
        pickle.MARK + pickle.BINUNICODE + b"\x01\x00\x00\x00x" + pickle.POP_MARK,
        pickle.MARK + pickle.POP,
        pickle.DUP + pickle.POP,
    ],
    ids=["pop", "memo", "pop_mark", "pop a mark", "dup"],
)
def test_a_detour_hides_no_name(tmp_path, between):
    content = pickle.PROTO + b"\x04" + pickle.SHORT_BINUNICODE + b"\x05posix" + pickle.SHORT_BINUNICODE + b"\x06system"
    path = tmp_path / "a.pth"
    path.write_bytes(content + between + pickle.STACK_GLOBAL + pickle.STOP)
    with pytest.raises(CheckpointError, match=r"build: posix\.system"):
        read_pth(path)


def deep_key() -> bytes:
    nested = pickle.EMPTY_TUPLE + pickle.TUPLE1 * 100_000
    return pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + nested + pickle.NONE + pickle.SETITEM + pickle.STOP


BOMBS = {
    "deep key": deep_key(),
    "sets": pickle.PROTO + b"\x02" + pickle.MARK + pickle.EMPTY_SET * 2_000_000 + pickle.LIST + pickle.STOP,
    "length": pickle.PROTO + b"\x02" + pickle.BINUNICODE8 + b"\xff" * 7 + b"\x7f",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_bomb_takes_no_memory(tmp_path, name, zipped, monkeypatch):
    monkeypatch.setattr(pickle_scan, "MAX_OPERATIONS", 20_000)
    path = tmp_path / "a.pth"
    write_zip(path, BOMBS[name]) if zipped else path.write_bytes(BOMBS[name])
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"a\.pth: (damaged|not a checkpoint)"):
        read_pth(path)
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


def test_marks_are_found_in_linear_time():
    full = pickle.BININT1 + b"\1"
    content = pickle.PROTO + b"\2" + full * 200_000 + (pickle.MARK + pickle.POP_MARK) * 150_000 + pickle.STOP
    assert pickle_scan.scan(io.BytesIO(content), 10) == set()  # quadratic: an hour


@pytest.mark.parametrize("zipped", [True, False])
def test_many_and_long_names_make_a_short_message(tmp_path, zipped):
    names = b"".join(pickle.GLOBAL + b"os\n" + b"x" * 5000 + b"%d\n" % number for number in range(1000))
    content = pickle.PROTO + b"\2" + names + pickle.STOP
    path = tmp_path / "a.pth"
    write_zip(path, content) if zipped else path.write_bytes(content)
    with pytest.raises(CheckpointError, match="and 970 more") as raised:
        read_pth(path)
    assert len(str(raised.value)) < 10_000


def test_a_directory_of_a_zip_is_bounded_before_it_takes_memory(tmp_path, monkeypatch):
    path = save({"model": {"a": torch.ones(3)}}, tmp_path / "a.pth", True)
    monkeypatch.setattr(pth, "MAX_PICKLE_BYTES", 100)
    with pytest.raises(CheckpointError, match="its directory alone takes"):
        read_pth(path)


def test_a_storage_larger_than_its_file_is_not_made(tmp_path):
    path = save({"model": {"a": torch.ones(3)}}, tmp_path / "a.pth", False)
    data = path.read_bytes()
    at = data.index(b"cpuq")
    at = data.index(b"K\x03", at)
    path.write_bytes(data[:at] + pickle.BININT + (1_450_000_000).to_bytes(4, "little") + data[at + 2 :])
    with pytest.raises(CheckpointError, match="a storage of 1450000000 numbers"):
        read_pth(path)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.int16, torch.uint8, torch.bool])
@pytest.mark.parametrize("missing", [1, 24])
def test_a_record_shorter_than_its_storage_is_refused(tmp_path, kind, missing):
    content = {"model": {"a": torch.ones(24, dtype=kind), "b": torch.ones(24, dtype=kind)}}
    path = save(content, tmp_path / "a.pth", True)
    assert read_pth(path)["a"].sum() == 24
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "short.pth", "w") as short:
        for entry in whole.infolist():
            data = whole.read(entry)
            short.writestr(entry.filename, data[:-missing] if entry.filename.endswith("data/0") else data)
    with pytest.raises(CheckpointError, match="a storage of 24 numbers in a record of"):
        read_pth(tmp_path / "short.pth")


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
        ([torch.ones(1)], "no weights under 'model' or 'state_dict'; its keys: list"),
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


class OfTheFirstTorch:
    """A tensor as torchvision's files of 2017 hold it."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        x = self.tensor
        return torch._utils._rebuild_tensor, (x._typed_storage(), 0, tuple(x.size()), x.stride())


def test_tensors_of_the_first_torch(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    path = save({"fc.weight": OfTheFirstTorch(weight), "fc.bias": torch.ones(2)}, tmp_path / "a.pth", False)
    assert torch.equal(read_pth(path)["fc.weight"], weight)


def test_weights_under_state_dict(tmp_path):
    path = save({"meta": {"epoch": 30}, "state_dict": {"backbone.a": torch.ones(1)}}, tmp_path / "a.pth", True)
    assert list(read_pth(path)) == ["backbone.a"]


@pytest.mark.parametrize("version", [b"9" * 5000, b"-1", b"", b"x"], ids=["long", "negative", "empty", "text"])
def test_a_version_that_is_no_number_is_an_error(tmp_path, version):
    """torch's own reader of zip files raises errors of several kinds."""
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "sound.pth")
    with zipfile.ZipFile(tmp_path / "sound.pth") as sound, zipfile.ZipFile(tmp_path / "m.pth", "w") as damaged:
        for name in sound.namelist():
            damaged.writestr(name, version if name.endswith("version") else sound.read(name))
    with pytest.raises(CheckpointError, match="a zip file, but not one of torch.save"):
        read_pth(tmp_path / "m.pth")
