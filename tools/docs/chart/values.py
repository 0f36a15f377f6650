"""Reads ``values.yaml`` of the chart: each value with its default and the description in its comment.

A comment ``# -- TEXT`` on the line of a key describes it. A key without one is a section, and each key in it needs a
description. Keys below a described one belong to its default.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from ..page import Stale, table

_KEY: Final = re.compile(r"(?P<indent> *)(?P<key>\w+):(?:.*?\s# -- (?P<description>.+))?")
_MAX_DEFAULT: Final = 60
"""Characters of a default in the table; a longer one is in ``values.yaml``."""


class Value(NamedTuple):
    """A value of the chart: its keys, its default, and its description; a section has none."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def name(self) -> str:
        """The path as users write it: ``image.tag``."""
        return ".".join(self.path)


def read_values(text: str, source: str = "values.yaml") -> list[Value]:
    """Return the values and sections of ``values.yaml`` in their order; errors name the file ``source``.

    Raises:
        Stale: if a value has no description.
    """
    content = YAML(typ="safe", pure=True).load(text)
    values = list(_described_keys(text, content))
    described = {value.path for value in values if value.description}
    for value in values:
        if not value.description and not any(path[: len(value.path)] == value.path for path in described):
            raise Stale(f"{source}: {value.name} has no description; end its line with `# -- TEXT`")
    return values


def _described_keys(text: str, content: Any) -> Iterator[Value]:
    path: list[tuple[int, str]] = []
    inside_described = -1  # the indentation of a described key, whose default goes on
    for line in text.splitlines():
        match = _KEY.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        if 0 <= inside_described < indent:
            continue
        path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match["key"])]
        keys = tuple(key for _, key in path)
        inside_described = indent if match["description"] else -1
        default = content
        for key in keys:
            default = default[key]
        yield Value(keys, default, match["description"] or "")


def values_table(values: list[Value]) -> str:
    """Return the table of values for the README."""
    rows = ((f"`{value.name}`", _shown(value.default), value.description) for value in values if value.description)
    return "\n".join(table(("Value", "Default", "Description"), rows))


def _shown(default: Any) -> str:
    text = json.dumps(default, ensure_ascii=False)
    return f"`{text}`" if len(text) <= _MAX_DEFAULT else "see `values.yaml`"
