"""Every path of every command, given every wrong thing: what it is, and what to type instead."""

import re
import shlex
import shutil
import zipfile
from dataclasses import MISSING, fields
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cli import main
from jobs.config.options import KEY, label_of
from jobs.terminal import wrong_object
from pipeline.datasets.registry import DATASETS
from pipeline.io import output_folder, storage
from pipeline.io.recognise import recognise
from pipeline.runs.run_json import is_run
from schemas import kinds
from schemas.errors import InputError
from schemas.kinds import Kind
from tests.test_cli import COMMANDS

TINY = Path(__file__).resolve().parents[2] / "model/tiny"
OBJECTS = {
    "clip.mp4": Kind.VIDEO,
    "picture.png": Kind.PICTURE,
    "clips.csv": Kind.CSV,
    "clips.tsv": Kind.TSV,
    "clips.jsonl": Kind.JSONL,
    "coco.json": Kind.JSON,
    "words.txt": Kind.TEXT,
    "empty": Kind.EMPTY_FILE,
    "noise": Kind.FILE,
    "model.pth": Kind.PTH,
    "old.pth": Kind.PTH,
    "submission.zip": Kind.ZIP,
    "shard.tar": Kind.TAR,
    "ckpt": Kind.CHECKPOINT,
    "ckpt/model.safetensors": Kind.SAFETENSORS,
    "tok": Kind.TOKENIZER,
    "frames": Kind.PICTURES,
    "masks/v": Kind.PICTURES,
    "masks": Kind.PNG_TREE,
    "jpeg": Kind.PICTURE_TREE,
    "videos": Kind.VIDEOS,
    "run": Kind.RUN,
    "run/run.json": Kind.JSON,
    "scores": Kind.SCORES,
    "scores/scores.parquet": Kind.SCORE_TABLE,
    "board": Kind.BOARD,
    "data": Kind.IMPORTED,
    "data/manifest.parquet": Kind.MANIFEST,
    "data/annotations.parquet": Kind.ANNOTATIONS,
    "void": Kind.EMPTY_FOLDER,
    "gone": Kind.ABSENT,
}


