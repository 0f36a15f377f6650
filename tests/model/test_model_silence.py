"""Silences: their matchers, and the limits on all of them together."""

import pytest

from streamcanary.model.alerts.silence import MAX_EXPRESSION_SIZE, MAX_SILENCES, Silence, check_silence_limits
from streamcanary.model.config_types.regular_expression import RegularExpression


def silence(name: str, *match: str) -> Silence:
    """Return a silence with these matchers."""
    return Silence(id=name, match=match, starts=0.0, until=1.0)


@pytest.mark.parametrize("match", [(), ("tier",), ('tier=~"("',), ('tier=~"(?=a)"',)])
def test_a_silence_without_valid_matchers_is_rejected(match: tuple[str, ...]) -> None:
    """No matcher, an invalid one, and an expression that RE2 does not support are errors."""
    with pytest.raises(ValueError, match=r"at least one|not a matcher|not valid"):
        silence("a", *match)


def test_the_number_of_silences_is_limited() -> None:
    """A further silence is rejected, and a changed one is not."""
    existing = [silence(str(number), "a=b") for number in range(MAX_SILENCES)]
    check_silence_limits(existing, silence("0", "a=c"))
    with pytest.raises(ValueError, match=f"there are {MAX_SILENCES} silences"):
        check_silence_limits(existing, silence("new", "a=b"))


def test_the_size_of_all_regular_expressions_is_limited() -> None:
    """Large expressions are rejected once all together exceed the limit, and matchers with ``=`` are not counted."""
    large, existing = 'a=~"(?:x?y?z?){700}"', [silence("name", "a=b")]
    while sum(one.expression_size for one in (*existing, silence("", large))) <= MAX_EXPRESSION_SIZE:
        existing.append(silence(str(len(existing)), large))
        check_silence_limits(existing[:-1], existing[-1])
    assert 0 == existing[0].expression_size
    with pytest.raises(ValueError, match="too large together"):
        check_silence_limits(existing, silence("new", large))
    check_silence_limits(existing, silence("new", "a=b"))


def test_three_hundred_simple_expressions_are_within_the_limits() -> None:
    """The limit leaves room for a simple regular expression in hundreds of silences."""
    existing = [silence(str(number), f'canary=~"chat-{number}-.*"') for number in range(299)]
    check_silence_limits(existing, silence("new", 'canary=~"chat-.*"'))


def test_ten_silences_of_a_hundred_names_each_are_within_the_limits() -> None:
    """The limit leaves room for long alternations."""
    names = "|".join(f"chat-mini-{number}-eu-west" for number in range(100))
    existing = [silence(str(number), f'canary=~"{names}"') for number in range(9)]
    check_silence_limits(existing, silence("new", f'canary=~"{names}"'))


def test_an_expression_is_evaluated_once_for_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluating the same alerts again and again costs nothing: labels and silences do not change."""
    evaluated: list[str] = []

    def matches(_: RegularExpression, text: str) -> bool:
        evaluated.append(text)
        return False

    monkeypatch.setattr(RegularExpression, "matches", matches)
    one = silence("a", 'canary=~"evaluated-once-.*"')
    for _ in range(10):
        assert [False, False] == [one.matches({"canary": name}) for name in ("b", "c")]
    assert ["b", "c"] == evaluated
