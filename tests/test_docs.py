"""Examples in the docs run as printed and print what their comments state; files that the docs name exist.

Python blocks fenced as `py` need tools that the tests do not install.
"""

import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import refervos
from cli import main
from jobs.terminal.command_line import canonical_command
from model.referformer.training.matcher import Coefficients
from model.referformer.training.optimizer import Rates
from pipeline.io import storage
from pipeline.training.augment import Augmentation
from pipeline.training.recipe import Recipe, SmallModelOptions
from pipeline.training.recipes import RECIPES
from schemas import rle
from tests.handmade import counted_from_one, run_of_truth
from tests.tiny_sam import write_sam2

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GUIDE, PYTHON = DOCS / "pseudo-labelling.md", DOCS / "python.md"
EXAMPLES = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    if page not in (GUIDE, PYTHON)
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language ("" for commands) and text of each example, in order."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path, *, continued: bool = False) -> list[str]:
    texts = [text for language, text in blocks(page) if not language]
    texts = [text.replace("\\\n", " ") if continued else text for text in texts]
    return [line for text in texts for line in text.splitlines() if line[:5] == "rvos "]


def typed(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line)[1:], catch_exceptions=False)


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_print_what_their_comments_say(code, capsys):
    exec(compile(code, "example", "exec"), {})
    expected = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == expected


def test_paths_named_by_the_pages_exist():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/RESULTS.md", *DOCS.glob("*.md")]
    folders = "model|pipeline|jobs|schemas|tests|benchmarks|docs"
    for page in pages:
        paths = re.findall(rf"(?<![\w./])(?:{folders})/[\w/.-]*\w", page.read_text())
        assert [path for path in paths if "mine" not in path and not (ROOT / path).exists()] == [], page


def test_sections_named_by_links_exist():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md"), ROOT / "model/tiny/MODEL_CARD.md"]
    for page in pages:
        for file, section in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", page.read_text()):
            named = (page.parent / file).resolve() if file else page
            titles = re.findall(r"^#+ (.*)$", named.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert section in anchors, f"{page.name}: {file}#{section}"


def test_every_command_of_the_pages_is_accepted():
    """Parsed only: names, options and choices of each command, and of those that are submitted."""
    lines = [line for page in [ROOT / "README.md", *DOCS.glob("*.md")] for line in commands(page, continued=True)]
    assert len(lines) > 60
    for line in lines:
        words = shlex.split(re.sub(r" (> \S+|&|\|.*)$", "", line), comments=True)[1:]
        if "..." in words or words == ["--help"]:
            continue
        group: click.Command = main
        while isinstance(group, click.Group):
            group = group.commands[words.pop(0)]
        with contextlib.suppress(click.exceptions.Exit), group.make_context("rvos", words) as context:  # --explain
            if group.name == "submit" or "command" in context.params:
                canonical_command(main, context.params["command"])


def test_registries_named_by_the_page_on_extending_exist():
    page = (DOCS / "extending.md").read_text()
    rows = re.findall(r"^\| an? .*\| `([A-Z_]+)` in `([\w/]+)\.py` \|$", page, re.MULTILINE)
    assert len(rows) == 8
    for name, path in rows:
        assert len(getattr(import_module(path.replace("/", ".")), name)) > 0


def test_every_recipe_and_all_its_keys_are_documented():
    page = (DOCS / "training.md").read_text()
    keys = [
        field.name for part in (Recipe, SmallModelOptions, Augmentation, Rates, Coefficients) for field in fields(part)
    ]
    assert [name for name in (*keys, *RECIPES) if f"`{name}`" not in page] == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1500)
