"""Read the numbers in frame names where programs write them in forms of their own: 0x1f, and 1e-05 after 0.001."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

_PREFIXED = re.compile(r"(.*?)0[xX]([0-9a-fA-F]{1,64})(.*)", re.DOTALL)
_SCIENTIFIC = re.compile(r"(.*?)([0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?)([A-Za-z]*)", re.DOTALL)
_SIGNED_EXPONENT = re.compile(r"(?<=[0-9])[eE][+-](?=[0-9])")


def written_numbers(names: Sequence[str]) -> dict[str, Decimal] | None:
    """Return the number of each name; None unless all names are equal but for one number of such a form.

    An exponent counts as one only if some name has it with a sign, as Python and C write it (s1e10 is an episode), and
    the number before it is not the same in all of them (4f3e-1, 4f3e-2 count the frames of a video 4f3e).
    """
    if all("0x" in name.casefold() for name in names):
        return _of_form(_PREFIXED, names, lambda digits: Decimal(int(digits, 16)))
    if len({_SIGNED_EXPONENT.split(name)[0] for name in names}) > 1 and any(map(_SIGNED_EXPONENT.search, names)):
        return _of_form(_SCIENTIFIC, names, Decimal)
    return None


def _of_form(form: re.Pattern[str], names: Sequence[str], read: Callable[[str], Decimal]) -> dict[str, Decimal] | None:
    found = [match for match in map(form.fullmatch, names) if match]
    if len(found) < max(2, len(names)) or len({(match[1], match[3]) for match in found}) > 1:
        return None
    values = {name: read(match[2]) for name, match in zip(names, found, strict=True)}
    return values if len({*values.values()}) == len(names) else None
