"""What a server or a disk does wrong: borne where that helps, told with the way out where not, and never half done."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pyarrow as pa
import pytest

from pipeline.io import filesystem, local, local_copy, parquet, remote, storage
from pipeline.io import s3 as s3_objects
from pipeline.io.local_copy import local_file
from pipeline.runs.commit import Receipt, UnitWriter
from pipeline.runs.plan import PlanOptions
from pipeline.runs.run import Run
from pipeline.segment.clips import FrameOptions, Window, read_windows, split_rows
from pipeline.video import Selection, read_frames
from schemas.errors import InputError, MediaError, ReplacedError, ServerError, StorageError
from schemas.masks import PREDICTIONS
from tests import proxy, s3_server

PARTS = {"PART_BYTES": 2**24, "SINGLE_PUT_BYTES": 2**25}
LARGE = 2**25 + 5  # goes up in parts


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    for name, value in PARTS.items():
        monkeypatch.setattr(s3_objects, name, value)


@pytest.fixture
def disturbed(server, s3, monkeypatch) -> Iterator[proxy.Proxy]:
    """A proxy that this process's storage goes through; faults as its `choose` is set."""
    with proxy.Proxy(server.ports["s3"]) as between, monkeypatch.context() as patch:
        for name, value in s3_server.environment(between.port).items():
            patch.setenv(name, value)
        _forget_clients()
        yield between
    _forget_clients()


def _forget_clients() -> None:
    filesystem._s3_options.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def impatient(monkeypatch) -> int:
    """Attempts at a request that are left, with a second to wait each."""
    monkeypatch.setitem(filesystem.RETRIES, "retries", {"mode": "standard", "total_max_attempts": 2})
    monkeypatch.setitem(filesystem.RETRIES, "read_timeout", 1)
    monkeypatch.setattr(s3_objects, "BODY_SECONDS", 0.0)
    return 2


def once(fault: str, method: str, part: str = "") -> proxy.Choice:
    """Disturb the first request of this method whose path has `part` in it."""
    left = [fault]
    return lambda request: left.pop() if left and request.method == method and part in request.path else None


def uploads(s3: str, folder: str) -> list[str]:
    """Keys below `folder` of multipart uploads that are under way, or were left behind."""
    fs = fsspec.filesystem("s3")
    found = fs.call_s3("list_multipart_uploads", Bucket=s3.removeprefix("s3://")).get("Uploads") or []
    return [upload["Key"] for upload in found if upload["Key"].startswith(f"{folder}/")]


@pytest.mark.s3
@pytest.mark.parametrize("fault", proxy.EVERYDAY)
def test_everyday_faults_are_borne(disturbed, s3, tmp_path, fault):
    disturbed.choose = proxy.at_random(seed=3, faults=(fault,))
    folder = f"{s3}/{tmp_path.name}"
    contents = {f"{i}": os.urandom(2000) for i in range(8)}
    for name, content in contents.items():
        first = storage.write_bytes(f"{folder}/{name}", content, replace=False)
        assert first or fault == "lost_answer"
        assert not storage.write_bytes(f"{folder}/{name}", b"second", replace=False)
    assert storage.names(folder) == sorted(contents)
    assert {name: storage.read_bytes(f"{folder}/{name}") for name in contents} == contents
    assert not storage.exists(f"{folder}/none")
    assert disturbed.faults[fault] >= 5
    print(f"{disturbed.requests} requests, {dict(disturbed.faults)}")


@pytest.mark.s3
def test_a_large_file_crosses_a_bad_line_in_both_directions(disturbed, s3, tmp_path):
    disturbed.choose = proxy.at_random(seed=5)
    content, uri = os.urandom(LARGE), f"{s3}/{tmp_path.name}/large"
    storage.write_bytes(uri, content, replace=False)
    assert storage.read_bytes(uri) == content
    with storage.open_input(uri) as file:
        file.seek(-100, os.SEEK_END)
        assert file.read() == content[-100:]
    with local_file(uri) as path:
        assert Path(path).read_bytes() == content
    assert disturbed.faults.total() >= 3
    print(f"{disturbed.requests} requests, {dict(disturbed.faults)}")


@pytest.mark.s3
@pytest.mark.parametrize("size", [5, LARGE], ids=["one put", "in parts"])
def test_two_writers_at_the_same_moment(disturbed, s3, tmp_path, size):
    uri = f"{s3}/{tmp_path.name}/u"
    disturbed.choose = once("conflict", "POST" if size == LARGE else "PUT", "uploadId" if size == LARGE else "")
    assert storage.write_bytes(uri, b"1" * size, replace=False)
    assert not storage.write_bytes(uri, b"2" * size, replace=False)
    assert disturbed.faults == {"conflict": 1}
    assert storage.read_bytes(uri) == b"1" * size