def test_the_guide_from_videos_to_a_trained_checkpoint(ray_session, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "model/tiny", tmp_path / "checkpoint")
    monkeypatch.chdir(tmp_path)
    for language, text in blocks(GUIDE):
        if language == "python":
            exec(compile(text, "example", "exec"), {})
        elif language == "toml":
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
        elif not language:
            for line in filter(None, text.splitlines()):
                result = typed(line)
                print(f"$ {line}\n{result.output}")
                assert result.exit_code == 0, (line, result.output)
    assert Path("kept/report.html").is_file()
    assert Path("student/checkpoint/model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.ray
def test_the_recipe_in_two_steps(ray_session, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "model/tiny", "checkpoint")
    shutil.copytree(Path(shapes[0]).parent, "data")
    write_sam2(tmp_path / "sam2.1-hiera-large", seed=1)
    recipes = [text for language, text in blocks(DOCS / "models.md") if language == "sh"]
    for line in recipes[0].splitlines():
        result = typed(line)
        assert result.exit_code == 0, (line, result.output)
    assert "J&F" in result.output


@pytest.mark.slow
@pytest.mark.ray
def test_the_python_interface(ray_session, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, text in blocks(PYTHON):
        if language == "python":
            capsys.readouterr()
            exec(compile(text, "example", "exec"), names)
            expected = re.findall(r"^print\(.*\)  # (.*)$", text, re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == expected
        elif not language:
            for line in text.splitlines():
                assert typed(line).exit_code == 0, line


def test_every_public_name_is_documented():
    listed = set(re.findall(r"^\| `(?:Model\.)?(\w+)", PYTHON.read_text(), re.MULTILINE)) - {"segment"}
    assert listed == {*refervos.__all__} - {"Model", "__version__"}
    assert set(refervos.MODULES) == set(refervos.__all__)


@pytest.mark.slow
def test_the_exports(shapes, tmp_path, monkeypatch):
    run_of_truth(str(tmp_path / "runs/first"), *counted_from_one(str(tmp_path / "data"), *shapes))
    monkeypatch.chdir(tmp_path)
    listed = re.findall(r"^\| `(rvos export [^`]*)`", (DOCS / "export.md").read_text(), re.MULTILINE)
    fill = {"RUN": "runs/first", "SERVER": "mevis"}
    listed = [" ".join(fill.get(word, word) for word in line.split()) for line in listed]
    listed = [line.replace("DIR", f"out-{number}") for number, line in enumerate(listed)]
    shown = [line for line in commands(DOCS / "export.md") if line.startswith("rvos export")]
    assert len(listed) == 7
    assert len(shown) == 3
    for line in [*listed, *shown]:
        assert typed(line).exit_code == 0, line


@pytest.mark.s3
def test_the_imports(s3, shapes, tmp_path, monkeypatch):
    """Import one video of each data set in its published layout; the tests of the readers check the content."""
    picture, mask = tmp_path / "picture.jpg", tmp_path / "mask.png"
    Image.new("RGB", (8, 6)).save(picture)
    Image.new("L", (8, 6), 1).save(mask)
    monkeypatch.chdir(tmp_path)
    frames = ["00000", "00001"]
    bucket = f"{s3}/{tmp_path.name}"
    for root, split in ((tmp_path / "ref-youtube-vos/valid", "valid"), (f"{bucket}/mevis/valid_u", "valid_u")):
        for name in frames:
            storage.write_bytes(f"{root}/JPEGImages/v/{name}.jpg", picture.read_bytes())
            storage.write_bytes(f"{root}/Annotations/v/{name}.png", mask.read_bytes())
        expression = {"exp": "a cat", "obj_id": "1" if split == "valid" else [0], "anno_id": [7]}
        document = json.dumps({"videos": {"v": {"expressions": {"0": expression}, "frames": frames}}}).encode()
        whole = {"size": [6, 8], "counts": rle.from_runs([0, 48], 6, 8).decode()}
        storage.write_bytes(f"{root}/mask_dict.json", json.dumps({"7": [whole] * 2}).encode())
        where = f"{root}/meta_expressions.json"
        if split == "valid":
            where = tmp_path / "ref-youtube-vos/meta_expressions/valid/meta_expressions.json"
        storage.write_bytes(str(where), document)
    shutil.copytree(Path(shapes[0]).parent / "videos", tmp_path / "clips")
    Path("sentences.csv").write_text("expression\nthe red circle\n")
    lines = commands(DOCS / "datasets.md")
    assert len(lines) == 3
    for number, line in enumerate(lines):
        here = line.replace("/data/", f"{tmp_path}/").replace("s3://bucket", bucket)
        result = typed(here.replace("--out data/", f"--out data-{number}/"))
        assert result.exit_code == 0, (line, result.output)


def test_every_promise_of_security_has_a_test():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "security.md").read_text())
    assert len(named) >= 20
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
