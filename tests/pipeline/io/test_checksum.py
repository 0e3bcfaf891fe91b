"""A flipped bit anywhere in a table of this project is found, also where Parquet has no checksum: headers of pages."""

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import evaluate
from pipeline.io import checksum, parquet, storage
from pipeline.masks.annotations import Annotations
from pipeline.masks.row_groups import list_row_groups
from schemas.errors import InputError
from tests.handmade import run_of_truth

STEP = 37  # bytes between the bits that are flipped


def flips(path: Path):
    """Yield after each flip; the file is intact at the end."""
    content = path.read_bytes()
    for place in range(0, len(content), STEP):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        yield place
    path.write_bytes(content)


def test_a_table_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.parquet"
    table = pa.table({"a": [*range(50)], "b": [f"text {i % 7}" for i in range(50)]})
    parquet.write_table(str(path), table)
    for place in flips(path):
        with contextlib.suppress(InputError):
            assert parquet.read_table(str(path)).equals(table), place
    assert parquet.read_table(str(path)).equals(table)


def test_tables_of_others_have_no_checksum(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "theirs.parquet")
    parquet.verify(str(tmp_path / "theirs.parquet"))
    parquet.verify(str(tmp_path / "none.parquet"))
    (tmp_path / "words.parquet").write_text("words")
    with pytest.raises(InputError, match="words.parquet is not a Parquet file"):
        parquet.read_table(str(tmp_path / "words.parquet"))


def test_masks_annotations_and_scores_are_sealed(shapes, tmp_path):
    made = run_of_truth(str(tmp_path / "run"), *shapes)
    masks = made.masks_uri(next(iter(made.units())).unit_id)
    scores = str(tmp_path / "scores")
    evaluate.run(evaluate.EvaluateConfig(predictions=made.folder, annotations=shapes[1], out=scores))
    truth = str(tmp_path / "annotations.parquet")
    storage.write_bytes(truth, storage.read_bytes(shapes[1]))
    tables = [masks, f"{scores}/scores.parquet", f"{scores}/frame_scores.parquet", truth]
    assert all(checksum.is_sealed(uri) for uri in tables)
    for uri in tables:
        content = bytearray(Path(uri).read_bytes())
        content[len(content) // 3] ^= 1
        Path(uri).write_bytes(content)
        with pytest.raises(InputError, match="is damaged: the content does not match its checksum; write it again"):
            parquet.verify(uri)
    for read in (lambda: list_row_groups(masks), lambda: Annotations.open(truth)):
        with pytest.raises(InputError, match="damaged|cannot be read"):
            read()


def test_scores_that_cannot_be_made_leave_no_folder(shapes, tmp_path):
    made = run_of_truth(str(tmp_path / "run"), *shapes)
    truth = parquet.read_table(shapes[1])
    broken = truth.set_column(truth.column_names.index("counts"), "counts", pa.array([b"\xff"] * len(truth)))
    parquet.write_table(str(tmp_path / "broken.parquet"), broken)
    out = tmp_path / "new/scores"
    with pytest.raises(InputError, match="annotation: byte 255"):
        evaluate.run(
            evaluate.EvaluateConfig(predictions=made.folder, annotations=str(tmp_path / "broken.parquet"), out=str(out))
        )
    assert not out.parent.exists()
