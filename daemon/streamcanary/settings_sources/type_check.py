"""Kinds of values, and where each may stand: pydantic would take ``true`` for 1, ``"3"`` for 3, ``"no"`` for false."""

from collections.abc import Iterator
from typing import Any

from streamcanary.settings_sources.document import Document
from streamcanary.settings_sources.problem import Problem
from streamcanary.settings_sources.shape import ParsedFromText, Shape, leaves

_NUMBERS = frozenset({int, float})
_ABSENT = frozenset({None, type(None)})


def type_name(value: object) -> str:
    """Return what ``value`` is, in words."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, (int, float)) else "text"


def type_mismatches(document: Document, shape: Shape) -> Iterator[Problem]:
    """Yield a problem for each value that is no number where one is wanted, or not true or false where that is.

    What has a validator that reads it, such as a duration, is left to that.
    """
    for path, allowed, value in leaves(shape, document.data):
        kind = expected_type(allowed)
        if kind is not None and value is not None and type_name(value) != kind:
            yield document.problem_at(path, f"must be {kind}, not {type_name(value)}")


def expected_type(shape: Shape) -> str | None:
    """Return the one kind that a value of ``shape`` may have, if it is a number, or true or false."""
    kinds: set[Any] = set(shape) - _ABSENT
    if not kinds or ParsedFromText in kinds:
        return None
    if kinds <= _NUMBERS:
        return "a number"
    return "true or false" if kinds == {bool} else None
