"""Servers whose answers never end, or are other ones than they say: each costs a bounded time, and its own row."""

import itertools
import shutil
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.io import answer, http, peers, storage
from pipeline.video import Selection, probe, read_frames
from schemas import access
from schemas.errors import MediaError, ServerError

OK, PIECES = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def trickle(start: bytes) -> Iterator[bytes]:
    """Yield a byte now and then."""
    yield start
    while True:
        time.sleep(0.02)
        yield b"x"


ANSWERS = {
    "slow content": lambda _: trickle(OK + b"Content-Length: 1000000\r\n\r\n"),
    "slow headers": lambda _: trickle(OK),
    "a byte an answer": lambda at: [b"HTTP/1.1 206 P\r\nContent-Range: bytes %d-%d/1000000\r\n\r\nx" % (at, at)],
    "continue": lambda _: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "headers": lambda _: itertools.chain([OK], itertools.repeat(b"X: a\r\n" * 1000)),
    "trailers": lambda _: itertools.chain([PIECES, b"1\r\nx\r\n0\r\n"], itertools.repeat(b"X: a\r\n" * 1000)),
    "negative piece": lambda _: [PIECES, b"-5\r\nxxxxx"],
    "piece without a size": lambda _: [PIECES, b";\r\nxxxxx"],
    "extensions of pieces": lambda _: itertools.chain([PIECES], itertools.repeat(b"1;" + b"a" * 60000 + b"\r\nx\r\n")),
    "other bytes": lambda at: [
        b"HTTP/1.1 206 P\r\nContent-Range: bytes %d-/1000\r\nContent-Length: 9\r\n\r\n" % (at + 7)
    ],
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        name, start = self.rfile.readline().split()[1].decode(), 0
        while line := self.rfile.readline().strip():
            if line.lower().startswith(b"range: bytes="):
                start = int(line.partition(b"=")[2].split(b"-")[0])
        try:
            for part in self.server.answers[name](start):
                self.wfile.write(part)
        except OSError:
            pass


@pytest.fixture
def server(monkeypatch):
    """server(name, answer) -> a URL."""
    monkeypatch.setenv(access.VARIABLE, access.PRIVATE)
    monkeypatch.setattr(answer, "WINDOW", 0.5)
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.001)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads, running.block_on_close, running.answers = True, False, {}
        threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()

        def make(make_answer) -> str:
            running.answers["/v.mp4"] = make_answer
            return f"http://127.0.0.1:{running.server_address[1]}/v.mp4"

        yield make
        running.shutdown()


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_never_end_do_so(server, name):
    uri = server(ANSWERS[name])
    for read in (storage.read_bytes, probe, lambda uri: next(read_frames(uri, Selection()))):
        with pytest.raises(ServerError, match="check the server and the network"):
            read(uri)


def test_a_server_that_states_more_than_the_free_space_costs_its_row(server, monkeypatch):
    """A disk that is full ends the command."""
    usage, free = shutil.disk_usage("/"), 10 * 2**30
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=2**50, free=free))
    uri = server(lambda _: [OK + b"Content-Length: %d\r\n\r\n" % (free + 1)])
    with pytest.raises(MediaError, match=f"{free} free in .*; set TMPDIR to a larger disk"):
        next(read_frames(uri, Selection()))
    free = 2**29
    with pytest.raises(storage.local.StorageError, match="free some space"):
        next(read_frames(uri, Selection()))


def test_some_of_the_addresses_of_a_name_are_tried(monkeypatch):
    tried = []

    def connect(target, *_):
        tried.append(target[0])
        raise TimeoutError("timed out")

    found = [(2, 1, 6, "", (f"8.8.{number >> 8}.{number & 255}", 80)) for number in range(4000)]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr("socket.create_connection", connect)
    monkeypatch.setattr(http, "TRIES", 1)
    with pytest.raises(ServerError):
        storage.read_bytes("http://many.example/v.mp4")
    assert len(tried) == peers.MOST_ADDRESSES
