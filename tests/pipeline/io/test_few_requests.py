"""Remote files that lead a reader from part to part: the number of requests is bounded."""

import socketserver
import struct
import threading

import pytest

from pipeline.io import few_requests
from pipeline.video import probe
from schemas import access
from schemas.errors import MediaError

PART, SIZE = 2**20, 2**40
EBML = bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska" + bytes.fromhex("18538067 01ffffffffffffff")
FILES = {  # the first bytes, and those at the start of each part
    "mp4": (struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom"), struct.pack(">I4s", PART, b"free")),
    "fragments": (struct.pack(">I4s4sI4s", 20, b"ftyp", b"iso5", 0, b"iso5"), struct.pack(">I4s", PART, b"moof")),
    "mkv": (EBML, b"\xec" + (2**56 + PART - 9).to_bytes(8, "big")),
}


class Handler(socketserver.StreamRequestHandler):
    """Makes up a file of SIZE bytes: a chain of parts, of which nobody needs any."""

    def handle(self):
        name, first = self.rfile.readline().split()[1].decode(), 0
        last = SIZE - 1
        while line := self.rfile.readline().strip():
            if line.lower().startswith(b"range: bytes="):
                words = line.partition(b"=")[2].split(b"-")
                first, last = int(words[0]), int(words[1] or last)
        self.server.requests += 1
        start, part = FILES[name.removeprefix("/").partition(".")[0]]
        head = f"HTTP/1.0 206 P\r\nContent-Range: bytes {first}-{last}/{SIZE}\r\nContent-Length: {last - first + 1}\r\n"
        try:
            self.wfile.write(head.encode() + b"\r\n")
            while first <= last and first < SIZE:  # parts begin right behind `start`
                at = first - len(start)
                block = start if at < 0 else part + bytes(PART - len(part))
                block = block[first if at < 0 else at % PART :][: last - first + 1]
                self.wfile.write(block)
                first += len(block)
        except OSError:
            pass


@pytest.mark.parametrize("name", FILES)
def test_a_chain_of_parts_takes_few_requests(name, monkeypatch):
    monkeypatch.setenv(access.VARIABLE, access.PRIVATE)
    monkeypatch.setattr(few_requests, "MAX_REQUESTS", 40)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close, server.requests = True, False, 0
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        with pytest.raises(MediaError, match="in more than 40 places of the file; copy the video") as told:
            probe(f"http://127.0.0.1:{server.server_address[1]}/{name}.mkv?signature=secret")
        server.shutdown()
    assert "secret" not in str(told.value)
    assert 40 <= server.requests < 50
