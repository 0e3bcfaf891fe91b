"""Every door gets thousands of damaged files: each is read, or refused with a sentence. No other error, no memory.

Each door gets MUTATIONS files of a fixed sequence, the same on a slow machine as on a fast one. With RVOS_FUZZ_SECONDS,
each gets as many of that sequence as this time allows: 60 for a minute each. RVOS_FUZZ_SEED, any word, begins another.
"""

import contextlib
import io
import itertools
import json
import os
import random
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
from PIL import Image

from model.bundled import FOLDER
from model.errors import CheckpointError
from model.families import check_checkpoint
from model.referformer.config import ReferFormerConfig
from model.referformer.pth import read_pth
from model.referformer.tokenizer import load_tokenizer
from model.sam.folder import TRACKERS, read_config, read_pixels, tracker_config
from model.sam.untrusted_config import require_weights
from pipeline.datasets import coco_video
from pipeline.datasets.common import hdf5_masks, json_file, matlab_masks, row_file
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.export.untrusted_zip import open_untrusted_zip, read_stored_mask
from pipeline.imported import json_results
from pipeline.io import parquet, storage
from pipeline.io.manifest import load_manifest, row_problems
from pipeline.masks.png_trees import read_frame
from pipeline.runs.run_json import read_run_json
from pipeline.training.recipe import read_recipe
from pipeline.video import Selection, probe, read_frames
from schemas import rle
from schemas.errors import RvosError
from tests.tiny_sam import sam2_config

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("RVOS_FUZZ_SECONDS", "0"))
MUTATIONS = 250  # of each door, if no time is set; of large files, fewer
ALL_BYTES = 2**26  # of these together
SEED = os.environ.get("RVOS_FUZZ_SEED", "")
MOST_BYTES = 400_000_000  # that the process may grow by, at one door; the libraries themselves are loaded before
REFUSALS = (RvosError, OSError, CheckpointError)
ODD_BYTES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
)
ODD_TEXTS = (
    b"null", b"[]", b"{}", b"-1", b"1e999", b"1" * 500, b'""', b"NaN", b'"\\ud800"', b"[" * 2000, b"true", b"0",
    b"\x1b[2J",     b"9223372036854775808", b",", b"\n", b'"', b"\\", b"4294967295", b"\xf0\x9f", b"..", b"/", b"0.5",
)  # fmt: skip


def mutated(content: bytes, dice: random.Random, odd: tuple[bytes, ...]) -> bytes:
    """Return `content` with some bytes replaced, inserted, removed, doubled or cut off."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data) + 1)
        length = dice.choice((1, 1, 2, 4, 8, 64))
        kind = dice.randrange(6)
        if kind == 0:
            data[at : at + length] = dice.randbytes(length)
        elif kind == 1:
            new = dice.choice(odd)
            data[at : at + len(new)] = new
        elif kind == 2:
            data[at:at] = dice.choice(odd)
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[max(0, at - length) : at]
        elif dice.random() < 0.1:
            del data[at:]
    return bytes(data)


def value_mutated(value: object, dice: random.Random) -> object:
    """Return a JSON value in which one place holds a value of another kind."""
    odd = (None, [], {}, -1, 0, 2**40, 1e300, "", "x" * 5000, True, [[]], {"a": 1}, "\x1b[2J\u202e", 0.5, [1, "x"])
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value))
        if dice.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: value_mutated(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        at = dice.randrange(len(value))
        return [*value[:at], value_mutated(value[at], dice), *value[at + 1 :]]
    return dice.choice(odd)


def turns(most: int) -> Iterator[int]:
    """Count from 1 to `most` or, with RVOS_FUZZ_SECONDS, until this time is over."""
    end = time.monotonic() + SECONDS
    for number in itertools.count(1):
        if number > 1 and time.monotonic() >= end if SECONDS else number > most:
            return
        yield number


def fuzz(path: Path, content: bytes, door: Callable[[str], object], refusals: tuple = REFUSALS) -> None:
    """Send mutations of `content` through `door`."""
    dice, is_text = random.Random(path.name + SEED), not any(byte < 9 for byte in content[:4096])
    values = json.loads(content) if path.suffix == ".json" else None
    path.write_bytes(content)
    door(str(path))  # the file itself is read, and libraries are loaded
    before = memory(begin=True)
    for count in turns(min(MUTATIONS, 20 + ALL_BYTES // len(content))):
        if values is not None and count % 2:
            data = json.dumps(value_mutated(values, dice)).encode()
        else:
            data = mutated(content, dice, ODD_TEXTS if is_text else ODD_BYTES)
        path.write_bytes(data)
        try:
            door(str(path))
        except refusals as error:
            says_nothing = not str(error).strip()
            if says_nothing:
                raise AssertionError(f"{path.name} number {count} is refused without a sentence") from error
        except BaseException as error:
            path.with_suffix(".found").write_bytes(data)
            raise AssertionError(f"{path.name} number {count}: {data[:300]!r}") from error
        assert memory() - before < MOST_BYTES, f"{path.name} number {count} takes memory: {data[:300]!r}"


def memory(*, begin: bool = False) -> int:
    """Return the most memory that this process had so far, in bytes; `begin`: forget what it had before."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))


