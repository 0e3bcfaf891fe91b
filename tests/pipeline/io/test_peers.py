"""Servers in private networks: rows of strangers do not reach them, by name, address, redirect or proxy."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.config.check import CheckConfig
from pipeline.io import peers, storage
from pipeline.video import Selection, read_frames
from schemas import access
from schemas.errors import MediaError

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1%eth0", "fd00:ec2::254", "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1", "fec0::1", "192.0.0.192",
    "168.63.129.16", "::ffff:168.63.129.16", "192.88.99.1", "3fff::1", "198.18.0.1", "203.0.113.1", "100::1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    monkeypatch.delenv(access.VARIABLE, raising=False)


@pytest.fixture
def server():
    """Counts requests; `/to/URL` redirects."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            running.seen += 1
            self.send_response(302 if self.path.startswith("/to/") else 200)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.seen = 0
        threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address):
    assert not peers.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_public_addresses(address):
    assert peers.is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0"])
def test_a_row_does_not_reach_loopback(server, host):
    for uri in (f"http://{host}:{server.server_port}/v.mp4", f"tar://a.mp4::http://{host}:{server.server_port}/s.tar"):
        with pytest.raises(MediaError, match="--allow-private") as told:
            next(read_frames(uri, Selection()))
        assert told.value.status == "bad_row"
    assert server.seen == 0


def test_a_name_with_one_private_address_is_refused(server, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(peers.PrivatePeerError, match=r"two-faced.example is at 127.0.0.1"):
        storage.read_bytes("http://two-faced.example/v.mp4")


@pytest.mark.parametrize(
    "target", ["http://localhost:{}/x", "http://169.254.169.254/latest", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
def test_redirects_go_through_the_same_door(server, target):
    access.allow(f"127.0.0.1:{server.server_port}")
    with pytest.raises((peers.PrivatePeerError, OSError)) as told:
        storage.read_bytes(f"http://127.0.0.1:{server.server_port}/to/{target.format(server.server_port)}")
    assert target.startswith(("ftp", "file")) or isinstance(told.value, peers.PrivatePeerError)
    assert server.seen == 1


def test_what_the_user_names_is_allowed(server):
    address = f"http://127.0.0.1:{server.server_port}"
    CheckConfig(manifest=f"{address}/m.parquet")
    assert storage.read_bytes(f"{address}/v.mp4") == b"ok"
    with pytest.raises(peers.PrivatePeerError):
        storage.read_bytes(f"http://localhost:{server.server_port}/v.mp4")
    CheckConfig(manifest="m.parquet", allow_private=True)
    assert storage.read_bytes(f"http://localhost:{server.server_port}/v.mp4") == b"ok"


def test_a_proxy_does_not_open_the_door(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(peers.PrivatePeerError):
        storage.read_bytes("http://10.0.0.1/v.mp4")
    assert server.seen == 0
