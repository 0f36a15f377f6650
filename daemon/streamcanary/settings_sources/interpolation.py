"""Substitutes ``${VAR}`` and ``${VAR:-default}`` in values; ``$$`` is a dollar sign."""

import re
from collections.abc import Mapping
from typing import Any

from streamcanary.settings_sources.document import MAX_FILE_SIZE, Document
from streamcanary.settings_sources.problem import ConfigInvalid, KeyPath

_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<reference>[^{}]*)\}|(?P<open>\{))")
_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SYNTAX_HINT = "write ${NAME} or ${NAME:-default}, and $$ for a dollar sign"


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with the variables substituted; references in their values are not substituted again.

    As in a shell, a default also replaces a variable that is set but empty. A dollar sign that precedes neither a brace
    nor another dollar sign stays as it is.

    Raises:
        ValueError: if a variable is not set and has no default, or a reference is malformed.
    """

    def fill(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        reference = _REFERENCE.fullmatch(found["reference"] or "")
        if reference is None:
            raise ValueError(f"contains ${{ without a valid variable reference; {_SYNTAX_HINT}")
        name, default = reference.groups()
        value = environ.get(name)
        if default is not None:
            value = value or default
        if value is None:
            raise ValueError(f"${{{name}}} is not set; set {name} in the environment, or write ${{{name}:-default}}")
        if not is_utf8(value):
            raise ValueError(f"${{{name}}} is not UTF-8 text")
        return value

    return _DOLLAR.sub(fill, text)


def is_utf8(value: str) -> bool:
    """Return whether a variable is valid UTF-8: the environment may contain any bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def interpolate(document: Document, environ: Mapping[str, str]) -> set[KeyPath]:
    """Substitute the variables in every value of ``document``; return the paths of the changed values.

    A reference that fails is added to the problems of the document.

    Raises:
        ConfigInvalid: if the substituted values are larger than 8 MiB in total.
    """
    changed: set[KeyPath] = set()
    size = 0

    def substitute_all(value: Any, path: KeyPath) -> Any:
        nonlocal size
        if isinstance(value, dict):
            return {key: substitute_all(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [substitute_all(inner, (*path, number)) for number, inner in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            filled = substitute(value, environ)
        except ValueError as error:
            document.problems.append(document.problem_at(path, str(error)))
            return value
        size += len(filled)
        if size > MAX_FILE_SIZE:
            raise ConfigInvalid([document.problem_at((), "is larger than 8 MiB with its variables substituted")])
        changed.add(path)
        return filled

    document.data = substitute_all(document.data, ())
    return changed
