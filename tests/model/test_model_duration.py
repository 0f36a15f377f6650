"""Durations as people write them."""

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
def test_reads(text: object, seconds: float) -> None:
    """A number with a unit, several of them, or plain seconds."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "s", "30", "30 s", "1.5", "-5s", "5y", "five", None, True, [], -1, float("nan")])
def test_refuses(text: object) -> None:
    """What has no unit, no number, or no sense is refused."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_refuses_what_is_longer_than_anybody_means() -> None:
    """More than ten years is a typing error."""
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration("99999999h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.25, "250ms"), (4.24, "4.2s"), (30, "30s"), (125, "2m5s"), (10800, "3h"), (90061, "1d1h")],
)
def test_writes(seconds: float, text: str) -> None:
    """A duration is written as a person would say it."""
    assert text == format_duration(seconds)
