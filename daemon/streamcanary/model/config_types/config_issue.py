"""What does not fit inside a value of the configuration, reported at the key that has it.

A pydantic validator of a whole model speaks of the whole; with these it can point at the part.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

KeyPath = tuple[str | int, ...]


class ConfigIssue(NamedTuple):
    """The path of a key below the value that is looked at, and what would be right there.

    ``against`` is the path of the value that it does not fit to, if there is one: it may have been set elsewhere.
    """

    path: KeyPath
    message: str
    conflicts_with: KeyPath = ()


def raise_config_errors(model: str, issues: Iterable[ConfigIssue]) -> None:
    """Raise what a pydantic validator raises, for each of ``misfits`` at its own place; do nothing if there are none.

    Raises:
        ValidationError: of the ``model``, without any value in it.
    """
    errors = [
        InitErrorDetails(
            type=PydanticCustomError(
                "value_error",
                "{problem}",
                {"problem": issue.message, "path": issue.path, "against": issue.conflicts_with},
            ),
            loc=issue.path,
            input=None,
        )
        for issue in issues
    ]
    if errors:
        raise ValidationError.from_exception_data(model, errors, hide_input=True)
