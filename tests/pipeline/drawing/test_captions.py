"""Captions in every script: drawn by the fonts that have it, or replaced by the id; never empty boxes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.drawing import captions
from pipeline.drawing.captions import caption_of, draw_caption

PLAIN = ["the white dog", "un chat à l'été – ß", "большой красный круг", "ο κύκλος", "ქართული ძაღლი"]
OTHER = [
    "白い犬", "那只白狗", "흰 개", "सफेद कुत्ता", "a dog 🐕 runs", "สุนัขสีขาว", "নীল গাড়ি", "நாய் ஓடுகிறது",
]  # fmt: skip
RIGHT_TO_LEFT = ["الكلب الأبيض، على اليسار", "כלב לבן, משמאל", "سگ سفید"]


@pytest.fixture
def no_noto(monkeypatch):
    monkeypatch.setattr(captions, "NOTO", ("no_such_package",))
    captions._fonts.cache_clear()
    yield
    captions._fonts.cache_clear()


@pytest.fixture
def noto():
    for package in captions.NOTO:
        pytest.importorskip(package, reason="NOTO FONTS ABSENT: pip install -c constraints.txt '.[fonts]'")


def drawn(text: str) -> np.ndarray:
    picture = Image.new("RGB", (300, 24))
    draw_caption(ImageDraw.Draw(picture), (0, 2), text)
    return np.asarray(picture)


@pytest.mark.parametrize("sentence", PLAIN + OTHER + RIGHT_TO_LEFT)
def test_sentences_are_drawn_in_their_script(noto, sentence):
    assert caption_of("v", sentence, " (0.50)") == f"v: {sentence} (0.50)"
    runs = captions._runs_of(sentence)
    assert sorted("".join(part for _, part in runs)) == sorted(sentence)
    for font, part in runs:
        for char in part:  # the font's own picture of it, not the box for characters that it lacks
            assert ord(char) in captions._characters(font)
    assert drawn(sentence).max() > 100


@pytest.mark.parametrize("sentence", PLAIN + RIGHT_TO_LEFT)
def test_scripts_that_need_no_further_fonts(no_noto, sentence):
    assert caption_of("v", sentence) == f"v: {sentence}"


@pytest.mark.parametrize("sentence", [*OTHER, "𓀀", "two\nlines", "a \ue000 b"])
def test_the_id_stands_for_a_sentence_that_no_font_has(no_noto, sentence):
    assert caption_of("v", sentence, " (0.50)") == "v (0.50)"
    assert caption_of(sentence, "x").isascii()
    assert not drawn(sentence).any()


@pytest.mark.parametrize("sentence", ["𓀀", "two\nlines", "a \ue000 b"])
def test_what_no_font_has_at_all(sentence):
    assert caption_of("v", sentence) == "v"


@pytest.mark.parametrize("sentence", ["सफेद कुत्ता", *RIGHT_TO_LEFT])
def test_letters_that_join_are_not_drawn_one_by_one(noto, monkeypatch, sentence):
    """Without Pillow's library for that, the id is drawn."""
    monkeypatch.setattr(captions.features, "check", lambda name: False)
    assert caption_of("v", sentence) == "v"
    assert caption_of("v", "白い犬") == "v: 白い犬"


def test_runs_are_put_from_right_to_left(noto):
    parts = [part.strip() for _, part in captions._runs_of("v1: سگ 🐕 سفید")]
    assert parts == ["v1:", "سفید", "🐕", "سگ"]
