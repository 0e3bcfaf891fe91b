"""Control sequences in ids, logs and names reach neither a terminal nor a file name."""

import pytest
from click.testing import CliRunner

import cli
from pipeline.io import storage
from schemas.errors import InputError
from schemas.printable import counted, is_printable, printable

ODD = {
    "colour": ("\x1b[31m", r"\x1b[31m"), "title": ("\x1b]0;x\a", r"\x1b]0;x\x07"), "8-bit": ("\x9b2J", r"\x9b2J"),
    "back": ("a\rb\b", r"a\rb\x08"), "turned": ("a\u202eb", r"a\u202eb"), "line": ("a\u2028b", r"a\u2028b"),
    "half": ("\ud800", r"\ud800"), "invisible": ("a\u200bb", r"a\u200bb"),
    "filler": ("a\u3164b", r"a\u3164b"), "joiner": ("a\u034fb", r"a\u034fb"), "blank": ("\u2800", r"\u2800"),
    "zero": ("\0", r"\x00"), "delete": ("\x7f", r"\x7f"),
}  # fmt: skip
TEXTS = ["a b", "Ünï 🦢", "می\u200cخواهم", "👩\u200d🚀", "日本語\u3000文", "a\u00a0b", "é"]


@pytest.mark.parametrize("name", ODD)
def test_controls_are_shown_as_escapes(name):
    text, shown = ODD[name]
    assert printable(f"<{text}>") == f"<{shown}>"
    assert not is_printable(text)
    with pytest.raises(InputError, match="cannot be a file name|not UTF-8"):
        storage.safe_name(f"v{text}")


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_every_language_stays(text):
    assert printable(text) == text
    assert storage.safe_name(text) == text


def test_line_breaks_stay():
    assert printable("a\tb\nc\r\n") == "a\tb\nc\n"
    assert not is_printable("a\nb")


def test_errors_and_results_of_every_command_are_shown(monkeypatch, tmp_path):
    name = tmp_path / "\x1b[2J\u202e"
    for command in (["check", str(name)], ["status", str(name)], ["audit", str(name)]):
        done = CliRunner().invoke(cli.main, command)
        assert done.exit_code == 2
        assert is_printable(done.output.replace("\n", ""))
        assert r"\x1b[2J\u202e" in done.output


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [(0, "", "0 pairs"), (1, "", "1 pair"), (1.0, "g", "1 pair"), (0.5, "g", "0.5 pairs"), (1234, ",", "1,234 pairs")],
)
def test_a_noun_agrees_with_its_number(number, form, text):
    assert counted(number, "pair", form) == text
