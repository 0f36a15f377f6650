"""Checks of the text of a response."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from streamcanary.canary.answer_checks.repetition import describe_repetition, repeated_unit
from streamcanary.model.config_types.regular_expression import InvalidPattern, compile_pattern

_ANCHORED_END: Final = re.compile(r"(?<!\\)(?:\\\\)*(?:\$|\\z)\)*$")
"""A regular expression that ends with an anchor at the end of the text, possibly in groups."""


def _validate_regex(value: str) -> str:
    try:
        compile_pattern(value)
    except InvalidPattern as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def _search_mismatch(pattern: str, text: str) -> str | None:
    """Return why ``pattern`` is not found in ``text``, ``None`` if it is. The time for hostile text is bounded."""
    try:
        return None if compile_pattern(pattern).search(text) else f"does not match {pattern!r}"
    except ValueError as error:
        return f"is too long for {pattern!r}: {error}"


class Expectation(BaseModel):
    """At most one condition on the text of a response; without one, it must not be empty, or its text degenerate.

    ``contains`` ignores case; ``regex`` searches, in RE2's syntax; ``equals`` compares after stripping white space.
    ``not_degenerate`` refuses a text that repeats one character, word or phrase to its end; by default it is on if none
    of these three conditions is set. A tool call, an image or audio without text is not empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    contains: str | None = None
    regex: Annotated[str, AfterValidator(_validate_regex)] | None = None
    equals: str | None = None
    not_empty: bool = True
    not_degenerate: bool | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> "Expectation":
        given = [name for name in ("contains", "regex", "equals") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"takes only one condition, not {' and '.join(given)}")
        return self

    def mismatch(self, text: str, *, has_other_output: bool = False) -> str | None:
        """Return how a response violates the condition, or ``None`` if it does not.

        ``has_other_output``: it has a tool call, an image or audio beside its ``text``.
        """
        if self.contains is not None and self.contains.casefold() not in text.casefold():
            return f"does not contain {self.contains!r}"
        if self.regex is not None and (reason := _search_mismatch(self.regex, text)):
            return reason
        if self.equals is not None and text.strip() != self.equals.strip():
            return f"is not {self.equals!r}"
        if self.not_empty and not has_other_output and not text.strip():
            return "is empty"
        if self._refuses_repetition and (unit := repeated_unit(text)) is not None:
            return describe_repetition(unit)
        return None

    @property
    def examines_end(self) -> bool:
        """Whether the condition fails for an answer that was cut: ``equals``, or a ``regex`` that ends with ``$``."""
        return self.equals is not None or (self.regex is not None and _ANCHORED_END.search(self.regex) is not None)

    @property
    def _refuses_repetition(self) -> bool:
        if self.not_degenerate is not None:
            return self.not_degenerate
        return (self.contains, self.regex, self.equals) == (None, None, None)
