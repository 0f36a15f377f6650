"""Generates the reference of the configuration: every key with its type, default, limits, description and an example.

The models give the keys, types, defaults and limits. Descriptions and examples come from the fields themselves
(``Field(description=…, examples=[…])``), and where these have none from ``tools/docs/words/configuration.yaml``. An
example is validated against its field.
"""

import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, HttpUrl, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .config_sections import Section, Words, models_in, sections, words_path
from .page import NONE, Stale, code, compare, head, table, words
from .product import (
    Duration,
    Fraction,
    Matcher,
    PositiveDuration,
    Secret,
    format_duration,
    format_fraction,
)

INTRODUCTION = """
This page lists every key. [Configuration](configuration.md) explains how a file, the environment and secrets work
together, and has an example file. `NAME` stands for a name that you choose, `[]` for an entry of a list.

| type | written as |
|---|---|
| duration | a number with a unit: `250ms`, `30s`, `5m`, `1h30m`, `7d`, `2w`; a bare number is seconds |
| percentage | `50%`, or `0.5` |
| secret | text, or `{file: PATH}`; a file is read again when it changes |
| matcher | a condition on a label, as in Alertmanager: `tier="prod"`, `tier!="test"`, `team=~"ml-.*"`, `team!~"x.*"` |
| path | a file; a relative path starts at the folder of the configuration file |
"""
_SCALARS: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    Any: "any value",
    Path: "path",
    HttpUrl: "URL",
    Secret: "secret",
    Matcher: "matcher",
}
_SIZED = (str, dict, tuple, list)
_DURATIONS = frozenset(kind.__metadata__[0] for kind in (Duration, PositiveDuration))  # type: ignore[attr-defined]
_FRACTION = Fraction.__metadata__[0]  # type: ignore[attr-defined]


def configuration_page() -> str:
    """Return ``docs/configuration-reference.md``.

    Raises:
        Stale: if a key has no description or example, or an example is not valid.
    """
    descriptions = words("configuration")
    known = list(sections())
    found = {words_path(descriptions["keys"], section, name) for section in known for name, _ in section.fields()}
    compare("tools/docs/words/configuration.yaml, keys", descriptions["keys"], found, entry="`says` and `example`")
    compare(
        "tools/docs/words/configuration.yaml, sections", descriptions["sections"], {section.key for section in known}
    )
    lines = [head("Configuration reference", "the models of the configuration and tools/docs/words/configuration.yaml")]
    lines.append(INTRODUCTION)
    for section in known:
        level = "###" if "." in section.path.replace(".*", "") else "##"
        lines.append(f"\n{level} {section.title} {{ #{section.anchor} }}\n")
        lines.append(f"{descriptions['sections'][section.key].strip()}\n")
        rows = (_row(descriptions["keys"], section, name, field) for name, field in section.fields())
        lines += table(("Key", "Type", "Default", "Description", "Example"), rows)
    return "\n".join(lines) + "\n"


def _row(keys: dict[str, Any], section: Section, name: str, field: FieldInfo) -> tuple[str, ...]:
    path = words_path(keys, section, name)
    entry = Words(**keys[path])
    says, example = field.description or entry.says, entry.example
    _check_example(path, example, field)
    kind = entry.type or _type(field.annotation, tuple(field.metadata))
    inside = models_in(field.annotation)
    if inside:
        suffix, model, variant = inside[0]
        kind += f", [keys](#{Section(section.below(name) + suffix, variant or section.variant, model).anchor})"
    limits = limits_of(field)
    default = "**required**" if field.is_required() and not entry.default else entry.default or default_of(field)
    return (code(name), f"{kind}; {limits}" if limits else kind, default, says, code(example))


def _check_example(path: str, example: str, field: FieldInfo) -> None:
    field_type: Any = Annotated[(field.annotation, None, *field.metadata)]
    try:
        value = YAML(typ="safe", pure=True).load(example)
        TypeAdapter(field_type).validate_python(value)
    except (YAMLError, ValidationError) as error:
        raise Stale(
            f"tools/docs/words/configuration.yaml, {path}: the example {example!r} is not valid: {error}"
        ) from None


def _type(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return the name of a type in terms of YAML."""
    if any(each in _DURATIONS for each in metadata if _hashable(each)):
        return "duration"
    if any(each == _FRACTION for each in metadata):
        return "percentage"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        kinds = [_type(each, metadata) for each in arguments if each is not types.NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return ", ".join(code(str(each).lower() if isinstance(each, bool) else str(each)) for each in arguments)
    if origin is dict:
        named = isinstance(inner := _bare(arguments[1]), type) and issubclass(inner, BaseModel)
        return "map by name" if named or models_in(arguments[1]) else f"map of text to {_type(arguments[1])}"
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(code(str(each.value)) for each in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "map"
    return _SCALARS.get(annotation) or _unnamed(annotation)


def _unnamed(annotation: Any) -> str:
    raise Stale(f"tools/docs/configuration.py has no name for the type {annotation}; give it `type:` in the words")


def _bare(annotation: Any) -> Any:
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def limits_of(field: FieldInfo) -> str:
    """Return the limits that the field itself has; the limits of validators are in the descriptions."""
    low = high = ""
    metadata = [*field.metadata, *_inner_metadata(field.annotation)]
    is_duration = any(each in _DURATIONS for each in metadata if _hashable(each))

    def spell(value: float) -> str:
        return format_duration(value) if is_duration else f"{value:,}"

    for each in metadata:
        if (value := getattr(each, "ge", None)) is not None:
            low = spell(value)
        elif (value := getattr(each, "gt", None)) is not None:
            low = f"over {spell(value)}"
        elif (value := getattr(each, "min_length", None)) is not None and value > 1:
            low = f"{value:,}"
        if (value := getattr(each, "le", None)) is not None:
            high = spell(value)
        elif (value := getattr(each, "max_length", None)) is not None:
            sized = "characters" if _type(field.annotation) == "text" else "entries"
            high = f"{value:,} {sized}"
    if low and high:
        return f"{low} to {high}" if not low.startswith("over") else f"{low}, at most {high}"
    if high:
        return f"at most {high}"
    return low if low.startswith("over") or not low else f"at least {low}"


def _inner_metadata(annotation: Any) -> Iterator[Any]:
    """Yield the metadata of the members of ``X | None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            if get_origin(member) is Annotated:
                for each in get_args(member)[1:]:
                    yield from each.metadata if isinstance(each, FieldInfo) else [each]


def default_of(field: FieldInfo) -> str:
    """Return the default as it is written in YAML, as code; :data:`NONE` for none, or for an empty value."""
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}) or isinstance(value, BaseModel):
        return NONE
    kind = _type(field.annotation, tuple(field.metadata)) if not isinstance(value, tuple) else ""
    if kind == "duration":
        return code(format_duration(value) if value else "0s")
    if kind == "percentage":
        return code(format_fraction(value))
    return code(_flow(value))


def _flow(value: Any) -> str:
    """Return a value as YAML in flow style."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and type(value) is tuple:
        return f"[{', '.join(map(_flow, value))}]"
    return str(value.value if isinstance(value, Enum) else value)
