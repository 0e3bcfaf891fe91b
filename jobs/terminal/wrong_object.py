"""Say what the argument of a command is, if it is not what the command takes, and what to type instead."""

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import fields
from itertools import combinations, permutations
from typing import Any, NamedTuple

from jobs.config.options import KEY, Option, label_of
from jobs.terminal.command_line import typed_command
from pipeline.io import storage
from pipeline.io.recognise import recognise
from pipeline.io.stand_in import HEAD_BYTES, stand_in
from schemas import kinds
from schemas.errors import InputError, StorageError
from schemas.kinds import Kind, Role
from schemas.shown import shown
from schemas.uri import ARCHIVES, HTTP, scheme_of

# Where the right thing often is: beside the given path, or in it.
USUAL = (
    *("manifest.parquet", "annotations.parquet", "checkpoint", "run", "scores", "masks", "Annotations"),
    *("data/manifest.parquet", "data/annotations.parquet", "videos"),
)
TABLES = {Kind.MANIFEST, Kind.MASKS, Kind.ANNOTATIONS, Kind.SCORE_TABLE}
SURE = {
    *(Kind.MANIFEST, Kind.MASKS, Kind.ANNOTATIONS, Kind.PNG_TREE, Kind.RUN, Kind.SCORES, Kind.CHECKPOINT),
    *(Kind.TOKENIZER, Kind.BOARD, Kind.IMPORTED, Kind.COMPACTED),
}
STAND_INS = {Kind.TEXT, Kind.PACKED, Kind.FILE, Kind.CSV}  # kinds that a pointer or a web page seems to be
OF_RUNS = ("masks", "plan", "attempts", "receipts", "log")  # folders of a run that commands look through
ONE_VIDEO = "'rvos demo --video {path} --expression \"the red car\" --checkpoint checkpoint/' segments it"
VIDEOS = "'rvos import folder {path} --expressions sentences.csv --out data/' writes data/manifest.parquet"
LIST = "if it lists videos, 'rvos import list {path} --out data/' makes a manifest of it"
NO_WEIGHTS = (
    "it has no weights that can be read (model.safetensors): download the whole folder; facebook/sam3.1 has no such "
    "weights, facebook/sam3 has"
)
CONVERT = "'rvos convert {path} --tokenizer roberta-base/ --out checkpoint/' makes a checkpoint folder of it"
SEGMENT = "'rvos segment {path} runs/first --checkpoint checkpoint/' makes a run of it"
SAVE_AS_PNG = "if these are masks, save them as PNG, which keeps every value (JPEG does not)"
EVALUATE = "'rvos evaluate {path} data/annotations.parquet --out scores/' scores it"
OF_RUN = "give the manifest of that run: run.json in {path} names it"
MAKE_WITH = "'rvos convert FILE.pth --tokenizer {path} --out checkpoint/' makes a checkpoint folder with it"
TO_MANIFEST = {
    Kind.RUN: OF_RUN,
    **dict.fromkeys((Kind.VIDEO, Kind.PICTURE, Kind.PICTURES), ONE_VIDEO),
    **dict.fromkeys((Kind.VIDEOS, Kind.PICTURE_TREE), VIDEOS),
    **dict.fromkeys((Kind.CSV, Kind.TSV, Kind.JSONL), LIST),
    Kind.SHARDS: "'rvos import webdataset {path} --out data/' writes data/manifest.parquet",
    Kind.TAR: "'rvos import webdataset {path} --out data/' writes data/manifest.parquet",
    Kind.DATASET: "'rvos import davis {path} --out data/' writes data/manifest.parquet; 'rvos import --help' "
    "lists other data sets",
}
# What to type with a thing to get what an argument takes, by the noun of the latter.
LEADS = {
    kinds.MANIFEST.noun: TO_MANIFEST,
    kinds.PLANNED.noun: TO_MANIFEST,
    kinds.DATASET.noun: {Kind.VIDEO: ONE_VIDEO, **dict.fromkeys((Kind.CSV, Kind.TSV, Kind.JSONL), LIST)},
    kinds.CHECKPOINT.noun: {Kind.PTH: CONVERT, Kind.TOKENIZER: f"{MAKE_WITH}; if it is a whole model, {NO_WEIGHTS}"},
    kinds.REFINER.noun: {Kind.TOKENIZER: NO_WEIGHTS},
    kinds.PUBLISHED.noun: {
        Kind.CHECKPOINT: "it needs no conversion: 'rvos segment data/manifest.parquet runs/first --checkpoint {path}' "
        "takes it",
    },
    kinds.RUN.noun: {Kind.MANIFEST: SEGMENT},
    kinds.MASKS.noun: {Kind.MANIFEST: SEGMENT},
    kinds.PREDICTIONS.noun: {Kind.MANIFEST: SEGMENT, Kind.PICTURE_TREE: SAVE_AS_PNG},
    **{role.noun: {Kind.PICTURE_TREE: SAVE_AS_PNG} for role in (kinds.ANNOTATIONS, kinds.FOREIGN_MASKS)},
    kinds.SCORES.noun: dict.fromkeys((Kind.RUN, Kind.MASKS, Kind.COMPACTED, Kind.PNG_TREE), EVALUATE),
    kinds.BOARD.noun: {Kind.SCORES: "'rvos leaderboard add boards/mine {path} --name mine' makes one of it"},
    kinds.VIDEO.noun: {Kind.VIDEOS: VIDEOS, Kind.PICTURE_TREE: VIDEOS},
}


