"""Imports point one way: cli -> jobs -> pipeline -> model, with schemas below; model knows tensors only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "cli": {"cli", "jobs", "pipeline", "schemas"},
    "jobs": {"jobs", "pipeline", "model", "schemas"},
    "pipeline": {"pipeline", "model", "schemas"},
    "model": {"model"},
    "schemas": {"schemas"},
}
SOURCES = sorted([ROOT / "cli.py", *(path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))])


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    ours = imported(path) & set(ALLOWED)
    assert ours <= ALLOWED[layer]


@pytest.mark.parametrize("library", ["fsspec", "s3fs", "pickle", "torchvision"])
def test_who_may_use(library):
    users = {str(path.relative_to(ROOT)) for path in SOURCES if library in imported(path)}
    assert users <= ({"pipeline/io/remote.py"} if library == "fsspec" else set())


def test_ray_starts_in_one_place():
    users = {str(path.relative_to(ROOT)) for path in SOURCES if "ray.init(" in path.read_text()}
    assert users == {"pipeline/cluster/session.py"}
