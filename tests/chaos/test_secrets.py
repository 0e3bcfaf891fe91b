"""Keys are used but never shown: not in the output, not in a file of the run, not in Ray's logs."""

import os
from pathlib import Path

import pytest

from pipeline.io import parquet, storage
from tests import s3_server
from tests.chaos.case import Case, end_of

pytestmark = [pytest.mark.chaos, pytest.mark.s3, pytest.mark.timeout(900)]
SECRETS = (s3_server.SECRET, "wrong-secret-value", "signature-value", "user-password")


@pytest.fixture
def case(corpus_on_s3, s3, cluster, tmp_path) -> Case:
    return corpus_on_s3.but(run=f"{s3}/{tmp_path.name}/run", address=cluster.address)


def assert_hidden(*texts: str | bytes) -> None:
    for text in texts:
        content = text.encode() if isinstance(text, str) else text
        assert [secret for secret in SECRETS if secret.encode() in content] == []


def files_under(folder: str) -> dict[str, bytes]:
    """All objects below a folder on S3."""
    found = {}
    for name in storage.names(folder):
        uri = storage.join(folder, name)
        found |= files_under(uri) if storage.is_folder(uri) else {uri: storage.read_bytes(uri)}
    return found


def test_a_run_with_errors_in_workers(case, cluster):
    """A missing video, and two whose URIs carry secrets: only the plan keeps those."""
    base, table = storage.parent(case.manifest), parquet.read_table(case.manifest).slice(0, 4)
    rows = table.to_pylist()
    uris = [
        storage.join(base, rows[0]["video_uri"]),
        f"{base}/gone.mp4",
        f"{os.environ['AWS_ENDPOINT_URL']}/public/a.mp4?sig=signature-value",
        "s3://u:user-password@b/c.mp4",
    ]
    rows = [row | {"video_id": f"v{i}", "video_uri": uris[i]} for i, row in enumerate(rows)]
    manifest = f"{case.run}-manifest.parquet"
    parquet.write_table(manifest, type(table).from_pylist(rows, table.schema))
    out, messages = case.but(manifest=manifest).finish(code=1)
    assert "gone.mp4" in out
    assert_hidden(out, messages)
    files = files_under(case.run)
    assert any("/masks/" in uri for uri in files)
    assert_hidden(*(content for uri, content in files.items() if "/plan/" not in uri))
    assert_hidden(*(error for error in case.rows()["error"].to_pylist() if error))
    logs = [path for path in Path(cluster.head_node.get_session_dir_path()).rglob("*") if path.is_file()]
    assert len(logs) > 5
    assert_hidden(*(path.read_bytes() for path in logs))


def test_a_wrong_key(case):
    out, messages = end_of(case.but(extra={"AWS_SECRET_ACCESS_KEY": "wrong-secret-value"}).start(), code=3)
    assert "the storage denies access" in messages
    assert "set AWS_ACCESS_KEY_ID" in messages
    assert_hidden(out, messages)
    assert not storage.exists(case.run)


def test_keys_in_arguments(case):
    named = case.but(run="s3://user:user-password@tests/run")
    out, messages = end_of(named.start(), code=2)
    assert "s3://***@tests/run" in messages
    assert_hidden(out, messages)
    endpoint = {"AWS_ENDPOINT_URL": f"http://user:user-password@127.0.0.1:{os.environ['AWS_ENDPOINT_URL'][-5:]}"}
    out, messages = end_of(case.but(extra=endpoint).start(), code=2)
    assert "AWS_ENDPOINT_URL: do not put user names and keys into a URI" in messages
    assert_hidden(out, messages)
