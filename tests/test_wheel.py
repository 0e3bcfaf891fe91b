"""The wheel, built from the tree and installed into a clean environment, works from another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        sources = {name for name in archive.namelist() if name.endswith(".py")}
        names = {name.removeprefix("pipeline/report/") for name in archive.namelist()}
        tiny = {name for name in archive.namelist() if name.startswith("model/tiny/")}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pipeline", "model", "jobs", "schemas", "cli.py"}
    tree = {
        "cli.py",
        *(str(p.relative_to(ROOT)) for top in tops for p in (ROOT / top).rglob("*.py") if (ROOT / top).is_dir()),
    }
    assert sources == tree
    assert {path.name for path in (ROOT / "pipeline/report").iterdir() if path.suffix in (".j2", ".css")} <= names
    assert tiny == {str(path.relative_to(ROOT)) for path in (ROOT / "model" / "tiny").iterdir()}


@pytest.mark.timeout(1500)
def test_help_and_demo_from_another_folder(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path)
    python = tmp_path / "clean" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rvos = tmp_path / "clean" / "bin" / "rvos"
    assert "rvos segment" in run(rvos, "--help", cwd=elsewhere)
    output = run(rvos, "demo", "--out", "demo", cwd=elsewhere)
    assert "not the world" in output
    assert "clean: every pair is there exactly once" in output
    assert (elsewhere / "demo").is_dir()
