"""Parsing and formatting of fractions."""

from typing import Any

import pytest

from streamcanary.model.config_types.fraction import format_fraction, min_count, parse_fraction


@pytest.mark.parametrize(
    ("written", "expected"),
    [("50%", 0.5), (" 0.5 % ", 0.005), ("100%", 1.0), ("0.25", 0.25), (".5", 0.5), (0.1, 0.1), (1, 1.0)],
)
def test_fraction_is_parsed_from_percentage_or_number(written: Any, expected: float) -> None:
    """A fraction is parsed from a percentage or a number."""
    assert expected == parse_fraction(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("half", "write a percentage such as 50%, or a number such as 0.5"),
        ("1e-3", "write a percentage"),
        ("nan", "write a percentage"),
        ("%", "write a percentage"),
        (None, "write a percentage"),
        (True, "write a percentage"),
        ("0%", "more than 0% and at most 100%"),
        ("100.1%", "more than 0% and at most 100%"),
        (50, r"more than 0% and at most 100%; did you mean 50%\?"),
        ("2", r"did you mean 2%\?"),
        (float("nan"), "more than 0% and at most 100%"),
        (-0.1, "more than 0% and at most 100%"),
    ],
)
def test_invalid_fraction_is_rejected(written: Any, message: str) -> None:
    """An invalid fraction is rejected with a suggestion."""
    with pytest.raises(ValueError, match=message):
        parse_fraction(written)


@pytest.mark.parametrize(("fraction", "expected"), [(0.02, "2%"), (0.144, "14.4%"), (0.0005, "0.05%"), (1.0, "100%")])
def test_fraction_is_formatted_as_percentage(fraction: float, expected: str) -> None:
    """A fraction is formatted as a percentage with at most three digits."""
    assert expected == format_fraction(fraction)


@pytest.mark.parametrize(
    ("fraction", "total", "expected"),
    [(0.1, 30, 3), (0.1, 31, 4), (0.5, 5, 3), (0.144, 125, 18), (1.0, 7, 7), (1e-12, 9, 1)],
)
def test_min_count_is_the_smallest_count_of_the_fraction(fraction: float, total: int, expected: int) -> None:
    """The smallest count that reaches the fraction is exact despite binary rounding."""
    assert expected == min_count(fraction, total)
