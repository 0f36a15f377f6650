"""Checks of the text of a response."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator


def _validate_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


class Expectation(BaseModel):
    """At most one condition on the text of a response; without one, the text must not be empty.

    ``contains`` ignores case; ``regex`` searches; ``equals`` compares after stripping white space.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    contains: str | None = None
    regex: Annotated[str, AfterValidator(_validate_regex)] | None = None
    equals: str | None = None
    not_empty: bool = True

    @model_validator(mode="after")
    def _at_most_one(self) -> "Expectation":
        given = [name for name in ("contains", "regex", "equals") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"takes only one condition, not {' and '.join(given)}")
        return self

    def mismatch(self, text: str) -> str | None:
        """Return how ``text`` violates the condition, or ``None`` if it does not."""
        if self.contains is not None and self.contains.casefold() not in text.casefold():
            return f"does not contain {self.contains!r}"
        if self.regex is not None and not re.search(self.regex, text):
            return f"does not match {self.regex!r}"
        if self.equals is not None and text.strip() != self.equals.strip():
            return f"is not {self.equals!r}"
        if self.not_empty and not text.strip():
            return "is empty"
        return None
