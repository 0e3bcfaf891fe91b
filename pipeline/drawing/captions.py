"""Captions in the script of their sentence, by the fonts that are installed; never boxes in place of letters.

Pillow's own small font has little more than ASCII. DejaVu Sans, which comes with matplotlib, has Greek, Cyrillic,
Hebrew and Arabic. The packages of the extra `fonts` have the Noto fonts of other scripts.
"""

import functools
import importlib.util
import io
import unicodedata
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

SIZE, NOTO_SIZE = 10, 12  # letters of other scripts have more strokes
NOTO = ("manimgx_fonts", "manimgx_fonts_cjk")
_PLAIN_DIRECTIONS = {"L", "EN", "ES", "ET", "CS", "ON", "WS", "NSM"}  # from left to right, or of no direction
_RIGHT_TO_LEFT = {"R", "AL"}

Font = ImageFont.FreeTypeFont
Runs = list[tuple[Font, str]]  # pieces of a text, from left to right


def caption_of(name: str, sentence: str, suffix: str = "") -> str:
    """Return `name: sentence`, or the name alone if the fonts lack a character of the sentence."""
    text = f"{name}: {sentence}{suffix}"
    if _runs_of(text):
        return text
    return f"{name}{suffix}" if _runs_of(name) else f"{ascii(name)[1:-1]}{suffix}"


def draw_caption(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    """Draw one line whose upper left corner is `at`; nothing if the fonts lack a character of it."""
    left, top = at
    runs = _runs_of(text)
    for font, part in runs:
        draw.text((left, top + runs[0][0].getmetrics()[0]), part, fill=(230, 230, 230), font=font, anchor="ls")
        left += font.getlength(part)


def _runs_of(text: str) -> Runs:
    """Divide a text by the fonts that have its characters, one font if it can be; [] if a character has none."""
    if not features.check("raqm") and not all(map(_is_plain, text)):  # it joins and orders letters
        return []
    fonts = _fonts()
    whole = next((font for font in fonts if all(ord(char) in _characters(font) for char in text)), None)
    if whole:
        return [(whole, text)]
    runs: Runs = []
    for char in text:
        if runs and (ord(char) in _characters(runs[-1][0]) or unicodedata.category(char) in ("Mn", "Me", "Cf")):
            runs[-1] = runs[-1][0], runs[-1][1] + char
        elif font := next((font for font in fonts if ord(char) in _characters(font)), None):
            runs.append((font, char))
        else:
            return []
    turned = [
        at for at, (_, part) in enumerate(runs) if not _RIGHT_TO_LEFT.isdisjoint(map(unicodedata.bidirectional, part))
    ]
    if turned:  # within a run, Pillow orders the letters
        runs[turned[0] : turned[-1] + 1] = runs[turned[0] : turned[-1] + 1][::-1]
    return runs


def _is_plain(char: str) -> bool:
    return unicodedata.bidirectional(char) in _PLAIN_DIRECTIONS and not unicodedata.category(char).startswith("M")


@functools.cache
def _fonts() -> tuple[Font, ...]:
    import matplotlib

    files = []
    for package in NOTO:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            files += sorted(path for path in Path(folder).iterdir() if path.suffix in (".ttf", ".otf", ".ttc"))
    dejavu = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), SIZE)
    return ImageFont.load_default(SIZE), dejavu, *map(_noto, files)  # pyright: ignore[reportReturnType]


def _noto(path: Path) -> Font:
    font = ImageFont.truetype(path, NOTO_SIZE)
    if b"Regular" in font.get_variation_names():  # by default, some have the thinnest weight
        font.set_variation_by_name("Regular")
    return font


@functools.cache
def _characters(font: Font) -> frozenset[int]:
    """Return the code points that a font has pictures for."""
    from matplotlib.ft2font import FT2Font

    if isinstance(font.path, io.BytesIO):  # the font inside of Pillow
        font.path.seek(0)
    return frozenset(FT2Font(font.path).get_charmap())
