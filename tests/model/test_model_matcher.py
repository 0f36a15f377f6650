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
def test_reads_a_list_as_alertmanager_writes_it(texts: object, matchers: list[str]) -> None:
    """Between braces, with commas; those within quotes are none."""
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
def test_refuses_a_list(texts: object, message: str) -> None:
    """At the matcher that is none."""
    with pytest.raises(ValidationError, match=message):
        MATCHERS.validate_python(texts)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ['"', '\\"', ",", " ", "a=,", "{", '"a",', "a= "])
def test_reads_any_text_in_time(piece: str) -> None:
    """Whatever is sent as one."""
    text = "a=" + piece * (60_000 // len(piece)) + "x"
    for one in (text, f"{{{text}}}"):
        with contextlib.suppress(ValidationError):
            MATCHERS.validate_python([one])
