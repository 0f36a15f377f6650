"""Generates the reference of the client library: tables of options, and the API from docstrings (mkdocstrings)."""

import inspect
from collections.abc import Iterator
from typing import Any

from msgspec import NODEFAULT
from msgspec.structs import FieldInfo, fields
from pydantic import BaseModel

from .page import NONE, Stale, code, compare, head, table, words
from .product import (
    API,
    EVENTS,
    EVENTS_MODULE,
    PACKAGE,
    AsyncStreamClient,
    BreakerPolicy,
    Cached,
    Limits,
    RetryBudget,
    RetryPolicy,
    Route,
    StreamClient,
    Timeouts,
)

INTRODUCTION = """
[Client library](client.md) explains how the client behaves. This page lists its options and its API.

All times are seconds; `"250ms"` and the like are accepted too.

## Options
"""
_CLIENT = "AsyncStreamClient, StreamClient"
_MODELS = (Timeouts, Limits, RetryPolicy, Route, Cached, BreakerPolicy, RetryBudget)
_SPELLED = {
    "retry": "RetryPolicy()",
    "timeouts": "Timeouts()",
    "budget": "RetryBudget()",
    "breaker": "BreakerPolicy()",
    "limits": "Limits()",
}


def client_page() -> str:
    """Return ``docs/client-reference.md``.

    Raises:
        Stale: if an option has no description, or a description has no option.
    """
    descriptions = words("client")
    compare("tools/docs/words/client.yaml", descriptions, {_CLIENT, *(each.__name__ for each in _MODELS)})
    lines = [
        head("Client reference", "the client's signatures and docstrings, and tools/docs/words/client.yaml"),
        INTRODUCTION,
    ]
    lines += _options(_CLIENT, _client_options(), descriptions[_CLIENT])
    for each in _MODELS:
        lines += _options(each.__name__, _defaults(each), descriptions[each.__name__])
    lines.append("\n## API\n")
    for title, public in API.items():
        lines.append(f"### {title}\n")
        lines += (_directive(f"{PACKAGE}.{name}") for name in public)
    lines.append("### Events\n")
    lines += (_directive(f"{EVENTS_MODULE}.{name}") for name in EVENTS)
    return "\n".join(lines)


def _client_options() -> dict[str, Any]:
    signatures = [inspect.signature(each.__init__).parameters for each in (AsyncStreamClient, StreamClient)]
    if list(signatures[0]) != list(signatures[1]):
        raise Stale("AsyncStreamClient and StreamClient take different options")
    defaults = {name: each.default for name, each in signatures[0].items() if name not in ("self", "client")}
    return defaults | {name: _SPELLED[name] for name in _SPELLED if name in defaults}


def _options(title: str, defaults: dict[str, Any], option_descriptions: dict[str, str]) -> Iterator[str]:
    compare(f"tools/docs/words/client.yaml, {title}", option_descriptions, defaults)
    shown = ", ".join(map(code, title.split(", ")))
    yield f"\n### {shown}\n"
    yield from table(
        ("Option", "Default", "Description"),
        ((code(each), _spell(defaults[each]), option_descriptions[each]) for each in defaults),
    )


def _directive(path: str) -> str:
    return f"::: {path}\n    options:\n      heading_level: 4\n"


def _defaults(kind: Any) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {name: field.default for name, field in kind.model_fields.items()}
    if kind is RetryBudget:
        return {name: each.default for name, each in inspect.signature(kind).parameters.items()}
    return {field.name: _default(field) for field in fields(kind)}


def _default(field: FieldInfo) -> Any:
    return field.default if field.default is not NODEFAULT else None


def _spell(value: Any) -> str:
    if value is None or value == ():
        return NONE
    if isinstance(value, int):
        return code(str(value))
    if isinstance(value, float):
        return code(f"{value:g}")
    return code(value if value.endswith("()") else f'"{value}"')