class Place(NamedTuple):
    """One path among the arguments of a command."""

    name: str  # of the field
    number: int  # among its values
    label: str  # as the help calls it
    path: str
    role: Role
    kind: Kind

    @property
    def fits(self) -> bool:
        return not self.role.is_new if self.kind is Kind.READ_ONLY else self.kind in self.role.kinds

    @property
    def may_be_wrong(self) -> bool:
        """False for what is not there: the job says so itself."""
        return not self.fits and self.kind is not Kind.ABSENT

    def is_swapped_with(self, other: "Place") -> bool:
        """True if each is where the other belongs, and at least one is wrong there and the other one sure."""
        right = [place.kind for place in (self, other) if place.fits]
        belong = self.kind in other.role.kinds and other.kind in self.role.kinds
        return belong and len(right) < 2 and SURE.issuperset(right)


def refuse_wrong_objects(config: Any, command: str, given: dict[str, Any]) -> None:
    """Raise InputError if a path of a config is empty, or holds something else than the command takes.

    Raises StorageError if this user may not read it.

    command: its words after `rvos`. given: its options as typed, for the command with two paths swapped.
    """
    for place in _named(config):
        if not place.path.strip():  # as a path it would be this folder
            raise InputError(f"{place.label} is empty; is a shell variable not set? For this folder, type .")
    places = _places(config)
    _refuse_nested(places)
    wrong = next((place for place in places if place.may_be_wrong), None)
    if wrong is None:
        return
    if wrong.kind is Kind.CLOSED:
        raise StorageError(f"{wrong.label} {shown(wrong.path)} cannot be opened: permission denied")
    for one, other in combinations(places, 2):
        if one.is_swapped_with(other):
            text = f"{one.label} and {other.label} are swapped: {wrong.label} {shown(wrong.path)} is {wrong.kind}"
            raise InputError(f"{text}; type '{_swapped(config, command, given, one, other)}'")
    path = shown(wrong.path)
    if (found := _stand_in(wrong)) is not None:
        raise InputError(f"{wrong.label} {path} is not {wrong.role.noun}, but {found}")
    raise InputError(f"{wrong.label} {path} is {wrong.kind}, not {wrong.role.noun}; {_way(wrong)}")


