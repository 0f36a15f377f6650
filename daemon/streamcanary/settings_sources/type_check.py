"""Checks the types of values strictly: pydantic would accept ``true`` as 1, ``"3"`` as 3, and ``"no"`` as false."""

from collections.abc import Iterator
from typing import Any

from streamcanary.settings_sources.document import Document
from streamcanary.settings_sources.problem import Problem
from streamcanary.settings_sources.shape import ParsedFromText, Shape, leaves

_NUMBERS = frozenset({int, float})
_ABSENT = frozenset({None, type(None)})


def type_name(value: object) -> str:
    """Return the type of ``value`` as it is named in messages."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, (int, float)) else "text"


def type_mismatches(document: Document, shape: Shape) -> Iterator[Problem]:
    """Yield a problem for each value that is not a number or a Boolean where the model has one.

    Values with a validator that parses them, such as durations, are skipped.
    """
    for path, allowed, value in leaves(shape, document.data):
        expected = expected_type(allowed)
        if expected is not None and value is not None and type_name(value) != expected:
            yield document.problem_at(path, f"must be {expected}, not {type_name(value)}")


def expected_type(shape: Shape) -> str | None:
    """Return the name of the type of ``shape`` if it is a number or a Boolean, else ``None``."""
    types: set[Any] = set(shape) - _ABSENT
    if not types or ParsedFromText in types:
        return None
    if types <= _NUMBERS:
        return "a number"
    return "true or false" if types == {bool} else None
