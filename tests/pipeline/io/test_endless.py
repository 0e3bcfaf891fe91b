"""Files that never begin or never end: pipes, devices, servers that do not tell a size. Memory and disk are bounded."""

import os
import socketserver
import threading
from pathlib import Path

import pytest

from pipeline.io import local, storage
from pipeline.io.local_copy import local_file
from pipeline.video import Selection, probe, read_frames
from schemas import access
from schemas.errors import MediaError


class Endless(socketserver.StreamRequestHandler):
    """Answers every request without a size, and with bytes until the client leaves."""

    def handle(self):
        self.rfile.readline()
        try:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                self.wfile.write(bytes(65536))
        except OSError:
            pass


@pytest.fixture
def endless(monkeypatch):
    monkeypatch.setenv(access.VARIABLE, access.PRIVATE)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v.mp4"
        server.shutdown()


@pytest.fixture(params=["pipe", "device", "socket"])
def odd_file(request, tmp_path, monkeypatch) -> str:
    if request.param == "device":
        return "/dev/zero"
    if request.param == "pipe":
        os.mkfifo(tmp_path / "pipe.mp4")
        return str(tmp_path / "pipe.mp4")
    monkeypatch.chdir(tmp_path)
    socketserver.ThreadingUnixStreamServer("s", socketserver.BaseRequestHandler).server_close()
    return str(tmp_path / "s")


def test_only_regular_files_are_read(odd_file):
    with pytest.raises(OSError, match="not a regular file|No such device"):
        storage.read_bytes(odd_file, limit=100)
    for opened in (storage.open_input, local_file):
        with pytest.raises(OSError, match="not a regular file|No such device"), opened(odd_file):
            pass


@pytest.mark.parametrize("scheme", ["tar", "zip"])
def test_only_regular_files_are_read_as_archives(odd_file, scheme):
    member = f"{scheme}://a.mp4::{odd_file}"
    for read in (storage.read_bytes, storage.size, lambda uri: next(read_frames(uri, Selection())), probe):
        with pytest.raises((OSError, MediaError), match="not a regular file|No such device"):
            read(member)


@pytest.mark.parametrize("uri", ["tar://a.mp4::/proc/self/mem", "{}/v.png", "{}"])
def test_an_error_of_the_kernels_own_files_costs_one_row(tmp_path, uri):
    """It would be that of a failing disk, which ends the command."""
    (tmp_path / "v.png").symlink_to("/proc/self/mem")
    for read in (lambda uri: next(read_frames(uri, Selection())), probe):
        with pytest.raises(MediaError, match="Input/output error"):
            read(uri.format(tmp_path))


def test_a_pipe_as_a_video_costs_one_row(tmp_path):
    os.mkfifo(tmp_path / "v.mp4")
    with pytest.raises(MediaError, match="not a regular file"):
        probe(str(tmp_path / "v.mp4"))
    with pytest.raises(MediaError, match="not a regular file"):
        list(read_frames(str(tmp_path / "v.mp4"), Selection()))


def test_a_file_that_hides_its_size_is_judged_by_what_comes():
    assert os.path.getsize("/proc/version") == 0
    assert storage.read_bytes("/proc/version", limit=100_000) == Path("/proc/version").read_bytes()
    with pytest.raises(OSError, match="larger than 10 bytes"):
        storage.read_bytes("/proc/version", limit=10)


def test_an_endless_answer_ends_at_the_limit(endless, monkeypatch):
    monkeypatch.setattr(local, "MAX_UNTOLD_BYTES", 3_000_000)
    with pytest.raises(OSError, match="larger than 100000 bytes"):
        storage.read_bytes(endless, limit=100_000)
    for opened in (storage.open_input, local_file):
        with pytest.raises(OSError, match="larger than 3000000 bytes"), opened(endless):
            pass
    with pytest.raises(MediaError, match="larger than 3000000 bytes"):
        list(read_frames(endless, Selection()))


def test_a_hidden_part_has_the_usual_rights_and_no_thread_sees_another_mask(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "umask")  # it cannot be read without setting it for all threads
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # a file system without nameless files
    with local.nameless_file(str(tmp_path)) as path:
        assert Path(path).name.endswith(".part")
    assert not list(tmp_path.iterdir())
