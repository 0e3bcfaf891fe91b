"""Imports point one way: between the layers, between the rooms of a layer, and between files."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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
# Registries of pure data: all that cli.py may import below jobs.
CLI_DATA = {"pipeline.evaluation.protocols", "schemas.errors", "schemas.printable", "schemas.shown", "schemas.version"}
# The floors of each layer, lowest first. A room is a folder or a file; it imports from lower floors only.
FLOORS = {
    "schemas": [
        ["access", "advice", "json_fields", "json_text", "kinds", "pair", "plain", "printable", "rle", "version"],
        ["shown"],
        ["errors"],
        ["check", "uri"],
        ["manifest", "masks", "scores"],
    ],
    "model": [
        [
            "errors",
            "memory",
            "device",
            "bundled",
            "boxes",
            "input_size",
            "referformer.checks",
            "referformer.pickle_scan",
        ],
        ["segmenter", "safetensors_header", "finite_weights", "referformer.network.backbones"],
        ["referformer.config"],
        ["referformer.network", "referformer.pth"],
        ["referformer.tokenizer", "referformer.backbone_of"],
        ["referformer.inference", "referformer.training", "referformer.pretrained"],
        ["referformer.checkpoint"],
        ["referformer.family", "sam"],
        ["families"],
    ],
    "pipeline": [
        ["io"],
        ["video", "runs", "cluster"],
        ["masks", "segment"],
        ["drawing"],
        ["evaluation", "export"],
        ["datasets", "selection", "training"],
        ["report", "notebook", "imported"],
    ],
    "jobs": [["config"], ["terminal"], [""]],
}
SOURCES = sorted([ROOT / "cli.py", *(path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))])


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def imported(path: Path) -> set[str]:
    """Modules that a file imports at run time, also inside functions: in full for ours."""
    names, skipped = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for inner in ast.walk(node)}
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            names |= inner or {node.module}
    return names


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def floors(layer: str) -> dict[str, int]:
    """Module -> floor, for all modules of a layer but its `__init__.py` files, which import nothing of it."""
    found = {}
    for name in MODULES:
        if name.startswith(f"{layer}."):
            inside = name.removeprefix(f"{layer}.")
            rooms = [
                (len(room), floor) for floor, rooms in enumerate(FLOORS[layer]) for room in rooms if is_in(inside, room)
            ]
            if rooms:
                found[name] = max(rooms)[1]
    return found


def is_in(name: str, room: str) -> bool:
    return not room or f"{name}.".startswith(f"{room}.")


def room_of(name: str) -> str:
    layer, _, inside = name.partition(".")
    rooms = [room for rooms in FLOORS.get(layer, []) for room in rooms if is_in(inside, room)]
    return f"{layer}.{max(rooms, key=len)}" if rooms else layer


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    ours = {name.partition(".")[0] for name in IMPORTS[module_name(path)]} & set(ALLOWED)
    assert ours <= ALLOWED[layer]


@pytest.mark.parametrize("layer", FLOORS)
def test_rooms_import_from_lower_floors_only(layer):
    floor = floors(layer)
    upwards = [
        f"{name} (floor {floor[name]}) imports {other} (floor {floor[other]})"
        for name in floor
        for other in IMPORTS[name] & set(floor)
        if room_of(name) != room_of(other) and floor[other] >= floor[name]
    ]
    assert not upwards


@pytest.mark.parametrize("layer", FLOORS)
def test_every_module_has_a_floor(layer):
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert {name for name in MODULES if name.startswith(f"{layer}.")} - set(floors(layer)) <= packages


def test_no_circle_of_files():
    ours = {name: IMPORTS[name] & set(MODULES) - {name} for name in MODULES}
    try:
        TopologicalSorter(ours).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_circle_of_rooms():
    rooms: dict[str, set[str]] = {}
    for name in MODULES:
        rooms.setdefault(room_of(name), set()).update(
            room_of(other) for other in IMPORTS[name] & set(MODULES) if room_of(other) != room_of(name)
        )
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_command_line_imports_jobs_and_pure_data():
    ours = {name for name in IMPORTS["cli"] if name.partition(".")[0] in ALLOWED and not name.startswith("jobs.")}
    assert ours == CLI_DATA


@pytest.mark.parametrize("library", ["fsspec", "s3fs", "pickle", "torchvision"])
def test_who_may_use(library):
    users = {str(path.relative_to(ROOT)) for path in SOURCES if library in tops(path)}
    assert users <= ({"pipeline/io/filesystem.py"} if library == "fsspec" else set())


def tops(path: Path) -> Iterator[str]:
    return (name.partition(".")[0] for name in IMPORTS[module_name(path)])


def test_ray_starts_in_one_place():
    users = {str(path.relative_to(ROOT)) for path in SOURCES if "ray.init(" in path.read_text()}
    assert users == {"pipeline/cluster/session.py"}


def test_parquet_is_opened_in_one_place():
    """There its sizes are bounded before they take memory; footers alone may be read elsewhere."""
    opening = re.compile(r"pq\.ParquetFile\([^)]|pq\.read_table\(|\bParquetDataset\(|\bread_parquet\(|\bds\.dataset\(")
    users = {str(path.relative_to(ROOT)) for path in SOURCES if opening.search(path.read_text())}
    assert users == {"pipeline/io/plain_parquet.py"}


def test_text_reaches_the_terminal_in_one_place():
    printing = {
        str(path.relative_to(ROOT)) for path in SOURCES if re.search(r"\bprint\(|click\.echo\(", path.read_text())
    }
    assert printing == {"jobs/terminal/output.py", "jobs/terminal/progress.py"}  # progress shows counts alone
