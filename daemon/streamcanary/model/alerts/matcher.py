"""Label matchers in Alertmanager's syntax: ``tier="prod"``, ``canary=~"chat-.*"``, ``team!=ml``.

Grammar: https://prometheus.io/docs/alerting/latest/configuration/#matcher
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from msgspec import Struct
from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import core_schema

from streamcanary.model.config_types.regular_expression import InvalidPattern, RegularExpression, compile_pattern

_MATCHER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+["\\]?|[^",]+|,', re.DOTALL)  # a quoted part, an unquoted part, or a comma
_JSON_SCHEMA = {  # only the beginning: a JSON Schema cannot express the rest
    "type": "string",
    "pattern": r"^\s*(\{|[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=))",
    "examples": ['tier="prod"'],
}
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
_MAX_SHOWN = 200  # characters of a matcher in a message
_CACHED_RESULTS = 262_144  # of regular expressions: labels do not change, so that each alert is evaluated once


class Matcher(Struct, frozen=True):
    """One condition on one label; a label that is missing counts as empty, as in Alertmanager."""

    name: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the matcher that is written as ``text``.

        Raises:
            ValueError: if it is not a matcher, or its regular expression is not valid.
        """
        whole, shown = _MATCHER.fullmatch(text.strip()), text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
        if whole is None:
            raise ValueError(f'not a matcher: {shown!r}; write name="value", or with !=, =~ or !~')
        name, operator, value = whole.groups()
        if value.startswith('"'):
            quoted = _QUOTED.fullmatch(value)
            if quoted is None:
                raise ValueError(f"the quotes of matcher {shown!r} are not closed")
            value = re.sub(r'\\[n"\\]', lambda escape: _ESCAPES[escape.group()], quoted.group(1))
        elif '"' in value or "," in value:
            raise ValueError(f"put the value of matcher {shown!r} in double quotes, and write one matcher per entry")
        if operator in ("=~", "!~"):
            try:
                compile_pattern(value)
            except InvalidPattern as error:
                raise ValueError(f"the regular expression of matcher {shown!r} is not valid: {error}") from None
        return cls(name, operator, value)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet the condition. A regular expression must match the whole value.

        It is matched as in Alertmanager, by RE2: in time linear in the length of the value.
        """
        actual = labels.get(self.name, "")
        if self.operator == "=":
            return actual == self.value
        if self.operator == "!=":
            return actual != self.value
        return _matches_pattern(self.value, actual) is (self.operator == "=~")

    @property
    def expression(self) -> RegularExpression | None:
        """The regular expression of ``=~`` and ``!~``; ``None`` for the other operators."""
        return compile_pattern(self.value) if self.operator in ("=~", "!~") else None

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{value}"'

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema that parses a matcher from text in a config model."""
        return core_schema.no_info_plain_validator_function(
            cls._from_config, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        """Return the JSON schema of a matcher: a string."""
        return dict(_JSON_SCHEMA)

    @classmethod
    def _from_config(cls, value: object) -> "Matcher":
        if isinstance(value, Matcher):
            return value
        if not isinstance(value, str):
            raise ValueError('a matcher is text, such as tier="prod"')
        return cls.parse(value)


@functools.lru_cache(maxsize=_CACHED_RESULTS)
def _matches_pattern(pattern: str, value: str) -> bool:
    return compile_pattern(pattern).matches(value)


def split_braced(texts: object) -> object:
    """Split matchers in braces, such as ``{tier="prod", team!="ml"}``, in a list of matchers.

    Alertmanager and PromQL write them this way. A value that is not a list is returned unchanged. Matchers are not
    parsed here.
    """
    if isinstance(texts, str) and _is_braced(texts):
        texts = [texts]
    if not isinstance(texts, list | tuple):
        return texts
    return [part for text in texts for part in (_split_braces(text) if _is_braced(text) else [text])]


def _is_braced(text: object) -> bool:
    return isinstance(text, str) and text.strip().startswith("{") and text.strip().endswith("}")


def _split_braces(text: str) -> list[str]:
    """Return the matchers between the braces of ``text``. A trailing comma is allowed."""
    parts = [""]
    for piece in _PIECE.findall(text.strip()[1:-1]):
        if piece == ",":
            parts.append("")
        else:
            parts[-1] += piece
    stripped = [part.strip() for part in parts]
    return stripped[:-1] if not stripped[-1] else stripped


Matchers = Annotated[
    tuple[Matcher, ...],
    BeforeValidator(split_braced),
    WithJsonSchema({"type": ["array", "string"], "items": _JSON_SCHEMA, "pattern": r"^\s*\{"}),
]
"""A list of matchers in a config model. All of them must match; an empty list matches everything."""


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether every matcher matches; true for an empty list."""
    return all(matcher.matches(labels) for matcher in matchers)
