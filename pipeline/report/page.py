"""Templates to HTML: everything escaped, no script, styles that the page's own policy knows by their hash."""

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2

from schemas.version import __version__

FOLDER = Path(__file__).parent


def render(template: str, **content: object) -> bytes:
    """The page that a template beside this file makes of `content`, UTF-8."""
    style = (FOLDER / "style.css").read_text()
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    page = _environment().get_template(template)
    return page.render(style=style, policy=policy, version=__version__, **content).encode()


def number(value: float | None) -> str:
    """Four digits, or a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.4f}"


def signed(value: float | None) -> str:
    """As `number`, with its sign."""
    return "–" if value is None or value != value else f"{value:+.4f}".replace("-", "−")


def interval(ends: Sequence[float | None] | None) -> str:
    """Both ends of an interval; nothing where there is none."""
    if ends is None or ends[0] is None or ends[1] is None:
        return ""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def cut(text: object, most: int = 160) -> str:
    """A text that a page has room for."""
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "signed": signed, "interval": interval, "cut": cut}
    return environment


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
