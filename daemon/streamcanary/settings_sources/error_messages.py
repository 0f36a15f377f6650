"""Converts pydantic errors to config errors with position, key and remedy. Messages do not repeat values."""

import difflib
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from streamcanary.settings_sources.document import Document
from streamcanary.settings_sources.problem import KeyPath, Problem
from streamcanary.settings_sources.shape import (
    Shape,
    child_shape,
    child_value,
    fields_by_key,
    known_keys,
    matching_models,
    models_by_type,
    shape_and_value_at,
)
from streamcanary.settings_sources.type_check import type_name

_SUBJECT = re.compile(r"^(?:Input|String|Value|Tuple|List|Dictionary|Set|URL|Path) should ")
_NAME = "a name is letters, digits, '_', '-' and '.', beginning with a letter or digit"


def explain_validation_error(error: ValidationError, document: Document, shape: Shape) -> list[Problem]:
    """Return a problem for each pydantic error."""
    problems = []
    errors = error.errors(include_url=False, include_input=False)
    for details in errors:
        if details["type"] == "too_short" and any(_is_below(other, details) for other in errors):
            continue  # pydantic drops invalid items and then reports that the list is too short
        path, at_key = _locate(details, document, shape)
        message = _message_for(details, path, document, shape)
        part = path[:-1] if details["type"] == "missing" else path
        other = _conflicting_path(details, path)
        found = {name for at, name in document.variables.items() if at[: len(part)] == part != at or at == other}
        if sources := sorted(found):
            message += f" (overridden by {', '.join(sources)})"
        problems.append(document.problem_at(path, message, at_key=at_key))
    return problems


def _locate(details: ErrorDetails, document: Document, shape: Shape) -> tuple[KeyPath, bool]:
    """Return the path in the document, and whether the error is about the key; pydantic's path has union members, too.

    A union member may have the name of a key: ``detector.spike.spike`` is the key ``spike`` of a detector of that type.
    """
    path: KeyPath = ()
    value: Any = document.data
    kind, at_key = details["type"], False
    tags = frozenset(models_by_type(shape))
    for number, part in enumerate(details["loc"]):
        final = number == len(details["loc"]) - 1
        if part in tags:
            tags = frozenset()
        elif part == "[key]" and final:
            at_key = True
        elif (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            shape = child_shape(shape, value, part)
            path, value, tags = (*path, part), child_value(value, part), frozenset(models_by_type(shape))
        elif final and kind == "missing":
            path = (*path, part)
    if kind == "union_tag_invalid":
        path = (*path, _context_value(details, "discriminator"))
    return path, at_key or kind == "extra_forbidden" or value is None


def _conflicting_path(details: ErrorDetails, path: KeyPath) -> KeyPath | None:
    """Return the path of the value that conflicts with the one at ``path``, if the ``ConfigIssue`` has one."""
    context = details.get("ctx", {})
    conflicting, relative = context.get("against"), context.get("path", ())
    return (
        (*path[: len(path) - len(relative)], *conflicting)
        if conflicting and path[-len(relative) :] == relative
        else None
    )


def _is_below(inner: ErrorDetails, outer: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def _message_for(details: ErrorDetails, path: KeyPath, document: Document, shape: Shape) -> str:
    """Return the message of one error."""
    kind = details["type"]
    value = document.get(path)
    if kind == "extra_forbidden":
        return f"unknown key; {_suggest_key(path, document, shape)}"
    if kind == "missing":
        return "is required, and missing" + _example(path, document, shape)
    if kind == "union_tag_not_found":
        return f"needs the key {_context_value(details, 'discriminator')}, which selects its kind"
    if kind == "union_tag_invalid":
        return f"must be one of {details.get('ctx', {}).get('expected_tags')}"
    if kind == "string_pattern_mismatch" and details["loc"][-1] == "[key]":
        return f"not a name: {_NAME}"
    if value is None and kind != "value_error":
        return "is empty; give it a value, or leave the key out"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a map of keys and values, not {type_name(value)}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, not {type_name(value)}"
    if kind == "string_type":
        return f"must be text, not {type_name(value)}" + (
            "; put it in quotes" if not isinstance(value, (dict, list)) else ""
        )
    message = details["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return _SUBJECT.sub("must ", message)


def _context_value(details: ErrorDetails, name: str) -> str:
    return str(details.get("ctx", {}).get(name, "")).strip("'")


def _suggest_key(path: KeyPath, document: Document, shape: Shape) -> str:
    """Return a similar key, or the place where this key is known, or the list of known keys."""
    shape, value = shape_and_value_at(shape, document.data, path[:-1])
    key, keys = str(path[-1]), known_keys(shape, value)
    if near := difflib.get_close_matches(key.replace("-", "_").lower(), keys, n=1):
        return f"did you mean {near[0]}?"
    if takers := [tag for tag, model in models_by_type(shape).items() if key in fields_by_key(model)]:
        return f"only {_join_names(takers)} take{'s' if len(takers) == 1 else ''} {key}"
    if below := [f"{name}.{key}" for name, inner in keys.items() if key in known_keys(inner, None)]:
        return f"did you mean {' or '.join(below)}?"
    return f"known here: {', '.join(keys)}"


def _join_names(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _example(path: KeyPath, document: Document, shape: Shape) -> str:
    """Return an example of a missing key, if its model has one."""
    shape, value = shape_and_value_at(shape, document.data, path[:-1])
    found = [fields_by_key(model).get(str(path[-1])) for model in matching_models(shape, value)]
    examples = [example for field in found if field is not None for example in field.examples or ()]
    return f"; write it like {path[-1]}: {_yaml(examples[0])}" if examples else ""


def _yaml(value: object) -> str:
    """Return ``value`` as YAML."""
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return f"'{value}'" if '"' in str(value) else str(value)
