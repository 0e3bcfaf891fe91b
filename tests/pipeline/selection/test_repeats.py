"""Expressions in the same words are found, whatever their case, punctuation and articles."""

from pipeline.masks.by_video import PairMasks
from pipeline.selection.repeats import count_repeats, plain_words
from schemas.masks import PREDICTIONS


def test_the_same_words_again():
    texts = ["A dog", "a cat", " The  DOG! ", None, "an dog", "", "the", "...", "dog’s"]
    nothing = PREDICTIONS.empty_table()
    video = [PairMasks({"video_id": "v", "expression_id": "0", "expression": text}, nothing) for text in texts]
    assert count_repeats(video) == [0, 0, 1, None, 2, None, None, None, 0]


def test_the_order_of_words_counts():
    assert plain_words("The dog, left of the CAT.") == "dog left of cat"
    assert plain_words("the cat left of the dog") != plain_words("the dog left of the cat")
    assert plain_words("Ａ  ｄｏｇ") == "dog"
