"""What the documentation says of data sets is what the code says."""

import re
import shlex
from pathlib import Path

from cli import main
from jobs.import_dataset import DATA_SETS, ImportConfig

TEXT = (Path(__file__).resolve().parents[3] / "docs/datasets.md").read_text()


def test_counts_of_the_docs():
    table = TEXT.partition("## Is the download complete?")[2].partition("\n\nThe rows of")[0]
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in table.splitlines()[6:]]
    published = [counts for data_set in DATA_SETS.values() for counts in data_set.published]
    assert rows == [
        [counts.split, str(counts.videos or ""), str(counts.expressions or ""), counts.source] for counts in published
    ]


def test_every_data_set_is_told():
    for heading in ("## Layouts", "## What becomes what"):
        table = TEXT.partition(heading)[2].partition("\n\n")[2].partition("\n\n")[0]
        names = [name for line in table.splitlines() for name in re.findall("`([a-z0-9-]+)`", line.split("|")[1])]
        assert names == list(DATA_SETS)


def test_every_example_parses():
    lines = re.findall(r"^ *rvos import (.+)$", TEXT + str(main.commands["import"].help), re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        options = main.commands["import"].make_context("import", shlex.split(line)).params
        options.pop("as_json")
        ImportConfig(**options)
