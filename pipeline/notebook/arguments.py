"""Check the arguments of the Python interface: each problem is one InputError that says what to pass."""

from collections.abc import Iterable
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any

import numpy as np

from pipeline.io import storage
from pipeline.io.recognise import recognise
from schemas import kinds
from schemas.errors import InputError
from schemas.kinds import Kind, Role
from schemas.shown import shown

# Functions of `refervos` that take a thing.
TAKEN_BY = {
    Kind.RUN: "read_masks",
    Kind.COMPACTED: "read_masks",
    Kind.MASKS: "read_masks",
    Kind.MANIFEST: "read_pairs",
    Kind.SCORES: "read_scores",
    Kind.CHECKPOINT: "load_model",
    **dict.fromkeys((Kind.VIDEO, Kind.PICTURE, Kind.PICTURES), "Model.segment"),
}
OWN_FOLDERS = {Kind.RUN, Kind.SCORES, Kind.CHECKPOINT}
INSIDE = {  # where the right thing is in a folder
    kinds.CHECKPOINT.noun: "checkpoint",
    kinds.SCORES.noun: "scores",
    kinds.MASKS.noun: "run",
    "a run or a manifest": "manifest.parquet",
}


def path_of(value: object, name: str, role: Role, noun: str = "") -> str:
    """Return the URI of an argument that must hold what `role` asks for. `noun` replaces that of the role."""
    noun = noun or role.noun
    uri = uri_of(value, name, noun)
    kind = recognise(uri)
    if kind is Kind.ABSENT:
        raise InputError(f"{name} {shown(uri)} does not exist; pass {noun}; {role.way}")
    if kind in role.kinds or kind is Kind.READ_ONLY:
        return uri
    raise wrong_object(uri, name, kind, role, noun)


def wrong_object(uri: str, name: str, kind: Kind, role: Role, noun: str = "") -> InputError:
    """Return the error for an argument that holds something else than `role` asks for."""
    noun, inside, around = noun or role.noun, storage.join(uri, INSIDE.get(role.noun, "-")), storage.parent(uri)
    if storage.is_folder(uri) and recognise(inside) in role.kinds:
        way = f"pass {shown(inside)}"
    elif recognise(around) in role.kinds & OWN_FOLDERS:
        way = f"pass its folder, {shown(around)}"
    else:
        way = f"refervos.{TAKEN_BY[kind]} takes it" if kind in TAKEN_BY else role.way
    return InputError(f"{name} {shown(uri)} is {kind}, not {noun}; {way}")


def uri_of(value: object, name: str, noun: str) -> str:
    """Return the URI of an argument that names a file or folder."""
    path = fspath(value) if isinstance(value, str | PathLike) else None
    if not isinstance(path, str):
        raise InputError(f"{name} must be the path or URI of {noun}, got {described(value)}")
    if not path.strip():
        raise InputError(f"{name} is an empty text; pass the path or URI of {noun}")
    return storage.absolute(path)


def texts_of(value: object, name: str, what: str) -> list[str]:
    """Return an argument that is one text or several."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | PathLike):
        raise InputError(f"{name} must be {what} as str, or a list of them, got {described(value)}")
    found: list[Any] = list(value)
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"{name}[{number}] must be {what} as str, got {described(text)}")
    return found


def count_of(value: object, name: str, least: int = 1) -> int:
    """Return an argument that is a whole number."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {described(value)}")
    return int(value)


def number_of(value: object, name: str) -> float:
    """Return an argument that is a number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"{name} must be a number, got {described(value)}")
    return float(value)


def word_of(value: object, name: str, words: str) -> str:
    """Return an argument that is one of some words, which the caller checks."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be {words}, got {described(value)}")
    return value


def described(value: object) -> str:
    """Return what a wrong argument is."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, str):
        return repr(value if len(value) < 60 else f"{value[:60]}...")
    return f"a value of type {type(value).__name__}"
