"""Errors of single keys that the validator of a whole model reports.

A pydantic model validator reports an error of the whole model; with these it can name the key.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

KeyPath = tuple[str | int, ...]


class ConfigIssue(NamedTuple):
    """An error of the key at ``path``, relative to the validated value.

    ``message`` says what is wrong and what is valid. ``conflicts_with`` is the path of the value that the key conflicts
    with, if any; that value can be set in another source.
    """

    path: KeyPath
    message: str
    conflicts_with: KeyPath = ()


def raise_config_errors(model: str, issues: Iterable[ConfigIssue]) -> None:
    """Raise one pydantic error with all ``issues``, each at its path; do nothing if there are none.

    Raises:
        ValidationError: of the ``model``, without any value.
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
