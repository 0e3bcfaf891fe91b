"""Find the split of a data set that a user means."""

from collections.abc import Collection

from pipeline.io import storage
from schemas.errors import InputError


class NoSplitsError(InputError):
    """A split was asked for, but the data set has none, or its folder is that of one split."""

    def __init__(self, root: str, why: str):
        super().__init__(f"{root} has no splits ({why}); leave --split out")


def choose_split(root: str, split: str | None, splits: Collection[str], searched: str) -> str:
    """Return `split`, or without one the only split that exists.

    Raises InputError that lists the splits, or names what was `searched` for if there are none.
    """
    if split is None and len(splits) == 1:
        return next(iter(splits))
    if split in splits:
        return str(split)
    if splits:
        raise InputError(f"{root} has the splits {', '.join(splits)}; choose one with --split")
    raise InputError(f"no data set in {root}: {searched} not found")


def find_file(root: str, split: str | None, names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, str | None]:
    """Find the first of `names` in ROOT or in ROOT/SPLIT; return its URI and the split.

    Where `root` itself is the folder of a split, its name counts if it is one of the `known` splits. Raises InputError
    as `choose_split`, and NoSplitsError.
    """

    def file_in(folder: str) -> str | None:
        uris = (storage.join(folder, name) for name in names)
        return next((uri for uri in uris if storage.exists(uri)), None)

    if split is None and (uri := file_in(root)):
        folder = root.rpartition("/")[2]
        return uri, folder if folder in known else None
    folders = storage.names(root) if storage.is_folder(root) else []
    splits = {name: uri for name in folders if (uri := file_in(storage.join(root, name)))}
    if not splits and (uri := file_in(root)):
        raise NoSplitsError(root, uri)
    split = choose_split(root, split, splits, f"{' or '.join(names)} there or in a folder below")
    return splits[split], split
