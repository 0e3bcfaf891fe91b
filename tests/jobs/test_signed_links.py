"""Links with a signature in their query work in every command, and no output shows the signature.

Manifests and plans keep it, as videos could not be fetched otherwise.
"""

import functools
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from pipeline.io import parquet
from tests.handmade import counted_from_one, run_of_truth

SECRET = "5ecretS1gnature"
QUERY = f"X-Amz-Expires=900&X-Amz-Signature={SECRET}"
KEEPERS = ("manifest.parquet", "plan", "links.csv", "served")  # files and folders that name videos

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Signed(SimpleHTTPRequestHandler):
    """Serves files to those who know the signature."""

    def send_head(self):
        if SECRET not in self.path:
            self.send_error(403)
            return None
        return super().send_head()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    handler = functools.partial(Signed, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


LINES = """
0 import list links.csv --out imported
0 import list SERVER/links.csv?QUERY --out imported_too
1 check imported/manifest.parquet --allow-private
1 check imported/manifest.parquet
1 check SERVER/manifest.parquet?QUERY --allow-private
2 check SERVER/gone.parquet?QUERY
0 plan imported/manifest.parquet --checkpoint CHECKPOINT --short-side 64 --allow-private
1 segment imported/manifest.parquet run --checkpoint CHECKPOINT --short-side 64 --allow-private
1 segment imported/manifest.parquet run --checkpoint CHECKPOINT --short-side 64 --allow-private --retry-errors
1 segment imported/manifest.parquet refused --checkpoint CHECKPOINT --short-side 64
0 status run
0 status run --json
0 audit run --manifest imported/manifest.parquet
0 audit run --json
0 compact run --out compacted
0 evaluate truth labels/annotations.parquet --out best --manifest SERVER/manifest.parquet?QUERY
1 evaluate SERVER/masks.parquet?QUERY labels/annotations.parquet --out scores --manifest SERVER/manifest.parquet?QUERY
2 evaluate SERVER/gone.parquet?QUERY labels/annotations.parquet --out none
2 evaluate truth SERVER/annotations.parquet?QUERY --out none
0 compare scores best --format markdown
0 report best --out report --allow-private
0 report best --out report_too --against best --allow-private --manifest SERVER/manifest.parquet?QUERY
0 select truth --out kept --rule mean_score>=0.1 --allow-private
2 leaderboard add board best --name SERVER/x?QUERY
0 leaderboard add board best --name best
0 leaderboard show board
0 leaderboard export board board.html
1 export overlay run --out overlays --limit 2 --allow-private
1 export overlay SERVER/masks.parquet?QUERY --manifest SERVER/manifest.parquet?QUERY --out overlay --allow-private
1 export webdataset truth --out shards --allow-private
0 export coco-video truth --out coco.json
0 export review truth --out review --allow-private
0 export review truth --out review_too
0 export submission truth --for mevis --out mevis.zip
2 refine run refined --checkpoint SERVER/sam?QUERY
1 import masks SERVER/masks.parquet?QUERY --manifest SERVER/manifest.parquet?QUERY --out masks
2 demo --video SERVER/gone.mp4?QUERY --expression x --out demo
2 convert SERVER/weights.pth?QUERY --tokenizer SERVER/tokenizer?QUERY --out converted
"""


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what is in a file, unpacked."""
    data = path.read_bytes()
    yield str(path), data
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield f"{path} unpacked", f"{table.to_pylist()} {table.schema.metadata}".encode()
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            yield from ((f"{path} {name}", archive.read(name)) for name in archive.namelist())
    elif path.suffix == ".tar":
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                yield f"{path} {member.name}", file.read() if file else b""


def signed(uri: str, server: str) -> str:
    return f"{server}/{Path(uri).name}?{QUERY}"


def test_no_output_shows_a_signature(server, shapes, checkpoint, ray_session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served = tmp_path / "served"
    manifest, annotations = counted_from_one(str(tmp_path / "labels"), *shapes)
    rows = parquet.read_table(manifest)
    uris = [signed(uri, server) for uri in rows["video_uri"].to_pylist()]
    for uri in {*rows["video_uri"].to_pylist()}:
        (served / Path(uri).name).write_bytes(Path(uri).read_bytes())
    uris = [f"{server}/gone.mp4?{QUERY}" if "shapes-0002" in uri else uri for uri in uris]
    rows = rows.set_column(rows.column_names.index("video_uri"), "video_uri", [uris])
    pq.write_table(rows, served / "manifest.parquet")
    (served / "annotations.parquet").write_bytes(Path(annotations).read_bytes())
    truth = run_of_truth("truth", str(served / "manifest.parquet"), annotations)
    (served / "masks.parquet").write_bytes(next(Path(truth.folder, "masks").glob("*.parquet")).read_bytes())
    lines = [f"{row['video_id']},{row['video_uri']},{row['expression']}" for row in rows.to_pylist()]
    (tmp_path / "links.csv").write_text("\n".join(["video,video_uri,expression", *lines]))
    (served / "links.csv").write_text((tmp_path / "links.csv").read_text())
    wrong = []
    for line in LINES.strip().splitlines():
        code, _, words = line.partition(" ")
        words = words.replace("SERVER", server).replace("QUERY", QUERY).replace("CHECKPOINT", checkpoint)
        done = CliRunner().invoke(main, words.split())
        assert done.exception is None or isinstance(done.exception, SystemExit), line
        assert SECRET not in done.output, line
        if done.exit_code != int(code):
            wrong.append((line, done.exit_code, done.output[-500:]))
    assert wrong == []
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file() and not {*path.relative_to(tmp_path).parts} & {*KEEPERS}:
            assert [name for name, data in contents(path) if SECRET.encode() in data] == []
