"""Render templates to HTML: all text is escaped, and the policy of a page allows only its own style, no script."""

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import markupsafe

from schemas.printable import printable
from schemas.shown import without_secrets
from schemas.version import __version__

TEMPLATES = Path(__file__).parent


def render(template: str, **content: object) -> bytes:
    """Render a template of this folder with `content`, as UTF-8."""
    style = (TEMPLATES / "style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    page = environment().get_template(template)
    text = page.render(style=style, policy=policy, version=__version__, **content)
    return text.encode(errors="backslashreplace")  # JSON of others may hold halves of surrogate pairs


def made_of_line(text: str) -> str:
    """Return the line of a page that was rendered with this `made_of`: what its content was made of."""
    return f'<meta name="made-of" content="{markupsafe.escape(_shown(text))}">'


def number(value: float | None) -> str:
    """Four decimals; a dash for a value that is unknown."""
    return "–" if value is None or value != value else f"{value:.4f}"


def signed(value: float | None) -> str:
    """Format a number like `number`, with its sign."""
    return "–" if value is None or value != value else f"{value:+.4f}".replace("-", "−")


def interval(ends: Sequence[float | None] | None) -> str:
    """Both ends of an interval; empty if it is unknown."""
    if ends is None or ends[0] is None or ends[1] is None:
        return ""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def interval_of(row: Mapping, metric: str) -> tuple[float | None, float | None]:
    """The ends of the interval that a row of a summary has for a metric; None if it has none."""
    low, high = (row.get("interval") or {}).get(metric) or (None, None)
    return low, high


def truncate(text: object, most: int = 160) -> str:
    """At most `most` characters, the last one an ellipsis if the text is longer."""
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def short_path(uri: str) -> str:
    """The last two parts of a path or URI, for titles: "scores/new"."""
    return truncate("/".join(uri.rstrip("/").rsplit("/", 2)[-2:]).lstrip("/"), 80)


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates of this folder; they escape all text, and hide the secrets of URIs in it.

    Characters that turn the direction of text, or control a terminal that prints the page, are shown as escapes.
    """
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "signed": signed, "interval": interval, "truncate": truncate}
    return found


def _finalize(value: object) -> object:
    """Return what a template shows of `value`. Markup is a part of the page that is finished."""
    return _shown(value) if type(value) is str else value


def _shown(text: str) -> str:
    return printable(without_secrets(text))