def rows(uri: str) -> list:
    return list(row_file.read_rows(uri, [["expression"]]))


def manifest(uri: str) -> None:
    for row in load_manifest(uri).to_pylist():
        list(row_problems(row))


def video(uri: str) -> None:
    probe(uri)
    for frame, _ in zip(read_frames(uri, Selection()), range(3), strict=False):
        assert frame.image.ndim == 3


def as_checkpoint(name: str, check: Callable[[str], object]) -> Callable[[str], object]:
    """Return a door that puts a file into a copy of the bundled checkpoint, by links."""

    def door(path: str) -> object:
        folder = Path(path).with_suffix("")
        folder.mkdir(exist_ok=True)
        for file in FOLDER.iterdir():
            if file.name != name and not (folder / file.name).exists():
                (folder / file.name).symlink_to(file)
        (folder / name).write_bytes(Path(path).read_bytes())
        return check(str(folder))

    return door


def as_folder(name: str, read: Callable[[str], object]) -> Callable[[str], object]:
    def door(path: str) -> object:
        folder = Path(path).with_suffix("")
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(Path(path).read_bytes())
        return read(str(folder))

    return door


def parquet_bytes(**columns: list) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


def picture(form: str, mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert(mode).save(content, form)
    return content.getvalue()


def hdf5() -> bytes:
    h5py = pytest.importorskip("h5py", reason="H5PY ABSENT: masks in HDF5 are not tested; pip install -e '.[dev]'")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["instance"] = np.array([1, 2])
        file.create_dataset("reMask", data=np.ones((2, 4, 5), np.uint8), compression="gzip")
    return content.getvalue()


def read_hdf5(path: str) -> None:
    import h5py

    with open(path, "rb") as file:
        list(hdf5_masks.read(h5py, file.read()))


def read_matlab(path: str) -> None:
    with open(path, "rb") as file:
        matlab_masks.read(file.read(), "part_mask")


def saved(save: Callable, *values: object, **options: object) -> bytes:
    content = io.BytesIO()
    save(content, *values, **options)
    return content.getvalue()


def packed() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("Annotations/v/0/00000.png", picture("PNG", "L"))
    return content.getvalue()


def read_zip(path: str) -> None:
    with open(path, "rb") as file, open_untrusted_zip(file, path) as archive:
        for entry in archive.infolist():
            read_stored_mask(archive, entry)


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in (("a.txt", b"text"), ("v.png", picture("PNG"))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v.png", picture("PNG"))
    return content.getvalue()


def read_results(uri: str) -> None:
    json_results.write_table(uri, {"a": ["0", "1"]}, f"{uri}.parquet")


def sam(read: Callable[[Path], object]) -> Callable[[str], object]:
    """Return a door that puts a file into a folder as its config.json; the weights are checked apart from it."""

    def door(path: str) -> object:
        folder = Path(path).with_suffix("")
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_bytes(Path(path).read_bytes())
        return read(folder)

    return door


def read_sam(folder: Path) -> None:
    config = read_config(folder)
    read_pixels(folder, config)
    with contextlib.suppress(Exception):  # of transformers, of many kinds; load_model turns them into a sentence
        require_weights(TRACKERS[config.model_type].model, tracker_config(config), 10_000_000)


MASKS = [[[0, 0, 5, 0, 5, 5]], {"size": [10, 20], "counts": [200]}]
COCO = {
    "videos": [{"id": 1, "height": 10, "width": 20, "file_names": ["a/0.jpg", "a/1.jpg"], "length": 2}],
    "annotations": [
        {
            "id": 1,
            "video_id": 1,
            "category_id": 1,
            "segmentations": MASKS,
        }
    ],
    "categories": [{"id": 1, "name": "cat"}],
}
SUMMARY = {
    "protocol": "mevis", "overall": {"J&F": 0.5, "J": 0.4, "F": 0.6, "n": 3}, "pairs": {"ok": 3},
    "missing_rule": "zero", "frames": {"scored": 9, "missing": 0},
    "by": {"kind": [{"value": "a", "n": 3, "videos": 2}]}, "version": "0.1.0",
}  # fmt: skip
RESULTS = [
    {
        "video_id": "a",
        "expression_id": "0",
        "segmentations": [{"size": [10, 20], "counts": rle.empty(10, 20).decode()}, None],
        "score": 0.5,
    }
]
OBJECTS = {
    "videos": [{"id": 1, "file_names": ["a/0.jpg", "a/1.jpg"], "height": 10, "width": 20}],
    "annotations": [{"video_id": 1, "exp_id": "1", "segmentations": [{"size": [10, 20], "counts": [200]}, None]}],
}
STATE = {"model": {"a": torch.ones(3, 4), "b": torch.arange(5)}, "epoch": 3}
MANIFEST = {"video_id": ["a", "b"], "video_uri": ["a.mp4", "b"], "expression_id": ["0", "1"], "expression": ["x", "y"]}
DOORS: dict[str, tuple[Callable[[], bytes], Callable[[str], object]]] = {
    "object.json": (lambda: json.dumps(COCO).encode(), json_file.load),
    "entries.json": (lambda: json.dumps(COCO).encode(), lambda uri: list(json_file.entries(uri, depth=2))),
    "coco.json": (lambda: json.dumps(COCO).encode(), lambda uri: list(coco_video.read(uri))),
    "rows.csv": (lambda: b'video,expression\na,the cat\nb,"a, dog"\n', rows),
    "rows.jsonl": (lambda: b'{"video": "a", "expression": "the cat"}\n{"expression": "x"}\n', rows),
    "summary.json": (lambda: json.dumps(SUMMARY).encode(), as_folder("summary.json", ScoreFolder.open)),
    "run.json": (
        lambda: json.dumps({"fingerprint": "x", "config": {"frame_step": 1}}).encode(),
        as_folder("run.json", read_run_json),
    ),
    "recipe.toml": (lambda: b"epochs = 10\nframes = 5\n[augmentation]\n[small]\n", lambda path: read_recipe(path)),
    "config.json": (lambda: (FOLDER / "config.json").read_bytes(), as_checkpoint("config.json", check_checkpoint)),
    "tokenizer.json": (
        lambda: (FOLDER / "tokenizer.json").read_bytes(),
        as_checkpoint("tokenizer.json", lambda folder: load_tokenizer(folder, 384)),
    ),
    "weights.safetensors": (
        lambda: (FOLDER / "model.safetensors").read_bytes(),
        as_checkpoint("model.safetensors", check_checkpoint),
    ),
    "zipped.pth": (lambda: saved(lambda file, state: torch.save(state, file), STATE), read_pth),
    "legacy.pth": (
        lambda: saved(lambda file, state: torch.save(state, file, _use_new_zipfile_serialization=False), STATE),
        read_pth,
    ),
    "table.parquet": (lambda: parquet_bytes(a=["x", "y"] * 50, b=[[1], [2]] * 50), parquet.read_table),
    "manifest.parquet": (lambda: parquet_bytes(**MANIFEST, num_frames=[3, None]), manifest),
    "frame.png": (lambda: picture("PNG"), video),
    "frame.jpg": (lambda: picture("JPEG"), video),
    "frame.webp": (lambda: picture("WEBP"), video),
    "frame.tiff": (lambda: picture("TIFF"), video),
    "mask.png": (lambda: picture("PNG", "L"), lambda uri: read_frame(uri, 0, binary=False)),
    "packed.zip": (packed, read_zip),
    "member.zip": (zipped, lambda uri: video(f"zip://v.png::{uri}")),
    "member.tar": (tarred, lambda uri: video(f"tar://v.png::{uri}")),
    "results.json": (lambda: json.dumps(RESULTS).encode(), read_results),
    "objects.json": (lambda: json.dumps(OBJECTS).encode(), read_results),
    "sam.json": (lambda: sam2_config().to_json_string(use_diff=False).encode(), sam(read_sam)),
}
VALUE_DOORS: dict[str, tuple[Callable[[], bytes], Callable[[str], object]]] = {
    "masks.h5": (hdf5, read_hdf5),
    "masks.mat": (lambda: saved(scipy.io.savemat, {"part_mask": np.ones((4, 5, 6), np.uint8)}), read_matlab),
    "packed.mat": (
        lambda: saved(scipy.io.savemat, {"part_mask": np.ones((4, 5, 6), np.uint8)}, do_compression=True),
        read_matlab,
    ),
}


@pytest.mark.parametrize("name", DOORS)
def test_damaged_files_are_read_or_refused(tmp_path, name):
    content, door = DOORS[name]
    fuzz(tmp_path / name, content(), door)


@pytest.mark.parametrize("name", VALUE_DOORS)
def test_damaged_masks_are_read_or_a_problem(tmp_path, name):
    """The readers of these turn every error into a problem of the video."""
    content, door = VALUE_DOORS[name]
    fuzz(tmp_path / name, content(), door, (Exception,))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_damaged_videos_are_read_or_refused(tmp_path, shapes, suffix):
    import av

    source = storage.absolute(pq.read_table(shapes[0])["video_uri"][0].as_py(), storage.parent(shapes[0]))
    with av.open(source) as given, av.open(str(tmp_path / f"v.{suffix}"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    fuzz(tmp_path / f"w.{suffix}", (tmp_path / f"v.{suffix}").read_bytes(), video)


def test_damaged_rle_never_gives_another_size():
    dice, good = random.Random(f"rle{SEED}"), rle.encode(np.random.default_rng(0).random((1, 30, 40)) > 0.5)[0]
    for _ in turns(40 * MUTATIONS):
        try:
            runs = rle.run_lengths(mutated(good, dice, ODD_BYTES + ODD_TEXTS), 30, 40)
        except rle.RleError:
            continue
        assert runs.min() >= 0
        assert runs.sum() == 1200


def test_damaged_configs_are_built_or_refused():
    dice, good = random.Random(f"config{SEED}"), ReferFormerConfig().to_dict()
    for _ in turns(40 * MUTATIONS):
        values: object = value_mutated(good, dice)
        with contextlib.suppress(ValueError):
            ReferFormerConfig.from_dict(values)  # pyright: ignore[reportArgumentType]
