"""Text that a terminal shows and does not obey: ids, file names and logs of others may hold control sequences."""

import unicodedata

# Controls, invisible formats (such as those that turn the direction of text), halves of pairs, and line separators.
_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Letters and marks that show nothing: fillers of Hangul and Khmer, the joiner of graphemes, the blank of Braille.
_INVISIBLE = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_KEPT = {"\u200c", "\u200d"}  # joiners: Persian, Indic scripts and emoji need them


def is_printable(text: str) -> bool:
    """Return True if no character of `text` moves the cursor, is invisible, or changes what is around it."""
    return (text.isascii() and text.isprintable()) or not any(_is_odd(character) for character in text)


def printable(text: str) -> str:
    r"""Return `text` with escapes such as `\x1b` for the other characters; line breaks and tabs stay."""
    lines = text.replace("\r\n", "\n")
    if lines.isascii() and lines.replace("\n", "").replace("\t", "").isprintable():
        return lines
    return "".join(ascii(c)[1:-1] if c not in "\n\t" and _is_odd(c) else c for c in lines)


def one_line(text: str) -> str:
    """Return `printable` text for a cell of a table: each stretch of line breaks, tabs and blanks becomes a blank."""
    return " ".join(printable(text).split())


def counted(number: float, noun: str, form: str = "") -> str:
    """Return a number with its noun, "1 pair" or "2 pairs", the number in a format such as ","."""
    return f"{number:{form}} {noun}{'' if number == 1 else 's'}"


def _is_odd(character: str) -> bool:
    return (unicodedata.category(character) in _CATEGORIES and character not in _KEPT) or character in _INVISIBLE
