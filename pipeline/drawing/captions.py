"""Captions in the script of their sentence, by the fonts that are installed; never boxes in place of characters.

Pillow's own small font has little more than ASCII. DejaVu Sans, which comes with matplotlib, has Greek, Cyrillic,
Hebrew and Arabic. The packages of the extra `fonts` have the Noto fonts of other scripts.
"""

import bisect
import functools
import importlib.util
import io
import unicodedata
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

SIZE, NOTO_SIZE = 10, 12  # letters of other scripts have more strokes
NOTO = ("manimgx_fonts", "manimgx_fonts_cjk")
CUT = "..."  # every font has it
JOINERS = "\u200c\u200d"
COLOURS = {"RED", "ORANGE", "YELLOW", "GREEN", "BLUE", "PURPLE", "BROWN"}  # in the names of emoji
_PLAIN_DIRECTIONS = {"L", "EN", "ES", "ET", "CS", "ON", "WS", "NSM"}  # from left to right, or of no direction
_RIGHT_TO_LEFT = {"R", "AL"}

Font = ImageFont.FreeTypeFont
Runs = list[tuple[Font, str]]  # pieces of a text, from left to right


def caption_of(name: str, sentence: str, suffix: str = "") -> str:
    """Return `name: sentence`, as far as the fonts can draw it; the name alone if they lack its script."""
    name = name if _runs_of(name) else ascii(name)[1:-1]
    shown = readable(sentence)
    text = f"{name}: {shown}{suffix}"
    return text if shown and _runs_of(text) else f"{name}{suffix}"


def readable(sentence: str) -> str:
    """Return a sentence as one line; names such as [large red square] stand for what captions cannot show.

    These are characters that the fonts lack, and emoji that tell a colour, as captions have one colour only. Returns ""
    if the fonts lack most of its letters.
    """
    drawn, letters, lacking = "", 0, 0
    for char in unicodedata.normalize("NFC", " ".join(sentence.split())):  # fonts have more letters than marks
        is_letter = unicodedata.category(char)[0] in "LM"
        letters += is_letter
        if _is_invisible(char):
            continue
        if _has_a_font(char) and not _tells_colour(char):
            drawn += char
            continue
        lacking += is_letter
        name = "" if is_letter else unicodedata.name(char, "").lower()
        drawn += f"[{name or f'U+{ord(char):04X}'}]"
    return drawn if 2 * lacking <= letters else ""


def draw_caption(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int) -> None:
    """Draw one line whose upper left corner is `at`, cut to `width`; nothing if the fonts lack a character of it."""
    left, top = at
    if _width_of(text) > width:
        fits = bisect.bisect_right(range(len(text)), width, key=lambda length: _width_of(f"{text[:length]}{CUT}"))
        text = f"{text[: max(fits - 1, 0)].rstrip()}{CUT}"
    runs = _runs_of(text)
    for font, part in runs:
        draw.text((left, top + runs[0][0].getmetrics()[0]), part, fill=(230, 230, 230), font=font, anchor="ls")
        left += font.getlength(part)


def _width_of(text: str) -> float:
    return sum(font.getlength(part) for font, part in _runs_of(text))


def _is_invisible(char: str) -> bool:
    """Return True for characters that only choose forms and directions; fonts draw boxes for those that they lack."""
    is_variation = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    return is_variation or (unicodedata.category(char) == "Cf" and char not in JOINERS)


def _tells_colour(char: str) -> bool:
    return unicodedata.category(char) == "So" and not COLOURS.isdisjoint(unicodedata.name(char, "").split())


def _has_a_font(char: str) -> bool:
    return any(ord(char) in _characters(font) for font in _fonts())


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
    return [
        (font, "".join(char for char in part if char not in JOINERS or ord(char) in _characters(font)))
        for font, part in runs
    ]


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
