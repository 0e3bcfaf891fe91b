"""Captions in every script: drawn by the fonts that have it, or replaced by the id; never empty boxes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.drawing import captions
from pipeline.drawing.captions import caption_of, draw_caption, readable

PLAIN = ["the white dog", "un chat à l'été – ß", "большой красный круг", "ο κύκλος", "ქართული ძაღლი"]
OTHER = [
    "白い犬", "那只白狗", "흰 개", "सफेद कुत्ता", "สุนัขสีขาว", "নীল গাড়ি", "நாய் ஓடுகிறது",
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
    draw_caption(ImageDraw.Draw(picture), (0, 2), text, 300)
    return np.asarray(picture)


@pytest.mark.parametrize("sentence", [*PLAIN, *OTHER, *RIGHT_TO_LEFT, "a dog 🐕 runs"])
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


@pytest.mark.parametrize("sentence", [*OTHER, "𓀀"])
def test_the_id_stands_for_a_sentence_that_no_font_has(no_noto, sentence):
    assert caption_of("v", sentence, " (0.50)") == "v (0.50)"
    assert caption_of(sentence, "x").isascii()
    assert not drawn(sentence).any()


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("𓀀", ""),
        ("two\n\tlines ", "two lines"),
        ("a \ue000 b\x07", "a [U+E000] b[U+0007]"),
        ("the 𓀀 bird", "the [U+13000] bird"),
        ("a dog 🐕 runs", "a dog [dog] runs"),
        ("👨🏽\u200d👩 x\ufe0f \u202eright", "[man][emoji modifier fitzpatrick type-4][woman] x right"),
        ("cafe\u0301", "café"),
    ],
)
def test_characters_that_no_font_has_are_named(no_noto, sentence, shown):
    """Nothing is drawn as a box: no character that fonts lack, and none that only chooses a form or a direction."""
    assert readable(sentence).replace("\u200d", "") == shown
    assert caption_of("v", sentence).replace("\u200d", "") == (f"v: {shown}" if shown else "v")
    for font, part in captions._runs_of(readable(sentence)):
        assert all(ord(char) in captions._characters(font) for char in part)


@pytest.mark.parametrize("fonts", ["noto", "no_noto"])
def test_emoji_that_tell_a_colour_are_named(request, fonts):
    """Their glyphs have one colour: Noto's red square is a hatched box."""
    request.getfixturevalue(fonts)
    assert readable("the 🟥 left of the 💙") == "the [large red square] left of the [blue heart]"


def test_an_empty_sentence_leaves_the_name():
    assert caption_of("v", " ", " (0.50)") == "v (0.50)"


def test_a_long_sentence_is_cut_where_one_sees_it():
    short, long = drawn("the dog"), drawn("the dog " * 30)
    assert np.array_equal(short[:, :20], long[:, :20])
    assert not long[:, 299:].any()
    assert long[:, 280:].any()
    assert len(captions._runs_of("the dog " * 30)[0][1]) == 240


@pytest.mark.parametrize("sentence", ["सफेद कुत्ता", *RIGHT_TO_LEFT])
def test_letters_that_join_are_not_drawn_one_by_one(noto, monkeypatch, sentence):
    """Without Pillow's library for that, the id is drawn."""
    monkeypatch.setattr(captions.features, "check", lambda name: False)
    assert caption_of("v", sentence) == "v"
    assert caption_of("v", "白い犬") == "v: 白い犬"


def test_runs_are_put_from_right_to_left(noto):
    parts = [part.strip() for _, part in captions._runs_of("v1: سگ 🐕 سفید")]
    assert parts == ["v1:", "سفید", "🐕", "سگ"]
