"""Label matchers in Alertmanager's syntax."""

import pytest

from streamcanary.model.matcher import Matcher, all_match

LABELS = {"tier": "prod", "team": "ml"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('tier="prod"', True),
        ("tier=prod", True),
        (' tier = "prod" ', True),
        ('tier!="prod"', False),
        ('tier=~"pr.*"', True),
        ('tier=~"pr"', False),
        ('tier!~"pr.*"', False),
        ('missing=""', True),
        ('missing!=""', False),
        ('missing=~".*"', True),
    ],
)
def test_matches(text: str, matches: bool) -> None:
    """Equality and whole-value regular expressions; a label that is missing is empty."""
    assert matches is Matcher.parse(text).matches(LABELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tier", "not a matcher"),
        ('="prod"', "not a matcher"),
        ('1x="prod"', "not a matcher"),
        ('tier="prod', "quotes"),
        ('tier=~"("', "regular expression"),
        ('a="1", b="2"', "quotes"),
        ("a=1,b=2", "double quotes"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    """What is no matcher is refused, and the message says why."""
    with pytest.raises(ValueError, match=message):
        Matcher.parse(text)


@pytest.mark.parametrize("value", ["plain", 'with "quotes"', "back\\slash", "new\nline", "\\n"])
def test_survives_writing_and_reading(value: str) -> None:
    """A matcher that is written out reads as the same matcher."""
    matcher = Matcher("tier", "=", value)
    assert matcher == Matcher.parse(str(matcher))


def test_all_must_match_and_none_matches_everything() -> None:
    """Matchers are joined by and."""
    good, bad = Matcher.parse("tier=prod"), Matcher.parse("team=ops")
    assert (True, False, True) == (all_match([good], LABELS), all_match([good, bad], LABELS), all_match([], LABELS))