@pytest.mark.s3
def test_a_commit_whose_answer_was_lost_is_ours_all_the_same(disturbed, s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/u.parquet"
    rows = pa.Table.from_pylist([{"video_id": "v", "expression_id": "0", "status": "nan", "error": "x"}], PREDICTIONS)
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows)
        disturbed.choose = once("lost_answer", "PUT")
        receipt = writer.commit()
    assert disturbed.faults == {"lost_answer": 1}
    assert (receipt.unit_id, receipt.pairs, receipt.failed, receipt.fresh) == ("u", 1, {"nan": 1}, True)
    assert parquet.read_table(uri).num_rows == 1


@pytest.mark.s3
def test_a_large_commit_whose_answer_was_lost(disturbed, s3, tmp_path):
    uri, content = f"{s3}/{tmp_path.name}/u", os.urandom(LARGE)
    disturbed.choose = once("lost_answer", "POST", "uploadId")
    storage.write_bytes(uri, content, replace=False)
    assert disturbed.faults == {"lost_answer": 1}
    assert storage.read_bytes(uri) == content
    assert uploads(s3, tmp_path.name) == []
    disturbed.choose = once("lost_answer", "POST", "uploadId")
    storage.write_bytes(uri, content[::-1])
    assert storage.read_bytes(uri) == content[::-1]
    assert uploads(s3, tmp_path.name) == []


@pytest.mark.s3
def test_a_plan_part_whose_answer_was_lost_is_not_planned_twice(disturbed, s3, tmp_path):
    rows = [{"video_id": f"v{i}", "video_uri": "/v", "expression_id": "0", "expression": "x"} for i in range(4)]
    run = Run.start(f"{s3}/{tmp_path.name}", "f", {}, {})
    disturbed.choose = once("lost_answer", "PUT", "plan")
    run.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions(), limit=None, manifest_digest="m")
    assert disturbed.faults == {"lost_answer": 1}
    assert run.parts() == [0]
    assert run.manifest().num_rows == 4


@pytest.mark.s3
@pytest.mark.parametrize("fault", ["slow_down", "reset", "hang", "cut_download", "cut_upload"])
def test_attempts_are_bounded_and_the_end_is_told(disturbed, impatient, s3, tmp_path, fault):
    """Layers of retries do not multiply; only aiohttp asks once more by itself where a connection breaks."""
    uri = f"{s3}/{tmp_path.name}/u"
    storage.write_bytes(uri, b"content", replace=False)
    disturbed.requests, disturbed.choose = 0, lambda _: fault
    with pytest.raises(StorageError) as told:
        storage.write_bytes(f"{uri}2", b"more", replace=False) if fault == "cut_upload" else storage.read_bytes(uri)
    assert disturbed.requests <= impatient * (1 if fault in ("slow_down", "hang", "cut_download") else 2)
    assert uri in str(told.value)
    assert f"http://127.0.0.1:{disturbed.port}" in str(told.value)
    assert "check the network" in str(told.value)
    assert told.value.exit_code == 3
    print(told.value)


@pytest.mark.s3
def test_a_server_that_is_gone(impatient, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    _forget_clients()
    try:
        for call in (storage.names, storage.exists, storage.read_bytes, lambda uri: storage.write_bytes(uri, b"x")):
            with pytest.raises(StorageError, match="s3://tests/u: .* at http://127.0.0.1:1 .*Could not connect"):
                call(f"{s3}/u")
    finally:
        _forget_clients()


@pytest.mark.s3
def test_a_failing_storage_is_told_through_parquet_too(disturbed, impatient, s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/t.parquet"
    parquet.write_table(uri, pa.table({"a": [1]}))
    disturbed.choose = lambda request: "slow_down" if request.method == "GET" else None
    with pytest.raises(StorageError, match="t.parquet: .*SlowDown"):
        parquet.read_table(uri)


@pytest.mark.s3
@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("expired", ServerError, "denies access"),
        ("skewed", StorageError, "the clock of host .* is wrong: .* Set it"),
        ("slow_down", ServerError, "failed after all retries"),
        ("denied", ServerError, "denies access"),
    ],
)
def test_what_is_the_fault_of_a_video_and_what_is_not(disturbed, impatient, s3, tmp_path, fault, kind, reason):
    """Keys that expired or a clock that is off must not turn a corpus into error rows."""
    disturbed.choose = lambda _: fault
    for name in ("v.mp4", "folder"):
        with pytest.raises(StorageError, match=reason) as told:
            next(read_frames(f"{s3}/{tmp_path.name}/{name}", Selection()))
        assert type(told.value) is kind