@pytest.fixture(scope="module")
def objects(shapes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    source = Path(shapes[0]).parent
    for name in ("frames", "masks/v", "jpeg/v", "run", "scores", "board", "void", "tok", "data"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(source / "videos", folder / "videos")
    shutil.copy(sorted((source / "videos").iterdir())[0], folder / "clip.mp4")
    for path in shapes:
        shutil.copy(path, folder / "data" / Path(path).name)
    shutil.copytree(TINY, folder / "ckpt")
    shutil.copy(TINY / "tokenizer.json", folder / "tok")
    for name in ("picture.png", "frames/0.jpg", "masks/v/00000.png", "jpeg/v/0.jpg"):
        Image.new("L", (8, 8)).save(folder / name)
    texts = {
        "clips.csv": "video_uri,expression\nclip.mp4,the dog\n",
        "clips.tsv": "video_uri\texpression\nclip.mp4\tthe dog\n",
        "clips.jsonl": '{"video_uri": "clip.mp4"}\n{"video_uri": "clip.mp4"}\n',
        "coco.json": '{\n  "videos": []\n}\n',
        "words.txt": "the dog\nthe cat\n",
        "empty": "",
        "run/run.json": "{}",
        "scores/summary.json": "{}",
        "board/leaderboard.json": "{}",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "noise").write_bytes(bytes(range(256)))
    pq.write_table(pa.table({"metric": ["J"], "value": [1.0]}), folder / "scores/scores.parquet")
    torch.save({"model": {"weight": torch.ones(2)}}, folder / "model.pth")
    torch.save({"model": {"weight": torch.ones(2)}}, folder / "old.pth", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "submission.zip", "w") as archive:
        archive.writestr("Annotations/v/0/00000.png", b"")
    shutil.make_archive(str(folder / "shard"), "tar", folder / "frames")
    return folder


@pytest.fixture(autouse=True)
def there(objects, monkeypatch):
    monkeypatch.chdir(objects)


OF_IMPORT = {"root": ("folder", "list", "webdataset"), "manifest": ("masks",)}  # path -> data sets that take it


def places():
    """Each path of each command: the command, the field, and the data set that it depends on."""
    for command, form in COMMANDS.items():
        for field in fields(form.config):
            if field.metadata[KEY].is_path:
                datasets = OF_IMPORT.get(field.name, ("folder",)) if command == "import" else ("folder",)
                yield from ((command, field, name) for name in datasets)


PLACES = list(places())


def role_of(field, dataset):
    return DATASETS[dataset].root if field.name == "root" else field.metadata[KEY].takes


def words_of(command, field, dataset, path):
    """A command whose other required arguments are absent paths, so that nothing else can be recognised."""
    if command == "submit":
        return ["submit", "--address", "http://127.0.0.1:9", "--working-dir", path, "status", "s3://bucket/run"]
    words = command.split()
    for one in sorted(fields(COMMANDS[command].config), key=lambda one: not one.metadata[KEY].is_argument):
        option = one.metadata[KEY]
        if one is field:
            words += [path] if option.is_argument else [label_of(one.name, option), path]
        elif one.default is MISSING:
            value = (
                dataset
                if one.name == "dataset"
                else "nowhere.html"
                if one.name == "file"
                else str(next(iter(option.choices), "nowhere"))
            )
            words += [value] if option.is_argument else [label_of(one.name, option), value]
    if command == "compare":
        words.append("nowhere")
    if command == "demo" and field.name != "out":
        words += ["--expression", "x"] + ([] if field.name == "video" else ["--video", "nowhere"])
    if field.name == "heldout":
        words += ["--heldout-annotations", "nowhere"]
    if field.name == "heldout_annotations":
        words += ["--heldout", "nowhere"]
    return words


@pytest.mark.parametrize("path", OBJECTS)
def test_things_are_recognised(path):
    assert recognise(path) is OBJECTS[path]


def test_every_path_says_what_it_takes():
    assert [(command, field.name) for command, field, _ in PLACES if not field.metadata[KEY].takes] == []


@pytest.mark.parametrize(("command", "field", "dataset"), PLACES, ids=lambda value: getattr(value, "name", str(value)))
def test_each_wrong_thing_is_named(command, field, dataset):
    role, label = role_of(field, dataset), label_of(field.name, field.metadata[KEY])
    for path, kind in OBJECTS.items():
        if kind in role.kinds or (kind is Kind.ABSENT and command == "submit"):
            continue
        result = CliRunner().invoke(main, words_of(command, field, dataset, path))
        assert (result.exit_code, type(result.exception)) == (2, SystemExit), (path, result.output)
        (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert line == result.output.splitlines()[-1]
        if kind is Kind.ABSENT:
            assert path in line or "nowhere" in line or "needs --expressions" in line, line  # another problem is first
        elif field.name == "file" and "unknown extension" in line:
            continue
        else:
            assert f"{path} is {kind}, not {role.noun}; " in line or f"swapped: {label} {path} is {kind}; " in line, (
                line
            )
            require_commands_that_parse(line)


@pytest.mark.parametrize(("command", "field", "dataset"), PLACES, ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_not_the_current_folder(command, field, dataset, path):
    result = CliRunner().invoke(main, words_of(command, field, dataset, path))
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
    line = result.output.splitlines()[-1]
    label = label_of(field.name, field.metadata[KEY])
    empty = f"Error: {label} is empty; is a shell variable not set? For this folder, type ."
    assert line == empty or (field.name == "file" and "unknown extension" in line)


def require_commands_that_parse(text):
    """Every command that a message says to type is one that the command line takes."""
    for words in map(shlex.split, re.findall(r"'rvos ([^']+)'", text)):
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        if words not in ([], ["--help"]):  # else only the name of a command
            command.make_context("rvos", words).close()


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        ("segment run data/manifest.parquet --window 12", "segment data/manifest.parquet run --window 12"),
        ("segment new data/manifest.parquet", "segment data/manifest.parquet new"),
        ("evaluate data/annotations.parquet run --out new", "evaluate run data/annotations.parquet --out new"),
        ("leaderboard add scores board --name n", "leaderboard add board scores --name n"),
        ("convert tok --tokenizer model.pth --out new", "convert model.pth --tokenizer tok --out new"),
        (
            "demo --video ckpt --checkpoint clip.mp4 --expression x",
            "demo --video clip.mp4 --expression x --checkpoint ckpt",
        ),
        (
            "train --data data/annotations.parquet --annotations data/manifest.parquet --out new",
            "train --data data/manifest.parquet --annotations data/annotations.parquet --out new",
        ),
        ("export submission s.zip --out run --for mevis", "export submission run --out s.zip --for mevis"),
    ],
)
def test_swapped_paths_are_told_apart(words, typed):
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2
    assert f"'rvos {typed}'" in result.output, result.output


DEAD = "s3://bucket"  # no storage answers at its endpoint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"convert videos --tokenizer {DEAD}/tok --out new", "Error: CHECKPOINT videos is a folder of videos"),
        (f"convert absent.pth --tokenizer {DEAD}/tok --out new", "Error: absent.pth: no such file"),
        (f"segment clip.mp4 {DEAD}/run --checkpoint {DEAD}/ckpt", "Error: MANIFEST clip.mp4 is a video"),
        (f"segment {DEAD}/manifest.parquet run --checkpoint clip.mp4", "Error: --checkpoint clip.mp4 is a video"),
        (f"compare {DEAD}/scores clips.csv", "Error: SCORES clips.csv is a CSV file"),
    ],
)
def test_local_things_are_looked_at_before_a_storage_that_may_be_dead(words, said, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(main, words.split())
    assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
    assert result.output.startswith(said)


@pytest.mark.parametrize(
    ("words", "way"),
    [
        ("check data", "give data/manifest.parquet"),
        ("check data/annotations.parquet", "give data/manifest.parquet"),
        ("status run/run.json", "give run, which is a run"),
        ("report scores/scores.parquet --out new", "give scores, which is a folder of scores"),
        ("evaluate masks/v data/annotations.parquet --out new", "give masks, which is a tree of PNGs"),
        ("check clip.mp4", "'rvos demo --video clip.mp4 --expression \"the red car\" --checkpoint checkpoint/'"),
        ("check clips.csv", "'rvos import list clips.csv --out data/'"),
        ("check data/manifest.parquet --checkpoint ckpt/model.safetensors", "give ckpt, which is a checkpoint folder"),
        ("check data/manifest.parquet --checkpoint model.pth", "'rvos convert model.pth --tokenizer"),
        ("check data/manifest.parquet --checkpoint tok", "'rvos convert FILE.pth --tokenizer tok --out checkpoint/'"),
        ("check run", "run.json in run names it"),
        ("compare scores clips.csv", "Error: SCORES clips.csv is a CSV file, not"),
        ("convert ckpt --tokenizer tok --out new", "it needs no conversion"),
        ("import folder clips.csv --out new", "'rvos import list clips.csv --out data/'"),
        ("demo --video videos --expression x", "'rvos import folder videos --expressions"),
        ("import folder videos --expressions data/manifest.parquet --out new", "a manifest, not a file of expressions"),
    ],
)
def test_the_way_out_starts_from_what_is_there(words, way):
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2
    assert way in result.output, result.output


def test_a_file_is_read_in_part_only(objects, monkeypatch):
    (objects / "long.csv").write_bytes(b"video,expression\n" * 10**6)
    read = []
    whole = wrong_object.storage.open_input

    def counting(uri):
        read.append(uri)
        return whole(uri)

    monkeypatch.setattr("pipeline.io.recognise.storage.open_input", counting)
    assert recognise("long.csv") is Kind.CSV
    assert len(read) == 1
    (objects / "long.csv").unlink()


def test_what_may_be_right_is_left_to_the_command(tmp_path):
    """A picture beside the folders of a tree, a recipe that begins with a table, a table of two uses."""
    for name in ("tree/a.png", "tree/v/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    (tmp_path / "recipe.toml").write_text("[augmentation]\ncrop = 0.0\n")
    for name, separator, encoding in (("a.csv", ";", "utf-8"), ("b.csv", ",", "utf-16"), ("c.csv", "|", "latin-1")):
        (tmp_path / name).write_text(separator.join(["video", "expression"]) + "\n", encoding)
        assert recognise(str(tmp_path / name)) in kinds.URI_LIST.kinds & kinds.SENTENCES.kinds
    assert recognise(str(tmp_path / "a.csv")) is Kind.CSV
    rows = {"video_id": ["v"], "expression_id": ["0"], "object_id": ["1"], "counts": [b""]}
    pq.write_table(pa.table(rows), tmp_path / "both.parquet")
    assert recognise(str(tmp_path / "tree")) is Kind.PNG_TREE
    assert recognise(str(tmp_path / "recipe.toml")) in kinds.RECIPE.kinds
    assert recognise(str(tmp_path / "both.parquet")) in kinds.PREDICTIONS.kinds & kinds.ANNOTATIONS.kinds


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.json", '{"videos": [], "annotations": []}'),
        ("train.json", '[{"video": "a"}]'),
        ("run.json", '{\n "command": "python train.py"}'),
        ("leaderboard.json", '{"first": "me"}'),
        ("_compact.json", '{"a": 1}'),
        ("tokenizer.json", '{"a": ["x"]}'),
        ("demo.txt", "the dog"),
    ],
)
def test_files_of_others_with_the_names_of_ours(tmp_path, name, text):
    """A split of COCO is named train.json: its folder is no training, and nothing in it is removed."""
    (tmp_path / name).write_text(text)
    shutil.copy("clip.mp4", tmp_path / "a.mp4")
    assert recognise(str(tmp_path)) is Kind.VIDEOS
    assert not is_run(str(tmp_path))
    if name != "tokenizer.json":
        with pytest.raises(InputError, match=rf"{name} is of another program; choose a new or empty folder"):
            output_folder.has_marker(str(tmp_path), name)


