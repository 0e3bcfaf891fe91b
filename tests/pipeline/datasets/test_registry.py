"""The registry of data sets: it agrees with the documentation, and a new data set is one line in it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from cli import main
from jobs import import_dataset
from jobs.import_dataset import ImportConfig
from pipeline.datasets.registry import DATASETS, Dataset, PublishedCounts
from pipeline.io.manifest import read_manifest

TEXT = (Path(__file__).resolve().parents[3] / "docs/datasets.md").read_text()


def test_counts_of_the_docs():
    table = TEXT.partition("## Is the download complete?")[2].partition("\n\nThe published numbers of")[0]
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in table.splitlines()[6:]]
    published = [counts for dataset in DATASETS.values() for counts in dataset.published]
    assert rows == [
        [counts.split, str(counts.videos or ""), str(counts.expressions or ""), counts.source] for counts in published
    ]


def test_every_data_set_is_documented():
    for heading in ("## Layouts", "## Objects and attributes"):
        table = TEXT.partition(heading)[2].partition("\n\n")[2].partition("\n\n")[0]
        names = [name for line in table.splitlines() for name in re.findall("`([a-z0-9-]+)`", line.split("|")[1])]
        assert names == list(DATASETS)


def test_every_example_parses():
    lines = re.findall(r"^ *rvos import (.+)$", TEXT + str(main.commands["import"].help), re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        options = main.commands["import"].make_context("import", shlex.split(line)).params
        options.pop("as_json")
        ImportConfig(**options)


READER = '''
"""A text file: the path of a video and a sentence in each line."""

from pipeline.datasets.common.dataset_video import DatasetVideo
from pipeline.io import storage


def read(root, split=None):
    for line in storage.read_bytes(storage.join(root, f"{split}.txt")).decode().splitlines():
        path, sentence = line.split(" ", 1)
        pair = {"video_id": path, "video_uri": storage.join(root, path), "expression_id": "0", "expression": sentence}
        yield DatasetVideo(path, pairs=[pair | {"object_ids": None}])
'''


def test_a_new_data_set_is_a_file_and_a_line(tmp_path, monkeypatch):
    (tmp_path / "lines_dataset.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    counts = PublishedCounts("train", 2, None, "its authors")
    lines = Dataset(reader="lines_dataset:read", layout="SPLIT.txt", published=(counts,))
    monkeypatch.setitem(DATASETS, "lines", lines)
    (tmp_path / "train.txt").write_text("a.mp4 the red circle\nb.mp4 the blue square\n")
    config = ImportConfig(dataset="lines", root=str(tmp_path), out=str(tmp_path / "out"), split="train")
    result = import_dataset.run(config)
    assert (result.videos, result.pairs, result.published) == (2, 2, ("train: 2 videos (its authors)",))
    assert read_manifest(str(result.manifest))["expression"].to_pylist() == ["the red circle", "the blue square"]


def test_every_reader_can_be_imported():
    assert all(callable(dataset.read) and dataset.layout for dataset in DATASETS.values())


def test_the_registry_is_light():
    code = "import pipeline.datasets.registry, sys; print({'pyarrow', 'numpy', 'torch'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
