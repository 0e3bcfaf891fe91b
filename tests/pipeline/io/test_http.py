"""HTTP as a storage: servers that fail are asked again, and only 404 says that a file does not exist."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.io import http, storage
from pipeline.io.local_copy import local_file
from pipeline.video import Selection, read_frames
from schemas import access
from schemas.errors import InputError, MediaError, StorageError

CONTENT = os.urandom(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT under any path. `answers` holds the fault of each of the next requests: a status, or "cut"."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = [], 0
        self.ranges = self.states_size = True

    def uri(self, name: str = "v.mp4") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        self.server.requests += 1
        fault = self.server.answers.pop(0) if self.server.answers else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        start, stop = 0, len(CONTENT)
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else stop, stop)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        if self.server.states_size:
            self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        content = CONTENT[start:stop]
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    monkeypatch.setenv(access.VARIABLE, access.PRIVATE)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.0)
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()
        yield running
        running.shutdown()


def test_an_empty_file_for_which_the_server_has_no_range(server):
    """S3 answers 416 to a request for the bytes of an empty object."""
    server.answers = [416] * 3
    assert http.size(server.uri()) == 0
    with storage.open_input(server.uri()) as file:
        assert file.read() == b""
    server.answers = [416] * 4
    with pytest.raises(MediaError, match="is an empty file; replace it"):
        list(read_frames(server.uri(), Selection()))


@pytest.mark.parametrize("ranges", [True, False])
def test_files_are_read_in_every_way(server, ranges):
    server.ranges = ranges
    uri = server.uri("v 1.mp4?signature=a%2Fb")
    assert storage.size(uri) == len(CONTENT)
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == CONTENT
    with local_file(uri) as path, open(path, "rb") as file:
        assert file.read() == CONTENT
    with storage.open_input(uri) as file:
        assert file.seek(-100, os.SEEK_END) == len(CONTENT) - 100
        assert file.read() == CONTENT[-100:]
        file.seek(7)
        assert file.read(9) == CONTENT[7:16]


def test_a_server_that_does_not_state_the_size(server):
    server.ranges = server.states_size = False
    assert storage.read_bytes(server.uri()) == CONTENT


@pytest.mark.parametrize("fault", [401, 403, 408, 429, 500, 503, "cut"])
@pytest.mark.parametrize("ranges", [True, False])
def test_passing_faults_are_borne(server, fault, ranges):
    server.ranges, server.answers = ranges, [fault] * 3
    assert storage.read_bytes(server.uri()) == CONTENT
    assert not server.answers


@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 429, 500, 501, 503])
def test_a_server_that_keeps_failing_ends_the_command(server, status):
    for call in (storage.exists, storage.read_bytes, storage.size, lambda uri: next(read_frames(uri, Selection()))):
        server.answers, server.requests = [status] * 100, 0
        with pytest.raises(StorageError, match=rf"v.mp4\?\*\*\*:? the server failed 8 times: HTTP {status}") as told:
            call(server.uri("v.mp4?signature=secret"))
        assert server.requests == http.TRIES
        assert told.value.exit_code == 3
        assert ("renew the signature" in str(told.value)) == (status in (401, 403))


def test_a_redirect_that_cannot_be_followed_costs_one_row(server):
    server.answers = [302] * 100  # to nowhere; tests of redirects to other schemes are in test_peers
    with pytest.raises(MediaError, match=r"the server redirects .*v\.mp4\?\*\*\*") as told:
        next(read_frames(server.uri("v.mp4?signature=secret"), Selection()))
    assert told.value.status == "missing"
    assert server.requests == 1


def test_only_404_is_a_missing_file(server):
    server.answers = [404] * 4
    assert not storage.exists(server.uri())
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(server.uri())
    with pytest.raises(MediaError, match="does not exist") as told:
        next(read_frames(server.uri(), Selection()))
    assert told.value.status == "missing"
    assert server.requests == 3


def test_http_is_never_listed(server):
    assert not storage.is_folder(server.uri("folder"))
    with pytest.raises(InputError, match="can only be read, file by file"):
        storage.names(server.uri("folder"))
    assert server.requests == 0


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://127.0.0.1:1/v.mp4", "Connection refused"),
        ("https://no-such-host.invalid/v.mp4", "Name|name|resolution"),
    ],
)
def test_servers_that_cannot_be_reached(monkeypatch, uri, reason):
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.0)
    with pytest.raises(StorageError, match=reason):
        next(read_frames(uri, Selection()))


def test_a_server_without_tls(server):
    with pytest.raises(StorageError, match="SSL|TLS"):
        storage.read_bytes(server.uri().replace("http:", "https:"))


def test_a_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(http, "TIMEOUT", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(StorageError, match="timed out"):
            storage.read_bytes(f"http://127.0.0.1:{silent.getsockname()[1]}/v.mp4")


@pytest.mark.parametrize("uri", ["http://[::1/v.mp4", "http://host:port/v.mp4"])
def test_a_url_that_is_none_costs_its_row(uri):
    with pytest.raises(MediaError) as told:
        next(read_frames(uri, Selection()))
    assert told.value.status == "bad_row"
