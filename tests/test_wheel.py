"""The wheel, built from the tree and installed into a clean environment, works from another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = "raise SystemExit('this module is the user\\'s, not that of refervos')\n"

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder with the commands of a clean environment that has the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "clean", cwd=folder)
    commands = folder / "clean" / "bin"
    run(commands / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return commands


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A folder with modules of the names that refervos uses."""
    for name in ("model", "schemas"):
        (tmp_path / "foreign" / name).mkdir(parents=True)
        (tmp_path / "foreign" / name / "__init__.py").write_text(FOREIGN)
    for name in ("cli", "pipeline", "jobs"):
        (tmp_path / "foreign" / f"{name}.py").write_text(FOREIGN)
    return tmp_path / "foreign"


def test_the_wheel_holds_one_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    layers = ("pipeline", "model", "jobs", "schemas")
    sources = {str(path.relative_to(ROOT)) for layer in layers for path in (ROOT / layer).rglob("*.py")}
    templates = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pipeline").rglob("*")
        if path.suffix in (".j2", ".css", ".toml")
    }
    weights = {
        f"model/tiny/{name}"
        for name in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "MODEL_CARD.md")
    }
    files = {"__init__.py", "cli.py"} | sources | templates | weights
    assert names == {f"refervos/{name}" for name in files}


@pytest.mark.timeout(1500)
def test_help_and_demo_from_another_folder(installed, tmp_path):
    assert "rvos segment" in run(installed / "rvos", "--help", cwd=tmp_path)
    output = run(installed / "rvos", "demo", "--out", "demo", cwd=tmp_path)
    assert "clean: every pair is there exactly once" in output
    assert (tmp_path / "demo").is_dir()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("source", ["wheel", "checkout"])
def test_modules_of_the_same_names_are_left_alone(source, installed, foreign, shapes, checkpoint, tmp_path):
    commands = installed if source == "wheel" else Path(sys.executable).parent
    options = ["--checkpoint", checkpoint, "--short-side", "32", "--window", "4"]
    output = run(
        commands / "rvos", "segment", shapes[0], tmp_path / "run", *options, cwd=foreign, PYTHONPATH=str(foreign)
    )
    assert "9 with masks, 0 failed" in output


def test_python_interface_of_the_wheel(installed, tmp_path):
    script = """
import sys
import refervos
assert "torch" not in sys.modules
import numpy as np
(found,) = refervos.load_model().segment(np.zeros((2, 64, 64, 3), np.uint8), "a red circle")
print(found.masks.shape)
"""
    assert run(installed / "python", "-c", script, cwd=tmp_path) == "(2, 64, 64)\n"


@pytest.mark.parametrize("use", ["refervos.main()", "refervos.load_model()"])
def test_a_foreign_module_that_is_already_imported_is_an_error(use, foreign):
    (foreign / "model" / "__init__.py").write_text("")
    script = f"import sys; sys.path.insert(0, '.'); import model, refervos; {use}"
    done = subprocess.run([sys.executable, "-c", script], cwd=foreign, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{foreign}/model is imported under that name in this process" in done.stderr