@pytest.mark.parametrize(("name", "kind"), [("run.json", Kind.RUN), ("x", Kind.FOLDER), ("x.parquet", Kind.FOLDER)])
def test_a_large_folder_is_known_by_its_mark_alone(tmp_path, monkeypatch, name, kind):
    monkeypatch.setattr("pipeline.io.recognise.MOST_NAMES", 2)
    monkeypatch.setattr(storage, "first_names", lambda folder, limit: ["a", "b"])
    (tmp_path / name).touch()
    assert recognise(str(tmp_path)) is kind


@pytest.mark.s3
def test_things_on_s3_are_recognised(objects, s3):
    base = f"{s3}/{objects.parent.name}"
    for path in objects.rglob("*"):
        if path.is_file():
            storage.write_bytes(f"{base}/{path.relative_to(objects)}", path.read_bytes())
    found = {path: recognise(f"{base}/{path}") for path in OBJECTS if path != "void"}  # S3 has no empty folders
    assert found == {path: kind for path, kind in OBJECTS.items() if path != "void"}
    answer = CliRunner().invoke(main, ["check", f"{base}/data"])
    assert f"give {base}/data/manifest.parquet, which is a manifest" in answer.output
    answer = CliRunner().invoke(
        main, ["segment", f"{base}/run", f"{base}/data/manifest.parquet", "--checkpoint", "tiny"]
    )
    assert f"'rvos segment {base}/data/manifest.parquet {base}/run --checkpoint tiny'" in answer.output


