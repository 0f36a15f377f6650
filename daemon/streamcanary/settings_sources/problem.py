"""Config problems: position, key, message and remedy."""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from streamcanary.model.redaction.redactor import scrub

KeyPath = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""


class Problem(Struct, frozen=True, kw_only=True):
    """One config error or warning.

    ``line`` and ``column`` count from 1, and are ``None`` for a problem of the whole file. ``path`` is the key as it is
    written in the file (``canaries.chat-mini.every``), empty for the whole file. ``variable`` is the environment
    variable that the value comes from; the message then starts with it instead of the position in the file.
    """

    file: Path
    line: int | None = None
    column: int | None = None
    path: str = ""
    message: str
    variable: str | None = None

    def __str__(self) -> str:
        file = scrub(str(self.file), limit=4096)
        position = self.variable or ":".join(str(part) for part in (file, self.line, self.column) if part is not None)
        return ": ".join(part for part in (position, self.path, self.message) if part)


class ConfigInvalid(Exception):
    """The configuration is invalid; ``problems`` has all errors, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sort_problems(problems)
        super().__init__(render(self.problems))


def sort_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return ``problems`` in the order of the file; those of environment variables come last."""
    return tuple(sorted(problems, key=_sort_key))


def _sort_key(problem: Problem) -> tuple[bool, int, int, str]:
    return (problem.variable is not None, problem.line or 0, problem.column or 0, str(problem))


def render(problems: Iterable[Problem]) -> str:
    """Return ``problems`` as text, one per line."""
    return "\n".join(str(problem) for problem in problems)


def format_path(path: KeyPath) -> str:
    """Return ``path`` as text: ``alerts.routes[0].receivers``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return scrub(text, limit=200)
