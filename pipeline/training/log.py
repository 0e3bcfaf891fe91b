"""What a training says of itself: one JSON object a line, and a picture of it."""

import json
from typing import Any

from pipeline.io import storage

LOG, PLOT = "log.jsonl", "log.png"


class TrainingLog:
    """The log of a run, as far as `step`; later lines, of steps that are done again, are dropped."""

    def __init__(self, folder: str, step: int) -> None:
        self.folder = folder
        self.lines = [line for line in read_log(folder) if line["step"] <= step]

    def add(self, kind: str, **values: Any) -> None:
        """Write one more line."""
        self.lines.append({"kind": kind, **values})
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        storage.write_bytes(storage.join(self.folder, LOG), text.encode())

    def plot(self) -> None:
        """Draw loss and held-out scores over the steps."""
        with storage.spool(storage.join(self.folder, PLOT)) as path:
            draw(self.lines, path)
            storage.commit(path, storage.join(self.folder, PLOT), replace=True)


def read_log(folder: str) -> list[dict]:
    """All lines so far."""
    uri = storage.join(folder, LOG)
    return [json.loads(line) for line in storage.read_bytes(uri).splitlines()] if storage.exists(uri) else []


def draw(lines: list[dict], path: str) -> None:
    """PNG at `path`: loss on a logarithmic axis, J&F beside it."""
    from matplotlib.figure import Figure  # without pyplot there is no global state and no display

    steps = [line for line in lines if line["kind"] == "step"]
    scores = [line for line in lines if line["kind"] == "heldout"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([line["step"] for line in steps], [line["loss"] for line in steps], color="tab:blue", label="loss")
    axes.set(xlabel="optimizer step", ylabel="loss", yscale="log")
    if scores:
        beside = axes.twinx()
        beside.plot([line["step"] for line in scores], [line["J&F"] for line in scores], "o-", color="tab:orange")
        beside.set(ylabel="held-out J&F", ylim=(0, 1))
    figure.savefig(path, format="png", dpi=100)
