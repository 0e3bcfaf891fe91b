"""The log of a training: one JSON object per line, and a plot of them."""

import json
from typing import Any

from pipeline.io import storage
from schemas.errors import InputError
from schemas.json_text import parse_object

LOG, PLOT = "log.jsonl", "log.png"
MAX_BYTES = 2**28
MAX_LINES = 2**18
NUMBERS = {  # of each kind of entry, as commands and plots show them
    "step": ("step", "epoch", "rate", "loss", "sentences_per_second"),
    "heldout": ("step", "epoch", "J&F", "J", "F", "pairs"),
}
ANOTHER = "train again with another --out"


class TrainingLog:
    """The log of a training up to `step`. Later entries are dropped, since their steps run again."""

    def __init__(self, folder: str, step: int) -> None:
        self.folder = folder
        self.lines = [line for line in read_log(folder) if line["step"] <= step]

    def add(self, kind: str, **values: Any) -> None:
        """Append an entry."""
        self.lines.append({"kind": kind, **values})
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        storage.write_bytes(storage.join(self.folder, LOG), text.encode())

    def plot(self) -> None:
        """Plot the loss on a logarithmic axis, and the held-out J&F, over the steps."""
        from matplotlib.figure import Figure  # without pyplot, which needs a display

        steps = [line for line in self.lines if line["kind"] == "step"]
        scores = [line for line in self.lines if line["kind"] == "heldout"]
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot([line["step"] for line in steps], [line["loss"] for line in steps], color="tab:blue", label="loss")
        axes.set(xlabel="optimizer step", ylabel="loss", yscale="log")
        if scores:
            right = axes.twinx()
            right.plot([line["step"] for line in scores], [line["J&F"] for line in scores], "o-", color="tab:orange")
            right.set(ylabel="held-out J&F", ylim=(0, 1))
        uri = storage.join(self.folder, PLOT)
        with storage.spool(uri) as path:
            figure.savefig(path, format="png", dpi=100)
            storage.commit(path, uri, replace=True)


def read_log(folder: str) -> list[dict]:
    """Read all entries so far. Raises InputError if the log is damaged, or another program's."""
    uri = storage.join(folder, LOG)
    try:
        content = storage.read_bytes(uri, limit=MAX_BYTES)
    except FileNotFoundError:
        return []
    if content.count(b"\n") > MAX_LINES:
        raise InputError(f"{uri} has more than {MAX_LINES} lines; {ANOTHER}")
    return [_entry(line, f"{uri}, line {number}") for number, line in enumerate(content.splitlines(), 1)]


def _entry(line: bytes, place: str) -> dict:
    try:
        entry = parse_object(line)
    except ValueError as error:
        raise InputError(f"{place} is damaged: {error}; {ANOTHER}") from None
    kind = entry.get("kind")
    for name in NUMBERS.get(kind, ("kind",)) if isinstance(kind, str) else ("kind",):
        if type(entry.get(name)) not in (int, float):
            raise InputError(f"{place} is damaged: its {name} is {entry.get(name)!r:.100}; {ANOTHER}")
    return entry
