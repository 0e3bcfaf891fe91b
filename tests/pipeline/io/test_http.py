"""HTTP as a storage: servers that fail are asked again, and only 404 says that a file does not exist."""

import gzip
import os
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
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
        self.content, self.encoding = CONTENT, ""

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
        start, stop = 0, len(self.server.content)
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else stop, stop)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(self.server.content)}")
        else:
            self.send_response(200)
        if self.server.states_size:
            self.send_header("Content-Length", str(stop - start))
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        self.end_headers()
        content = self.server.content[start:stop]
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


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:])),
        ("X-GZIP", gzip.compress(CONTENT)),
        ("deflate", zlib.compress(CONTENT)),
        ("identity", CONTENT),
    ],
    ids=["gzip, two members", "X-GZIP", "deflate", "identity"],
)
def test_answers_that_are_packed_on_the_way_are_unpacked(server, encoding, packed, ranges):
    server.content, server.encoding, server.ranges = packed, encoding, ranges
    assert storage.read_bytes(server.uri()) == CONTENT
    with local_file(server.uri()) as path, open(path, "rb") as file:
        assert file.read() == CONTENT
    with storage.open_input(server.uri()) as file:
        assert file.seek(-100, os.SEEK_END) == len(CONTENT) - 100
        assert file.read() == CONTENT[-100:]
    server.answers = ["cut"] * 3
    assert storage.read_bytes(server.uri()) == CONTENT


@pytest.mark.parametrize(
    ("encoding", "packed", "reason"),
    [
        ("br", b"packed", "packed with 'br', which cannot be unpacked here; store the file"),
        ("gzip", CONTENT, "says Content-Encoding: gzip, but sends other bytes"),
        ("gzip", gzip.compress(CONTENT)[:-20], r"\(Content-Encoding: gzip\) is cut off"),
    ],
    ids=["another packing", "not packed", "cut off"],
)
def test_packed_answers_that_cannot_be_unpacked(server, encoding, packed, reason):
    server.content, server.encoding = packed, encoding
    with pytest.raises(MediaError, match=reason):
        next(read_frames(server.uri(), Selection()))


def test_packed_answers_are_bounded(server):
    server.content, server.encoding = gzip.compress(bytes(2**26)), "gzip"
    with pytest.raises(OSError, match="larger than 1048576 bytes"):
        storage.read_bytes(server.uri(), limit=2**20)


def test_a_server_that_does_not_state_the_size(server):
    server.ranges = server.states_size = False
    assert storage.read_bytes(server.uri()) == CONTENT


@pytest.mark.parametrize("fault", [408, 425, 429, 500, 503, "cut"])
@pytest.mark.parametrize("ranges", [True, False])
def test_passing_faults_are_borne(server, fault, ranges):
    server.ranges, server.answers = ranges, [fault] * 3
    assert storage.read_bytes(server.uri()) == CONTENT
    assert not server.answers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 503])
def test_a_server_that_keeps_failing_ends_the_command(server, status):
    for call in (storage.exists, storage.read_bytes, storage.size, lambda uri: next(read_frames(uri, Selection()))):
        server.answers, server.requests = [status] * 100, 0
        with pytest.raises(StorageError, match=rf"v.mp4\?\*\*\*:? the server failed 8 times: HTTP {status}") as told:
            call(server.uri("v.mp4?signature=secret"))
        assert server.requests == http.TRIES
        assert told.value.exit_code == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 405, 406, 409, 414, 418])
def test_a_server_that_refuses_a_request_is_asked_once(server, status):
    for call in (storage.exists, storage.read_bytes, storage.size, lambda uri: next(read_frames(uri, Selection()))):
        server.answers, server.requests = [status] * 100, 0
        with pytest.raises(
            StorageError, match=rf"v.mp4\?\*\*\*:? the server refuses the request: HTTP {status}"
        ) as told:
            call(server.uri("v.mp4?signature=secret"))
        assert server.requests == 1
        assert told.value.exit_code == 3
        assert ("renew the signature" in str(told.value)) == (status in (401, 403))


def test_a_redirect_that_cannot_be_followed_costs_one_row(server):
    server.answers = [302] * 100  # to nowhere; tests of redirects to other schemes are in test_peers
    with pytest.raises(MediaError, match=r"the server redirects .*v\.mp4\?\*\*\*") as told:
        next(read_frames(server.uri("v.mp4?signature=secret"), Selection()))
    assert told.value.status == "missing"
    assert server.requests == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "does not exist;"), (410, r"gone for good \(HTTP 410\)"), (451, "legal reasons")]
)
def test_what_a_server_does_not_have_is_a_missing_file(server, status, reason):
    server.answers = [status] * 4
    assert not storage.exists(server.uri())
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(server.uri())
    with pytest.raises(MediaError, match=reason) as told:
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


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; it is not installed")
def test_a_certificate_that_nobody_signed(server, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=refervos"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *options, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    uri = server.uri().replace("http:", "https:")
    with pytest.raises(StorageError, match=r"is not trusted \(self-signed certificate\); set SSL_CERT_FILE to a PEM"):
        storage.read_bytes(uri)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert storage.read_bytes(uri) == CONTENT
    with pytest.raises(StorageError, match=r"not trusted \(.*'localhost'.*\); correct the host in the URL"):
        storage.read_bytes(uri.replace("127.0.0.1", "localhost"))


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