@pytest.mark.s3
def test_an_absent_object_and_an_absent_bucket(s3, tmp_path):
    assert not storage.exists(f"{s3}/{tmp_path.name}/none.mp4")
    for read in (storage.read_bytes, lambda uri: next(read_frames(uri, Selection()))):
        with pytest.raises(StorageError, match="the bucket does not exist"):
            read("s3://no-such-bucket/v.mp4")
    with pytest.raises(MediaError, match="does not exist") as told:
        next(read_frames(f"{s3}/{tmp_path.name}/none.mp4", Selection()))
    assert told.value.status == "missing"


@pytest.mark.s3
@pytest.mark.parametrize("large", [False, True])
def test_a_reader_of_an_object_that_is_replaced_sees_one_version(s3, tmp_path, large):
    uri = f"{s3}/{tmp_path.name}/u"
    before = os.urandom(LARGE if large else 2 * s3_objects.TAIL_BYTES)
    storage.write_bytes(uri, before)
    with pytest.raises(ReplacedError, match="was replaced while it was read"), storage.open_input(uri) as file:
        assert file.read(10) == before[:10] if large else True
        storage.write_bytes(uri, before[::-1])
        file.seek(0 if not large else LARGE // 2)
        file.read(10)


@pytest.mark.s3
def test_a_table_that_is_replaced_is_read_again(disturbed, s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/t.parquet"
    columns = [pa.array(os.urandom(200_000)) for _ in range(2)]
    parquet.write_table(uri, pa.table({"a": columns[0]}))
    left = [1]

    def replace_once(request):
        if left and request.method == "GET" and "t.parquet" in request.path:
            left.pop()
            threading.Thread(target=parquet.write_table, args=(uri, pa.table({"a": columns[1]}))).start()
        return "delay" if request.method == "GET" else None

    disturbed.choose = replace_once
    assert parquet.read_table(uri)["a"].combine_chunks() in (columns[0], columns[1])


@pytest.mark.s3
def test_a_video_is_fetched_once_for_all_its_selections(disturbed, s3, shapes, tmp_path):
    uri = f"{s3}/{tmp_path.name}/v.mp4"
    storage.write_bytes(uri, next((Path(shapes[0]).parent / "videos").glob("*.mp4")).read_bytes())
    pairs = [{"video_id": "v", "video_uri": uri, "expression_id": str(i), "expression": "x"} for i in range(3)]
    clips, _ = split_rows([pair | {"frame_indices": [i]} for i, pair in enumerate(pairs)], FrameOptions())
    disturbed.requests = 0
    events = list(read_windows(clips, FrameOptions(), lambda frame: frame))
    assert [event.indices for event in events if isinstance(event, Window)] == [[0], [1], [2]]
    assert disturbed.requests == 1


@pytest.mark.s3
def test_an_upload_that_fails_is_taken_back(disturbed, impatient, s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/u"
    disturbed.choose = lambda request: "slow_down" if "partNumber=2" in request.path else None
    with pytest.raises(StorageError):
        storage.write_bytes(uri, bytes(LARGE), replace=False)
    disturbed.choose = lambda _: None
    assert uploads(s3, tmp_path.name) == []
    assert not storage.exists(uri)


@pytest.mark.s3
@pytest.mark.chaos
def test_a_killed_upload_shows_nothing(disturbed, s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/u"
    reached = threading.Event()

    def choose(request: proxy.Request) -> str | None:
        if "partNumber=2" not in request.path:
            return None
        reached.set()
        return "hang"

    disturbed.choose = choose
    code = "import sys; from pipeline.io import s3; from pipeline.io.storage import write_bytes as w\n"
    code += f"vars(s3).update({PARTS}); w(sys.argv[1], bytes(int(sys.argv[2])))"
    writer = subprocess.Popen([sys.executable, "-c", code, uri, str(LARGE)], stderr=subprocess.PIPE)
    assert reached.wait(60), writer.communicate()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    disturbed.choose = lambda _: None
    assert not storage.exists(uri)
    assert uploads(s3, tmp_path.name) == [f"{tmp_path.name}/u"]  # a lifecycle rule removes it
    assert storage.write_bytes(uri, b"next", replace=False)
    fsspec.filesystem("s3").clear_multipart_uploads("tests")


@pytest.mark.s3
def test_what_does_not_fit_is_not_fetched(disturbed, s3, tmp_path, monkeypatch):
    uri = f"{s3}/{tmp_path.name}/v.mp4"
    storage.write_bytes(uri, bytes(LARGE))
    real = local_copy.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(local_copy.shutil, "disk_usage", lambda _: real._replace(free=LARGE - 1))
    with pytest.raises(StorageError, match=f"v.mp4: cannot write to .*{LARGE} bytes to fetch.*set TMPDIR"):
        local_file(uri).__enter__()
    monkeypatch.setattr(local_copy.shutil, "disk_usage", lambda _: real._replace(total=LARGE - 1))
    disturbed.requests = 0
    with pytest.raises(OSError, match="could hold") as told:
        local_file(uri).__enter__()
    assert not isinstance(told.value, StorageError)  # the fault of that file
    assert told.value.errno == errno.EFBIG
    assert disturbed.requests == 1


@pytest.mark.s3
def test_empty_objects(s3, tmp_path):
    storage.write_bytes(f"{s3}/{tmp_path.name}/empty", b"")
    assert storage.read_bytes(f"{s3}/{tmp_path.name}/empty") == b""
    with pytest.raises(InputError, match="not a Parquet file"):
        parquet.read_table(f"{s3}/{tmp_path.name}/empty")


@pytest.mark.s3
def test_public_buckets_need_no_keys(s3, tmp_path):
    uri = f"s3://{s3_server.PUBLIC}/{tmp_path.name}/u"
    storage.write_bytes(uri, b"for all")
    storage.write_bytes(f"{s3}/{tmp_path.name}/u", b"not for all")
    code = "import sys; from pipeline.io import storage as s; u = sys.argv[1]\n"
    code += "print(s.names(s.parent(u)), s.read_bytes(u))"
    read = [sys.executable, "-c", code]
    options = {"env": s3_server.without_keys(), "capture_output": True, "text": True, "check": False}
    assert subprocess.run([*read, uri], **options).stdout == "['u'] b'for all'\n"
    refused = subprocess.run([*read, f"{s3}/{tmp_path.name}/u"], **options)
    assert "ServerError" in refused.stderr


@pytest.mark.parametrize("uri", ["s3://key:secret-value@bucket/x", "https://user:secret-value@host/x?sig=secret-value"])
def test_keys_in_a_uri_are_refused_and_not_repeated(uri):
    for call in (storage.exists, storage.names, storage.read_bytes):
        with pytest.raises(InputError, match=r"://\*\*\*@") as told:
            call(uri)
        assert "secret-value" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ACCESS_KEY_ID", "only-half"), ("AWS_PROFILE", "nope"), ("AWS_CONFIG_FILE", "broken")]
)
def test_unusable_aws_settings_are_one_line(tmp_path, monkeypatch, name, value):
    (tmp_path / "broken").write_text("[[[")
    for other in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(tmp_path / value) if name == "AWS_CONFIG_FILE" else value)
    _forget_clients()
    try:
        with pytest.raises(StorageError, match="s3://bucket/x: the AWS settings are not usable: .*set AWS_ACCESS_KEY"):
            storage.exists("s3://bucket/x")
    finally:
        _forget_clients()


@pytest.mark.s3
def test_a_disk_that_fills_up_ends_the_requests_ahead(s3, tmp_path, monkeypatch):
    uri = f"{s3}/{tmp_path.name}/v.mp4"
    storage.write_bytes(uri, bytes(LARGE))
    closed = []
    download = remote.download

    def watched(uri):
        total, blocks = download(uri)

        def content():
            try:
                yield from blocks
            finally:
                closed.append(True)

        return total, content()

    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(remote, "download", watched)
    full = contextlib.nullcontext(SimpleNamespace(write=fail))
    monkeypatch.setattr(local_copy, "open", lambda path, mode: full, raising=False)
    with pytest.raises(StorageError, match="full"), local_file(uri):
        pass
    assert closed == [True]


def test_keys_in_the_endpoint_are_refused(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://key:secret-value@127.0.0.1:9")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL") as told:
        storage.exists("s3://bucket/x")
    assert "secret-value" not in str(told.value)


def test_a_limit_of_file_sizes_is_not_a_full_disk(tmp_path):
    """As 'ulimit -f' sets it."""
    with pytest.raises(StorageError, match="raise the limit of file sizes"), local.report_full_disk("a", str(tmp_path)):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