NEW = [place for place in PLACES if role_of(*place[1:]).is_new and place[1].name != "file"]


@pytest.mark.parametrize("uri", ["https://host.invalid/new", "zip://new::old.zip", "ftp://host/new"])
@pytest.mark.parametrize(("command", "field", "dataset"), NEW, ids=lambda value: getattr(value, "name", str(value)))
def test_what_cannot_be_written_to_is_told_in_one_line(command, field, dataset, uri):
    words = words_of(command, field, dataset, uri)
    result = CliRunner().invoke(main, [*words, *(["--checkpoint", "tiny"] if command == "segment" else [])])
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
    line = result.output.splitlines()[-1]
    assert f"{uri} is an address that can only be read, not " in line or "scheme 'ftp' is not supported" in line


def test_what_can_only_be_read_is_read(monkeypatch):
    monkeypatch.setattr(wrong_object, "recognise", {"m": Kind.READ_ONLY}.get)
    wrong_object.refuse_wrong_objects(COMMANDS["check"].config(manifest="m"), "check", {})


def test_masks_that_are_not_pngs(objects):
    """A tree of PNGs may be next to them; that is another one."""
    for command in (["evaluate", "jpeg", "data/annotations.parquet"], ["evaluate", "run", "jpeg"]):
        result = CliRunner().invoke(main, [*command, "--out", "new"])
        assert result.exit_code == 2
        assert "jpeg is a tree of pictures" in result.output
        assert "save them as PNG, which keeps every value (JPEG does not)" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("refine", "run", "run", "--checkpoint", "ckpt"),
        ("refine", "run", "run/refined", "--checkpoint", "ckpt"),
        ("compact", "run", "--out", "run/masks"),
        ("compact", "run", "--out", "run/masks/copy"),
        ("export", "webdataset", "run", "--out", "run"),
        ("import", "masks", "run", "--manifest", "data/manifest.parquet", "--out", "run/run"),
        ("select", "run", "--out", "run/plan"),
    ],
)
def test_nothing_is_written_into_a_run_that_is_read(words, objects, monkeypatch):
    monkeypatch.chdir(objects)
    before = sorted(objects.rglob("*"))
    result = CliRunner().invoke(main, list(words))
    assert (result.exit_code, "choose another" in result.output) == (2, True), result.output
    assert re.search("are the same folder|may not be inside each other", result.output)
    assert sorted(objects.rglob("*")) == before


