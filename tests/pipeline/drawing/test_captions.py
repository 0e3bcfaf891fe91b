"""Captions in every script: drawn, or replaced by the id; never empty boxes."""

import pytest

from pipeline.drawing.overlay import caption_of


@pytest.mark.parametrize("sentence", ["the white dog", "un chat à l'été – ß", "большой красный круг", "ο κύκλος"])
def test_sentences_that_are_drawn(sentence):
    assert caption_of("v", sentence, " (0.50)") == f"v: {sentence} (0.50)"


@pytest.mark.parametrize(
    "sentence", ["白い犬", "那只白狗", "흰 개", "الكلب الأبيض", "सफेद कुत्ता", "a dog 🐕", "สุนัข", "כלב"]
)
def test_sentences_that_no_font_has(sentence):
    assert caption_of("v", sentence, " (0.50)") == "v (0.50)"
    assert caption_of(sentence, "x").isascii()