def _places(config: Any) -> list[Place]:
    """Return the paths of a config with what they hold.

    Local ones come first: if one of them is wrong or not there, a storage is only asked where the two may be swapped.
    One that does not answer would hide the mistake.
    """
    named = list(_named(config))
    found = {place: place._replace(kind=recognise(place.path)) for place in named if _costs_nothing(place.path)}
    remote = [place for place in named if place not in found]
    wrong = [place for place in found.values() if not place.fits]
    if wrong and not any(one.kind in SURE & other.role.kinds for one in wrong for other in remote):
        return list(found.values())
    found |= {place: place._replace(kind=recognise(place.path)) for place in remote}
    return [found[place] for place in named]


def _costs_nothing(uri: str) -> bool:
    """Return True for what is local, and for addresses that `recognise` does not open."""
    return storage.is_local(uri) or scheme_of(uri) in (*HTTP, *ARCHIVES)


def _named(config: Any) -> Iterator[Place]:
    """Yield the paths of a config as ABSENT: nobody has looked yet."""
    for field in fields(config):
        option: Option = field.metadata[KEY]
        values = getattr(config, field.name)
        role = getattr(config, "roles", {}).get(field.name) or option.takes
        if role is None:
            continue
        for number, path in enumerate(values if isinstance(values, tuple) else (values,)):
            if path is not None and path not in option.names:
                yield Place(field.name, number, label_of(field.name, option), path, role, Kind.ABSENT)


def _refuse_nested(places: list[Place]) -> None:
    """Raise InputError if a command would write to a run that it reads, or put a run into another one."""
    for new, run in permutations(places, 2):
        if not new.role.is_new or run.kind is not Kind.RUN or run.role.is_new:
            continue
        out, folder = (storage.absolute(place.path).rstrip("/") for place in (new, run))
        own = [storage.join(folder, name) for name in OF_RUNS]
        if out == folder:
            relation = "are the same folder"
        elif any(out == name or out.startswith(f"{name}/") for name in own) or (
            out.startswith(f"{folder}/") and Kind.RUN in new.role.kinds
        ):
            relation = f"may not be inside each other: {shown(new.path)} is in {shown(run.path)}"
        else:
            continue
        raise InputError(f"{run.label} and {new.label} {relation}; choose another {new.label}")


def _stand_in(place: Place) -> str | None:
    """Return what was saved in place of a file, and the way out, as `stand_in`; None if it is a file of its own."""
    if place.kind not in STAND_INS:
        return None
    with contextlib.suppress(OSError), storage.open_input(storage.absolute(place.path)) as file:
        return stand_in(file.read(HEAD_BYTES))
    return None


def _swapped(config: Any, command: str, given: dict[str, Any], one: Place, other: Place) -> str:
    """Return the command line with two paths swapped."""
    options = {field.name: given[field.name] for field in fields(config) if given[field.name] != field.default}
    for place, path in ((one, other.path), (other, one.path)):
        values = options[place.name]
        if isinstance(values, tuple):
            path = (*values[: place.number], path, *values[place.number + 1 :])
        options[place.name] = path
    return typed_command(command, type(config), options)


def _way(place: Place) -> str:
    """Return what to type in place of a wrong path: one near it, a command that makes the right thing, or advice."""
    path, role = place.path.rstrip("/"), place.role
    inside = [storage.join(path, name) for name in USUAL] if storage.is_folder(path) else []
    folder = storage.parent(path)
    beside = [folder, *(storage.join(folder, name) for name in (USUAL if place.kind in TABLES else ()))]
    if near := _first_that_fits(inside, role):
        return near
    if lead := LEADS.get(role.noun, {}).get(place.kind):
        return lead.format(path=shlex.quote(shown(place.path)))
    return _first_that_fits(beside, role) or role.way


def _first_that_fits(uris: list[str], role: Role) -> str:
    """Return the advice to give the first of these paths that is what `role` asks for; "" if none is."""
    found = ((uri, recognise(uri)) for uri in uris if not role.is_new)
    sure = SURE & role.kinds if Kind.ANNOTATIONS in role.kinds else SURE & role.kinds - {Kind.IMPORTED}
    fitting = ((uri, kind) for uri, kind in found if kind in sure)
    return next((f"give {shown(uri).removeprefix('./')}, which is {kind}" for uri, kind in fitting), "")
