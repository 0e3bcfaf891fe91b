"""An HTTP proxy before the S3 server that disturbs requests one by one, not connection by connection.

Faults: one of ERRORS (that answer, and nothing is forwarded), "reset" (the connection breaks before an
answer), "delay", "cut_upload" (half of the body reaches the server), "cut_download" (half of the answer comes back),
"lost_answer" (the server did it, nobody hears of that), "hang" (no answer, ever).
"""

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

EVERYDAY = ("slow_down", "reset", "delay", "cut_upload", "cut_download", "lost_answer")
MOST_DELAY = 0.5  # seconds
ERRORS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation is under way."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "skewed": (403, "RequestTimeTooSkewed", "The difference between the request time and now is too large."),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request on its way: `path` with its query, `body` as sent."""

    method: str
    path: str
    body: bytes


Choice = Callable[[Request], str | None]


def at_random(seed: int, share: float = 0.3, faults: tuple[str, ...] = EVERYDAY) -> Choice:
    """Disturb this share of all requests, by each fault that fits in turn: uploads are cut on their way up."""
    chance = random.Random(seed)
    uploads = itertools.cycle([fault for fault in faults if fault != "cut_download"] or faults)
    others = itertools.cycle([fault for fault in faults if fault != "cut_upload"] or faults)
    return lambda request: next(uploads if request.body else others) if chance.random() < share else None


class Proxy:
    """Used as a context manager. `choose` names the fault of a request, None for none; `faults` counts them."""

    def __init__(self, target: int, choose: Choice = lambda _: None):
        self.target, self.choose = target, choose
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = serving.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request: the answer says that the connection ends with it."""
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                if b"100-continue" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self._handle(head, await _body(head, reader), writer)
        finally:
            writer.close()

    async def _handle(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        method, path, _ = head.partition(b"\r\n")[0].decode().split(" ")
        fault = self.choose(Request(method, path, body))
        self.requests += 1
        if fault == "cut_upload" and not body:
            fault = "reset"
        if fault:
            self.faults[fault] += 1
        if fault in ERRORS:
            writer.write(_error(*ERRORS[fault], with_body=method != "HEAD"))
            return None
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "reset":
            return _break(writer)
        if fault == "delay":
            await asyncio.sleep(random.uniform(0, MOST_DELAY))
        answer = await self._forward(head, body[: len(body) // 2] if fault == "cut_upload" else body, fault)
        if fault in ("cut_upload", "lost_answer"):
            return _break(writer)
        if fault == "cut_download":
            start = answer.find(b"\r\n\r\n") + 4
            writer.write(answer[: (start + len(answer)) // 2])
            await writer.drain()
            return _break(writer)
        writer.write(answer)
        await writer.drain()
        return None

    async def _forward(self, head: bytes, body: bytes, fault: str | None) -> bytes:
        """The whole answer of the server; none if the request was cut."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        ours = (b"connection:", b"expect:")
        lines = [line for line in head.rstrip(b"\r\n").split(b"\r\n") if not line.lower().startswith(ours)]
        try:
            writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
            await writer.drain()
            if fault == "cut_upload":
                _break(writer)
                return b""
            return await reader.read()
        finally:
            writer.close()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """The body as it is on the wire, chunked or not."""
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" not in headers.get(b"transfer-encoding", b""):
        return await reader.readexactly(int(headers.get(b"content-length", b"0")))
    body = b""
    while not body.endswith(b"0\r\n\r\n"):
        size = await reader.readuntil(b"\r\n")
        body += size + await reader.readexactly(int(size.split(b";")[0], 16) + 2)
    return body


def _error(status: int, code: str, text: str, with_body: bool) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + (body if with_body else b"")


def _break(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, as a server that dies does."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
