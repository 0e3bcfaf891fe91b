"""Rules: syntax, files, and reasons for dropping a pair."""

import pytest

from pipeline.selection.rules import Rule, read_rules
from schemas.errors import InputError


def test_forms():
    assert Rule.parse("mean_score>=0.6") == Rule("mean_score", ">=", 0.6)
    assert Rule.parse("  flicker  < 1e-2 ") == Rule("flicker", "<", 0.01)
    assert str(Rule.parse("area_jump <= 4")) == "area_jump <= 4"
    for text in ("mean_score", "mean_score = 1", "0.5 < mean_score", "mean_score > x", "mean_score > 1.2.3", ""):
        with pytest.raises(InputError, match="is not a rule; write it as"):
            Rule.parse(text)
    with pytest.raises(InputError, match="unknown quality signal 'score'; choose from frames, mean_score"):
        Rule.parse("score > 1")


def test_reasons():
    rule = Rule.parse("mean_score >= 0.6")
    assert rule.reason({"mean_score": 0.6}) is None
    assert rule.reason({"mean_score": None}) is None
    assert rule.reason({"mean_score": 0.41234}) == "mean_score is 0.4123, not >= 0.6"
    assert rule.reason({"mean_score": 0.5999999}) == "mean_score is 0.5999999, not >= 0.6"


def test_a_rule_in_words_is_the_same_rule():
    for bound in (0.123456789, 1 / 3, 4.0, 1e-7, 0.6):
        rule = Rule("mean_score", ">=", bound)
        assert Rule.parse(str(rule)) == rule


def test_files(tmp_path):
    file = tmp_path / "rules.txt"
    file.write_text("# what we keep\nmean_score >= 0.6  # sure\n\nempty < 0.5\n")
    assert [str(rule) for rule in read_rules(["border < 1"], str(file))] == [
        "mean_score >= 0.6", "empty < 0.5", "border < 1"
    ]  # fmt: skip
    file.write_text("\ufeffmean_score >= 0.6\n", encoding="utf-8")  # as some editors begin a file
    assert read_rules([], str(file)) == [Rule("mean_score", ">=", 0.6)]
    file.write_text("#" * 1_000_001)
    with pytest.raises(InputError, match="cannot read rules from .*larger than 1000000 bytes"):
        read_rules([], str(file))
    file.write_text("mean_score >= 0.6\nsure > 1\n")
    with pytest.raises(InputError, match=r"rules.txt line 2: unknown quality signal 'sure'"):
        read_rules([], str(file))
    with pytest.raises(InputError, match="no rules at"):
        read_rules([], str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot read rules from"):
        read_rules([], str(tmp_path))
