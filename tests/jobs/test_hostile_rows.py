"""One bad row costs one row, whatever it holds."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.check import SERVER_TRIES, CheckConfig, run
from pipeline.io import http, parquet
from pipeline.io.manifest import read_manifest, row_problems
from pipeline.segment.clips import FrameOptions, split_rows
from pipeline.video import Selection, read_frames
from schemas.errors import MediaError, ServerError

TEXTS = {
    "scheme": "dir://a/b.mp4",
    "NUL": "a\0b.mp4",
    "keys": "s3://KEY:PAS/SWD@bucket/x.mp4",
    "password": "https://user:PAS/SWD@host/x.mp4",
    "private": "http://169.254.169.254/latest/x.mp4",
    "long": "x" * 1_000_000,
    "schemes": "a://" * 100_000,
    "bytes": b"\xff\xfe.mp4",
    "member": "tar://../../etc/passwd::shard.tar",
    "host": "file://elsewhere/x.mp4",
    "escape": "\x1b[31m.mp4",
}


def texts(values: list) -> pa.Array:
    """A column of texts as a careless writer makes it: nobody has looked at the bytes."""
    raw = pa.array([value if isinstance(value, bytes) else value.encode() for value in values], pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def write(path: str, shapes: tuple[str, str], **columns: list) -> int:
    """Write a manifest: a good row, then those of `columns`. Returns its size."""
    good = read_manifest(shapes[0]).slice(0, 1).to_pylist()[0]
    count = len(next(iter(columns.values())))
    rows = {
        name: [good[name], *columns.get(name, [f"{name} {n}" for n in range(count)])]
        for name in ("video_id", "video_uri", "expression_id", "expression")
    }
    parquet.write_table(path, pa.table({name: texts(values) for name, values in rows.items()}))
    return count + 1


def test_hostile_uris(shapes, tmp_path, monkeypatch):
    monkeypatch.delenv("RVOS_ALLOW", raising=False)
    path = str(tmp_path / "m.parquet")
    count = write(path, shapes, video_uri=list(TEXTS.values()), expression=["x"] * len(TEXTS))
    result = run(CheckConfig(manifest=path))
    assert result.exit_code == 1
    assert {finding.row for finding in result.findings} == set(range(1, count))
    assert {finding.status for finding in result.findings} == {"bad_row"}
    shown = result.text() + str(result.to_json())
    for secret in ("PAS", "SWD@", "\0", "\x1b"):
        assert secret not in shown
    assert len(shown) < 20_000
    clips, bad = split_rows(read_manifest(path).to_pylist(), FrameOptions())
    assert (len(clips), len(bad)) == (2, count - 2)  # what is private shows when it is opened


def test_a_server_that_fails_costs_its_own_rows(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "TRIES", 1)
    path, dead = str(tmp_path / "m.parquet"), "https://no-such-host.invalid/"
    write(path, shapes, video_uri=[f"{dead}a.mp4", f"{dead}b.mp4?sig=SECRET"])
    result = run(CheckConfig(manifest=path))
    assert result.exit_code == 1
    assert [(finding.row, finding.status) for finding in result.findings] == [(1, "missing"), (2, "missing")]
    assert "SECRET" not in result.text()
    write(path, shapes, video_uri=[f"{dead}{number}.mp4" for number in range(SERVER_TRIES)])
    with pytest.raises(ServerError, match="the server failed"):  # each would take a minute
        run(CheckConfig(manifest=path))
    parquet.write_table(path, read_manifest(path).slice(1, 2))
    with pytest.raises(ServerError, match="the server failed"):  # nothing can be reached: it is the network
        run(CheckConfig(manifest=path))


def test_hostile_ids_and_sentences(shapes, tmp_path):
    path, good = str(tmp_path / "m.parquet"), read_manifest(shapes[0])["video_uri"][0].as_py()
    write(
        path, shapes, video_uri=[good] * 4,
        video_id=["x" * 1_000_000, b"\xff", "v", "w"], expression=["a", "b", b"\xff\xff", "y" * 1_000_000],
    )  # fmt: skip
    result = run(CheckConfig(manifest=path))
    assert {finding.row for finding in result.findings} == {1, 2, 3, 4}
    assert {finding.status for finding in result.findings} == {"bad_row"}


def test_a_remote_manifest_names_no_local_files(shapes, s3, tmp_path):
    path = f"{s3}/{tmp_path.name}/m.parquet"
    good = read_manifest(shapes[0])["video_uri"][0].as_py()
    uris = [good, f"file://{good}", "~/x.mp4", f"tar://x::{good}"]
    write(path, shapes, video_uri=uris, video_id=list("abcd"))
    for row in read_manifest(path).to_pylist():
        (problem,) = row_problems(row)
        assert "--allow-local" in problem
    problems = [list(row_problems(row)) for row in read_manifest(path, allow_local=True).to_pylist()]
    assert problems == [[]] * 5
    assert run(CheckConfig(manifest=path)).exit_code == 1


@pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "FILE://{}"])
def test_forms_of_a_path_are_one_path(shapes, tmp_path, form):
    path = str(tmp_path / "m.parquet")
    rows = read_manifest(shapes[0]).to_pylist()
    table = pa.Table.from_pylist([row | {"video_uri": form.format(row["video_uri"])} for row in rows])
    pq.write_table(table, path)
    assert read_manifest(path)["video_uri"].to_pylist() == [row["video_uri"] for row in rows]


def test_what_was_refused_cannot_be_opened_later(shapes, s3, tmp_path):
    path = f"{s3}/{tmp_path.name}/m.parquet"
    good = read_manifest(shapes[0])["video_uri"][0].as_py()
    write(path, shapes, video_uri=[f"tar://x::{good}"], video_id=["a"])
    for uri in read_manifest(path)["video_uri"].to_pylist():
        with pytest.raises(MediaError, match="may not name its files; if this one may"):
            next(read_frames(uri, Selection()))


def test_long_ids_do_not_flood_the_terminal(shapes, tmp_path):
    path = str(tmp_path / "m.parquet")
    write(path, shapes, video_id=["v" * 1_000_000] * 2, expression_id=["e" * 1_000_000] * 2, video_uri=["a", "b"])
    shown = run(CheckConfig(manifest=path)).text()
    assert "video_id has more than 4096 bytes" in shown
    assert "has 2 URIs" in shown
    assert len(shown) < 10_000
