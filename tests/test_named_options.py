"""A message names only options that the command which prints it has, or says which other command has them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click import Group

from cli import main
from schemas import advice

ROOT = Path(__file__).resolve().parents[1]
OPTION = re.compile(r"--[a-z][a-z-]*[a-z]")
OTHER = re.compile(r"rvos ((?:[a-z][a-z0-9-]* ?)+)")  # the command that a sentence names
COMMON = {"--help", "--json", "--version"}
# Options of programs that are not ours, and one of a version before.
FOREIGN = {"--local-dir", "--exclude", "--eval", "--decay", "--recursive"}
MODULES = {"import_dataset": "import", "import_masks": "import"}  # module of a job -> command, if not the same
# Code of 'rvos segment' and 'rvos refine', and the options of the first that it names only where the second never is.
SHARED = [
    *(ROOT / "pipeline/segment").glob("*.py"),
    *(ROOT / f"pipeline/runs/{name}.py" for name in ("attempts", "commit", "run", "shard", "retry", "refined")),
    *(ROOT / f"jobs/{name}.py" for name in ("segment", "segment_run", "segment_result", "dry_run", "refine")),
]
NOT_REFINED = {
    "--limit": "only segment takes rows of a manifest",
    "--strict": "RefineDryRunResult has another sentence",
    "--unit-frames": "refine passes UNITS_OF_RUN",
    "--context": "frames of A2D in windows of the model, where --rules ask for them",
    "--window whole": "a follower goes through windows",
}


@cache
def options_of_commands() -> dict[str, set[str]]:
    found = {}
    for name, command in main.commands.items():
        inner = command.commands if isinstance(command, Group) else {}
        members = {f"{name} {each}": one for each, one in inner.items()}
        for full, one in (members or {name: command}).items():
            found[full] = {word for parameter in one.params for word in parameter.opts if word.startswith("--")}
        if members:
            found[name] = set().union(*(found[each] for each in members))
    return found


def sentences(path: Path) -> Iterator[str]:
    """Yield the texts of a module that may be printed: all but docstrings; {} for what f-strings put in."""
    tree = ast.parse(path.read_text())
    skipped = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            skipped.add(id(body[0].value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(inner) for inner in ast.walk(node) if inner is not node}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(map(str, parts))


def named(text: str) -> set[str]:
    return set(OPTION.findall(text)) - COMMON - FOREIGN


def others(text: str) -> set[str]:
    """Return the options of the commands that a sentence names as `rvos COMMAND`."""
    found = set[str]()
    for words in OTHER.findall(text):
        *_, command = ["", *(name for name in options_of_commands() if f"{words} ".startswith(f"{name} "))]
        found |= options_of_commands().get(command, set())
    return found


def command_of(path: Path) -> str:
    return MODULES.get(path.stem, path.stem.replace("_", "-"))


JOBS = [path for path in sorted((ROOT / "jobs").glob("*.py")) if command_of(path) in options_of_commands()]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_names_options_of_its_command(path):
    own = options_of_commands()[command_of(path)]
    wrong = {text: found for text in sentences(path) if (found := named(text) - own - others(text))}
    known = {"created with --unsafe-storage: {}", "{} --retry-errors"}  # what a run was made with; a command line
    assert {text: found for text, found in wrong.items() if text not in known} == {}


@pytest.mark.parametrize("folder", ["jobs", "pipeline", "model", "schemas"])
def test_every_option_that_is_named_exists(folder):
    """And is one of the command that the sentence names, if it names one."""
    every = set().union(*options_of_commands().values())
    for path in (ROOT / folder).rglob("*.py"):
        for text in sentences(path):
            assert named(text) <= every, f"{path}: {text}"
            quoted = [words for words in re.findall(r"'(rvos [^']*--[^']*)'", text) if "{" not in words.split()[1]]
            for words in quoted:
                assert named(words) <= others(words), f"{path}: {words}"


def test_what_segment_and_refine_share_names_options_of_both():
    refine = options_of_commands()["refine"]
    for path in SHARED:
        assert path.is_file(), path
        for text in sentences(path):
            lacking = named(text) - refine - others(text)
            excused = {option for option in lacking if any(key.startswith(option) for key in NOT_REFINED)}
            assert lacking <= excused, f"{path}: {text}"


@pytest.mark.parametrize("way", advice.ALL)
def test_error_rows_of_a_refined_run_name_its_options(way):
    row = advice.for_refined(f"v.mp4: something is wrong; {way.run}")
    assert named(row) <= options_of_commands()["refine"] | {"--rebase"} & others(row)
    assert "video_uri" not in row  # refine takes no manifest
    assert "manifest" not in row or "'rvos import masks'" in row
    assert named(way.run) <= options_of_commands()["segment"]
