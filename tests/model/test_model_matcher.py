"""Label matchers in Alertmanager's syntax."""

import contextlib

import pytest
from pydantic import TypeAdapter, ValidationError

from streamcanary.model.alerts.matcher import Matcher, Matchers, all_match

MATCHERS: TypeAdapter[tuple[Matcher, ...]] = TypeAdapter(Matchers)

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
def test_matcher_matches_labels(text: str, matches: bool) -> None:
    """A matcher compares by equality or whole-value regular expression; a missing label is empty."""
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
def test_invalid_matcher_is_rejected(text: str, message: str) -> None:
    """An invalid matcher is rejected with the reason."""
    with pytest.raises(ValueError, match=message):
        Matcher.parse(text)


@pytest.mark.parametrize("value", ["plain", 'with "quotes"', "back\\slash", "new\nline", "\\n"])
def test_matcher_round_trips_through_text(value: str) -> None:
    """A matcher that is formatted and parsed again is equal."""
    matcher = Matcher("tier", "=", value)
    assert matcher == Matcher.parse(str(matcher))


def test_all_matchers_must_match() -> None:
    """All matchers must match, and an empty list matches everything."""
    matching, other = Matcher.parse("tier=prod"), Matcher.parse("team=ops")
    assert (True, False, True) == (
        all_match([matching], LABELS),
        all_match([matching, other], LABELS),
        all_match([], LABELS),
    )


@pytest.mark.parametrize(
    ("texts", "matchers"),
    [
        (["tier=prod"], ['tier="prod"']),
        (['{canary="one"}'], ['canary="one"']),
        ('{canary="one"}', ['canary="one"']),
        ([' { canary="one" , tier!="a,b}" , team=~"x\\"{2},y" , } ', "a=b"],
         ['canary="one"', 'tier!="a,b}"', 'team=~"x\\"{2},y"', 'a="b"']),
        (["{}"], []),
        (["tier=~x{2}"], ['tier=~"x{2}"']),
    ],
)  # fmt: skip
def test_matcher_list_is_parsed_like_alertmanager(texts: object, matchers: list[str]) -> None:
    """A list in braces is split at commas outside quotes."""
    assert matchers == [str(one) for one in MATCHERS.validate_python(texts)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (['{canary="one}'], "quotes"),
        (["{one}"], "not a matcher: 'one'"),
        (['{canary="one"'], "not a matcher"),
        (["{a=b,,c=d}"], "not a matcher: ''"),
        ("canary=one", "valid tuple"),
        ([7], "a matcher is text"),
    ],
)
def test_invalid_matcher_list_is_rejected(texts: object, message: str) -> None:
    """An invalid matcher in a list is rejected and named."""
    with pytest.raises(ValidationError, match=message):
        MATCHERS.validate_python(texts)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ['"', '\\"', ",", " ", "a=,", "{", '"a",', "a= "])
def test_parsing_time_is_bounded(piece: str) -> None:
    """Parsing takes bounded time for any text."""
    text = "a=" + piece * (60_000 // len(piece)) + "x"
    for one in (text, f"{{{text}}}"):
        with contextlib.suppress(ValidationError):
            MATCHERS.validate_python([one])
