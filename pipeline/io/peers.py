"""Connect to servers of HTTP by addresses that may be reached: no loopback, link-local or private ones.

A name is resolved once, every address is checked, and the connection goes to one that was checked: a name that
resolves to something else a moment later leads nowhere. Redirects go through the same door.
"""

import contextlib
import http.client
import ipaddress
import socket
import urllib.parse
import urllib.request
from typing import Any

from pipeline.io.answer import Answer
from schemas import access
from schemas.errors import InputError
from schemas.uri import HTTP

MOST_ADDRESSES = 8  # of a server that are tried; a name may have thousands, each of which may not answer
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Addresses that Python, or an older version of it, counts as global, and that no public web server has.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # of Azure, in each of its machines: certificates and keys
            "192.0.0.0/24",  # for protocols of the IETF; 192.0.0.192 serves the metadata of Oracle's machines
            "192.88.99.0/24",  # relays of 6to4
            "fec0::/10",  # site-local, an older form of private addresses
            "3fff::/20",  # for examples in documents
        ),
    )
)


class PrivatePeerError(InputError):
    """A URL leads to an address that is not public."""


def opener() -> urllib.request.OpenerDirector:
    """Return an opener of HTTP URLs that refuses private peers with PrivatePeerError, unless they are allowed."""
    made = urllib.request.OpenerDirector()  # build_opener would add ftp:, file: and data:
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _RedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HTTPHandler(),
        _HTTPSHandler(),
    ):
        made.add_handler(handler)
    return made


def require_public(host: str, port: int | None, addresses: list[str]) -> None:
    """Raise PrivatePeerError if one of the addresses of a server is not public, and the server is not allowed."""
    if access.is_allowed(access.PRIVATE, f"{host}:{port}"):
        return
    for address in addresses:
        if not is_public(address):
            raise PrivatePeerError(
                f"{host} {'is' if host == address else f'is at {address},'} a loopback, link-local or private address; "
                "give --allow-private to read from there, or that URL itself to a command without this option"
            )


def is_public(address: str) -> bool:
    """Return True if an IP address can be reached from everywhere. Addresses that hold others count as those."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        for inner in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())):
            if inner is not None:
                return is_public(str(inner))
        if int(ip) >> 32 == 0:  # the old form of an IPv4 address in IPv6
            return False
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _connect(target: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
    """Connect as `socket.create_connection`, to checked addresses only."""
    host, port = target
    addresses = _addresses(host, port)
    require_public(host, port, addresses)
    addresses = addresses[:MOST_ADDRESSES]
    for address in addresses[:-1]:
        try:
            return socket.create_connection((address, port), timeout, source)
        except OSError:
            continue
    return socket.create_connection((addresses[-1], port), timeout, source)


def _addresses(host: str, port: int | None) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _checked(connection: type[http.client.HTTPConnection], request: urllib.request.Request) -> Any:
    """Return a maker of connections for `request`.

    A proxy is the user's own word; behind it, the target is checked as far as its name is known here.
    """
    proxied = request.has_proxy() or bool(getattr(request, "_tunnel_host", None))
    if proxied:
        target = urllib.parse.urlsplit(request.full_url)
        with contextlib.suppress(OSError):
            require_public(target.hostname or "", target.port, _addresses(target.hostname or "", None))

    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        made = connection(host, **options)
        made.response_class = Answer
        if not proxied:
            made._create_connection = _connect  # pyright: ignore[reportAttributeAccessIssue]
        return made

    return make


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme.lower() not in HTTP:  # the base class lets ftp: through
            return None  # so the answer is an HTTPError
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_checked(http.client.HTTPConnection, req), req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_checked(http.client.HTTPSConnection, req), req)
