"""Read a published `.pth` checkpoint without executing any code in it.

Such files are pickles, and a pickle may call any function while it is read. Two checks, each sufficient alone: the
names that the file looks up are listed from its opcodes, without executing them, and must be in the list below; then
torch reads the file with `weights_only`, whose unpickler knows only those names. No tensor may claim more bytes than
the file has.
"""

import argparse
import io
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.referformer.pickle_scan import scan

ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # pickled at the start of a file
MAX_PICKLE_BYTES = 2**24  # also of the directory of a zip file
KEYS = ("model", "state_dict")  # of the weights in a file; the second one in those of Video-Swin
EXTRACT = (
    "If you trust its author, extract the weights on a machine without valuable data: "
    "old = torch.load(OLD, weights_only=False), or what that has under 'model' or 'state_dict', or its .state_dict(); "
    "torch.save({name: value.float() for name, value in old.items() if torch.is_tensor(value)}, NEW)"
)
EXTRACT_PLAIN = (  # of a pickle that torch.load does not take, as detectron2 writes it
    "It is a pickle of another program. If you trust its author, extract the weights on a machine without valuable "
    "data: old = pickle.load(open(OLD, 'rb')), or what that has under 'model'; "
    "torch.save({name: torch.as_tensor(value).float() for name, value in old.items()}, NEW)"
)
UNPICKLER = re.compile(r"WeightsUnpickler error:\s*([^\n]*)")
LISTED = 30  # names in a message
LEGACY_PICKLES = 5  # magic, protocol, system, object, storage keys; the raw storages follow

STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
HARMLESS = frozenset(
    [
        "argparse.Namespace",  # the training options, under 'args'
        "collections.OrderedDict",  # a state dict
        "collections.Counter",  # the milestones of a learning rate schedule
        "builtins.set",
        "__builtin__.set",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_tensor",  # in files of torchvision from 2017
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.nn.parameter.Parameter",
        *(f"torch.{name}Storage" for name in STORAGES),
        *(f"torch.{name}" for name in DTYPES),
    ]
)


def read_pth(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a file of `torch.save`, zip or legacy format.

    It is under 'model', under 'state_dict' as in Video-Swin's files, or the whole file.

    Zip files are memory-mapped, so only the tensors that are used take memory. Raises CheckpointError if the file is
    missing, damaged or not a checkpoint, or with a list of all names that it looks up and that are not harmless.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a checkpoint file" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}; give the .pth file as published")
    mapped = _starts_with(path, ZIP_START)
    unsafe = sorted((_names_in_zip(path) if mapped else _names_in_legacy(path)) - HARMLESS)
    if unsafe:
        raise CheckpointError(
            f"{path}: not read, and none of its code was run. Reading it would call or build: {_listed(unsafe)}. "
            f"{EXTRACT if mapped or _is_legacy(path) else EXTRACT_PLAIN}"
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file can make the unpickler raise anything
        if found := UNPICKLER.search(str(error)):  # torch's own advice is to read it without any check
            raise CheckpointError(f"{path}: torch cannot read it safely ({found[1]:.200}). {EXTRACT}") from None
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: damaged or incomplete, fetch it again ({reason})") from error
    return _state_dict(content, path)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    state = content
    if isinstance(content, dict) and (found := [key for key in KEYS if key in content]):
        state = content[found[0]]
        if len(found) > 1 and all(_has_tensors(content[key]) for key in found):
            raise CheckpointError(
                f"{path}: it has weights under 'model' and others under 'state_dict'; save those that you mean alone: "
                "torch.save(torch.load(OLD)['model'], NEW)"
            )
    if not isinstance(state, dict) or not _has_tensors(state):
        holds = ", ".join(map(repr, list(content)[:10])) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: no weights under 'model' or 'state_dict'; its keys: {holds or 'none'}")
    strange = [repr(name) for name, value in state.items() if not (type(name) is str and isinstance(value, Tensor))]
    if strange:
        raise CheckpointError(f"{path}: entries that are not a name with a tensor: {_listed(strange)}")
    most = path.stat().st_size
    if large := [repr(name) for name, value in state.items() if value.numel() * value.element_size() > most]:
        raise CheckpointError(f"{path}: tensors that claim more bytes than the file has: {_listed(large)}")
    return {name: tensor.detach() for name, tensor in state.items()}


def _has_tensors(state: object) -> bool:
    return isinstance(state, dict) and any(isinstance(value, Tensor) for value in state.values())


def _listed(names: list[str]) -> str:
    """Return the first names, each as far as it fits on a line; how many more there are, after them."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"{name:.200}" for name in names[:LISTED]) + more


class _SmallReads(io.FileIO):
    """A file that refuses to read too much at once: zipfile reads a directory as a whole, and takes ten times that.

    It also refuses positions outside the file, which a damaged directory may name.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and not 0 <= offset <= os.fstat(self.fileno()).st_size:
            raise zipfile.BadZipFile("its directory points outside the file")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_PICKLE_BYTES:
            raise zipfile.BadZipFile(f"its directory alone takes {size} bytes")
        return super().read(size)


def _is_legacy(path: Path) -> bool:
    """True for a file that torch.save wrote in its format before zip files, with a pickle of any protocol."""
    with path.open("rb") as file:
        return LEGACY_MAGIC in file.read(40)


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _names_in_zip(path: Path) -> set[str]:
    """List the names that the pickles of a zip file look up. Raises CheckpointError if it is damaged or compressed."""
    try:
        with _SmallReads(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise CheckpointError(f"{path}: compressed inside, which torch.save never does; unpack it first")
            damaged = archive.testzip()
            if damaged:
                raise CheckpointError(f"{path}: damaged at {damaged}, fetch it again")
        reader = _reader(path)
        content = _pickle_in_zip(path, reader)
        return scan(io.BytesIO(content), path.stat().st_size, lambda key: reader.get_record_size(f"data/{key}"))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: damaged or incomplete, fetch it again ({error})") from None


def _reader(path: Path) -> Any:
    """Return torch's own reader of a zip file."""
    try:
        return torch._C.PyTorchFileReader(str(path))
    except (RuntimeError, IndexError, ValueError):  # the last two from a version that is not a number
        raise CheckpointError(f"{path}: a zip file, but not one of torch.save") from None


def _pickle_in_zip(path: Path, reader: Any) -> bytes:
    """Return the very bytes that torch will read: it finds its entry by rules of its own, in any case of letters."""
    try:
        content = reader.get_record("data.pkl")
    except RuntimeError:
        raise CheckpointError(f"{path}: a zip file, but not one of torch.save") from None
    if len(content) > MAX_PICKLE_BYTES:
        raise CheckpointError(f"{path}: its pickle has more than {MAX_PICKLE_BYTES} bytes, which no checkpoint needs")
    return content


def _names_in_legacy(path: Path) -> set[str]:
    """List the names that the pickles at the start of a legacy file look up.

    Another kind of pickle is read as far as possible, to list its names too.
    """
    names = set[str]()
    try:
        with path.open("rb") as opened:
            file = io.BytesIO(opened.read(MAX_PICKLE_BYTES))
        for _ in range(LEGACY_PICKLES):
            names |= scan(file, path.stat().st_size)
    except ValueError as error:
        if not names - HARMLESS:
            if _is_legacy(path):
                raise CheckpointError(f"{path}: damaged or incomplete, fetch it again ({error})") from None
            raise CheckpointError(f"{path}: not a checkpoint written by torch.save") from None
    return names
