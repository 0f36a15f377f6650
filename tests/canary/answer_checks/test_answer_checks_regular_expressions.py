"""Regular expressions as expectations of the text of a response."""

import pytest

from streamcanary.canary.answer_checks.expectation import Expectation


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("regex", "text", "mismatch"),
    [
        (r"(?i)\bpong\b", "PONG, ping", None),
        (r"^pong$", "pong\n", "does not match '^pong$'"),
        (r"^pong\s*$", "pong\n", None),
        (r"(a|a)*b", "a" * 1_000_000, "does not match '(a|a)*b'"),
        (r"([a-z ]+)+X", "pong " * 200_000, "does not match '([a-z ]+)+X'"),
    ],
)
def test_a_regular_expression_searches_hostile_text_in_linear_time(regex: str, text: str, mismatch: str | None) -> None:
    """``regex`` searches with RE2: no pattern takes more than linear time, and ``$`` is the end of the text."""
    assert mismatch == Expectation(regex=regex).mismatch(text)


@pytest.mark.timeout(60)
def test_a_large_expression_does_not_search_a_long_text() -> None:
    """A text whose search would block the event loop is a mismatch with the reason."""
    mismatch = Expectation(regex="(?:.?){700}x").mismatch("a" * 1_000_000)
    assert mismatch is not None
    assert mismatch.startswith(
        "is too long for '(?:.?){700}x': the text has 1000000 bytes; this expression can search "
    )