def test_a_pointer_in_place_of_a_file_is_named(objects, monkeypatch):
    monkeypatch.chdir(objects)
    Path("pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:5ec1e7\nsize 1048576\n")
    options = ["--data", "data/manifest.parquet", "--annotations", "data/annotations.parquet", "--out", "new"]
    result = CliRunner().invoke(main, ["train", *options, "--backbone-weights", "pointer.pth"])
    assert result.exit_code == 2
    expected = "pointer.pth is not a .pth file or a folder with weights of a backbone, but a pointer of Git LFS; fetch"
    assert f"--backbone-weights {expected}" in result.output


@pytest.mark.parametrize("words", [["status", "{path}"], ["synth", "--out", "{path}"]])
def test_what_this_user_may_not_open_is_not_of_an_unknown_kind(words, tmp_path, monkeypatch):
    def deny(uri: str) -> bool:
        raise PermissionError(13, "Permission denied", uri)

    monkeypatch.setattr(storage, "is_folder", deny)  # root may open everything
    done = CliRunner().invoke(main, [word.format(path=tmp_path / "locked") for word in words])
    assert done.exit_code == 3
    assert "locked cannot be opened: permission denied" in done.stderr


def test_prose_with_commas_is_not_a_csv_file(tmp_path):
    card = Path(TINY) / "MODEL_CARD.md"
    assert recognise(str(card)) is Kind.TEXT
    (tmp_path / "quoted.csv").write_text('video,expression\na,"the red, round one"\nb,"left, then right"\n')
    assert recognise(str(tmp_path / "quoted.csv")) is Kind.CSV
