"""Parsing and formatting of durations."""

from datetime import timedelta

import pytest

from streamcanary.model.config_types.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("7d", 604800.0),
        ("2w", 1209600.0),
        ("0.5s", 0.5),
        (" 5m ", 300.0),
        (15, 15.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        ("0s", 0.0),
    ],
)
def test_duration_is_parsed(text: object, seconds: float) -> None:
    """A number with a unit, several of them, or plain seconds are parsed."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "s", "30", "30 s", "1.5", "-5s", "5y", "five", None, True, [], -1, float("nan")])
def test_invalid_duration_is_rejected(text: object) -> None:
    """A value without a unit or a number, or out of range, is rejected."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_duration_over_ten_years_is_rejected() -> None:
    """A duration over ten years is rejected as a typing error."""
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration("99999999h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.25, "250ms"), (4.24, "4.2s"), (30, "30s"), (125, "2m5s"), (10800, "3h"), (90061, "1d1h")],
)
def test_duration_is_formatted(seconds: float, text: str) -> None:
    """A duration is formatted with at most two units."""
    assert text == format_duration(seconds)
