"""Whole commands on damaged inputs: a result or a sentence, never a traceback, and memory within a bound.

Each command gets MUTATIONS inputs of a fixed sequence or, with RVOS_FUZZ_SECONDS, as many as this time allows; see
`tests/test_fuzz.py`.
"""

import io
import json
import random
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from tests.test_fuzz import MOST_BYTES, ODD_BYTES, ODD_TEXTS, SEED, memory, mutated, turns, value_mutated

pytestmark = pytest.mark.slow

MUTATIONS = 3  # of the input of each command, if no time is set

COMMANDS = {  # name -> the file that is damaged, and the words
    "check": ("manifest.parquet", "check manifest.parquet"),
    "check rows": ("manifest.parquet rows", "check manifest.parquet"),
    "plan": ("manifest.parquet rows", "segment manifest.parquet new --dry-run"),
    "evaluate masks": ("masks.parquet rows", "evaluate masks.parquet annotations.parquet --out new --json"),
    "evaluate truth": ("annotations.parquet rows", "evaluate masks.parquet annotations.parquet --out new --json"),
    "evaluate a file": ("masks.parquet", "evaluate masks.parquet annotations.parquet --out new --json"),
    "compare": ("scores/summary.json", "compare other scores"),
    "compare scores": ("scores/scores.parquet rows", "compare other scores"),
    "report": ("scores/summary.json", "report scores --out new"),
    "report scores": ("scores/scores.parquet rows", "report scores --out new"),
    "report frames": ("scores/frame_scores.parquet rows", "report scores --out new"),
    "leaderboard": ("scores/summary.json", "leaderboard add new scores --name x"),
    "leaderboard rule": ("board/leaderboard.json", "leaderboard show board"),
    "leaderboard entry": ("board/entries/x.parquet", "leaderboard export board new.html"),
    "status": ("run/run.json", "status run"),
    "audit": ("run/run.json", "audit run --json"),
    "audit masks": ("run/masks/*.parquet", "audit run --json"),
    "audit plan": ("run/plan/*.parquet rows", "audit run --json"),
    "compact": ("run/run.json", "compact run new"),
    "compact masks": ("run/masks/*.parquet rows", "compact run new"),
    "select": ("masks.parquet rows", "select masks.parquet --manifest manifest.parquet --out new"),
    "overlay": ("masks.parquet rows", "export overlay masks.parquet --manifest manifest.parquet --out new"),
    "coco": ("masks.parquet rows", "export coco-video masks.parquet --manifest manifest.parquet --out new.json"),
    "validate": ("packed.zip", "export validate packed.zip --for mevis --manifest manifest.parquet"),
    "import list": ("list.csv", "import list list.csv --out new"),
    "import folder": ("list.csv", "import folder clips --expressions list.csv --out new"),
    "import mevis": ("mevis/valid/meta_expressions.json", "import mevis mevis --split valid --out new"),
    "import masks": ("masks.parquet rows", "import masks masks.parquet --manifest manifest.parquet --out new"),
    "import results": ("results.json", "import masks results.json --manifest manifest.parquet --out new"),
    "convert": ("weights.pth", "convert weights.pth --backbone resnet50 --tokenizer clips --out new"),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(shapes, labelled_run, tmp_path_factory) -> Path:
    """Every input of the commands, sound and small."""
    folder = tmp_path_factory.mktemp("inputs")
    manifest = pq.read_table(shapes[0]).to_pylist()
    for row in manifest:
        row["video_uri"] = str(Path(shapes[0]).parent / row["video_uri"])
    pq.write_table(pa.Table.from_pylist(manifest), folder / "manifest.parquet")
    shutil.copy(shapes[1], folder / "annotations.parquet")
    shutil.copytree(labelled_run.folder, folder / "run")
    masks = [pq.read_table(path) for path in sorted((folder / "run" / "masks").glob("*.parquet"))]
    pq.write_table(pa.concat_tables(masks), folder / "masks.parquet")
    words = ["evaluate", folder / "masks.parquet", folder / "annotations.parquet", "--manifest"]
    run_rvos([*words, folder / "manifest.parquet", "--by", "shape", "--out", folder / "scores"])
    shutil.copytree(folder / "scores", folder / "other")
    run_rvos(["leaderboard", "add", folder / "board", folder / "scores", "--name", "x"])
    (folder / "clips" / "v").mkdir(parents=True)
    (folder / "list.csv").write_text("video_uri,video,expression\nclips/v.mp4,v,the cat\nclips/v.mp4,v,a dog\n")
    frame = folder / "clips" / "v" / "00000.jpg"
    frame.write_bytes(picture())
    pair = {"exp": "the cat", "obj_id": ["0"], "anno_id": ["0"]}
    meta = {"videos": {"v": {"expressions": {"0": pair}, "frames": ["00000"], "vid_id": 0}}}
    shutil.copytree(folder / "clips" / "v", folder / "mevis" / "valid" / "JPEGImages" / "v")
    (folder / "mevis" / "valid" / "meta_expressions.json").write_text(json.dumps(meta))
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.writestr("v/0/00000.png", picture("PNG"))
    results = [
        {"video_id": row["video_id"], "expression_id": row["expression_id"], "score": 0.5}
        | {"segmentations": [{"size": [48, 64], "counts": [48 * 64]}, None]}
        for row in manifest
    ]
    (folder / "results.json").write_text(json.dumps(results))
    with zipfile.ZipFile(folder / "weights.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    return folder


def picture(form: str = "JPEG") -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.new("L", (16, 12), 1).save(content, form)
    return content.getvalue()


def run_rvos(words: list) -> int:
    """Run a command in this process. Returns its exit code, which is one of the documented ones."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(f"rvos {words}: {done.exception!r}") from done.exception
    assert done.exit_code in (0, 1, 2, 3), done.output
    assert done.output.strip()
    if "--json" in words and done.exit_code == 0:
        json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} in the output"))
    return done.exit_code


def damaged(content: bytes, name: str, as_rows: bool, dice: random.Random) -> bytes:
    if as_rows:
        columns = value_mutated(pq.read_table(io.BytesIO(content)).to_pydict(), dice)
        into = io.BytesIO()
        try:
            pq.write_table(pa.table(columns), into)
        except (pa.ArrowException, TypeError, ValueError, AttributeError):
            return content  # a value that no column takes
        return into.getvalue()
    if name.endswith(".json") and dice.random() < 0.5:
        return json.dumps(value_mutated(json.loads(content), dice)).encode()
    return mutated(content, dice, ODD_TEXTS if name.endswith((".json", ".csv")) else ODD_BYTES)


@pytest.mark.parametrize("name", COMMANDS)
def test_damaged_inputs_are_used_or_refused(inputs, tmp_path, monkeypatch, name):
    pattern, words = COMMANDS[name]
    pattern, as_rows = pattern.removesuffix(" rows"), pattern.endswith(" rows")
    folder = tmp_path / "in"
    shutil.copytree(inputs, folder)
    monkeypatch.chdir(folder)
    file = next(iter(sorted(folder.glob(pattern))))
    sound, dice = file.read_bytes(), random.Random(name + SEED)
    run_rvos(words.split())
    before = memory(begin=True)
    for count in turns(MUTATIONS):
        for path in folder.glob("new*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        file.write_bytes(damaged(sound, file.name, as_rows, dice))
        try:
            run_rvos(words.split())
        except AssertionError as error:
            (tmp_path / "found").write_bytes(file.read_bytes())
            raise AssertionError(f"{name}, number {count}: {error}; see {tmp_path / 'found'}") from error
        assert memory() - before < MOST_BYTES, f"{name}, number {count} takes memory"


TABLES = {name: pair for name, pair in COMMANDS.items() if pair[0].removesuffix(" rows").endswith(".parquet")}


def with_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column of texts, or of lists of them, whose last text is not UTF-8; None for other columns."""
    is_list = pa.types.is_list(column.type)
    if not pa.types.is_string(column.type.value_type if is_list else column.type):
        return None
    values = column.to_pylist()
    at = max((n for n, value in enumerate(values) if value), default=None)
    if at is None:
        return None
    raw = [[text.encode() for text in value] if is_list and value else value for value in values]
    raw[at] = [b"\x88"] if is_list else b"\x88"
    if is_list:
        lists = pa.array(raw, pa.list_(pa.binary()))
        texts = pa.Array.from_buffers(pa.string(), len(lists.values), lists.values.buffers())
        return pa.chunked_array([pa.ListArray.from_arrays(lists.offsets, texts, mask=lists.is_null())])
    array = pa.array([value.encode() if isinstance(value, str) else value for value in raw], pa.binary())
    return pa.chunked_array([pa.Array.from_buffers(pa.string(), len(array), array.buffers())])


@pytest.mark.parametrize("name", TABLES)
def test_bytes_that_are_no_text_are_used_or_refused(inputs, tmp_path, monkeypatch, name):
    pattern, words = TABLES[name]
    folder = tmp_path / "in"
    shutil.copytree(inputs, folder)
    monkeypatch.chdir(folder)
    file = next(iter(sorted(folder.glob(pattern.removesuffix(" rows")))))
    sound, tried = pq.read_table(file), 0
    for number, column in enumerate(sound.columns):
        if (damaged_column := with_bytes(column)) is None:
            continue
        tried += 1
        for path in folder.glob("new*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        pq.write_table(sound.set_column(number, sound.field(number).name, damaged_column), file)
        run_rvos(words.split())
    assert tried
