"""The servers in private networks that this process may read from, whoever names them.

The options of a command set them. They live in the environment, which workers inherit.
"""

import os
import urllib.parse

VARIABLE = "RVOS_ALLOW"
PRIVATE = "private"  # all servers of HTTP in loopback, link-local and private ranges


def allow(*names: str) -> None:
    """Allow PRIVATE, or servers by name, from now on."""
    os.environ[VARIABLE] = " ".join(sorted({*allowed(), *names}))


def is_allowed(*names: str) -> bool:
    return not allowed().isdisjoint(names)


def server_of(url: str) -> str:
    """Return host and port of a URL."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.hostname}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"


def allowed() -> set[str]:
    return set(os.environ.get(VARIABLE, "").split())
