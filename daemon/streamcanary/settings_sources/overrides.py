"""Applies overrides from the environment: ``STREAMCANARY_CANARIES__CHAT_MINI__EVERY=10s``.

A name is matched against the keys in the file and the fields of the model, without regard to case, with ``-`` and ``.``
as ``_``, and ``__`` between two keys. An override cannot add a new entry to a map of named entries.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from streamcanary.settings_sources.document import Document
from streamcanary.settings_sources.interpolation import is_utf8
from streamcanary.settings_sources.problem import KeyPath, Problem
from streamcanary.settings_sources.shape import Shape, child_value, children_of, entry_shape, known_keys

ENV_PREFIX = "STREAMCANARY_"
_MAX_NAMES = 5000  # names that a misspelt one is compared with, at most
_SERVICE_LINK = re.compile(
    r"(.*?)(?:_PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?|_SERVICE_(?:HOST|PORT(?:_.+)?))"
)


def to_variable_name(key: str | int) -> str:
    """Return ``key`` as it is written in the name of a variable."""
    return str(key).upper().replace("-", "_").replace(".", "_")


def apply_overrides(document: Document, shape: Shape, environ: Mapping[str, str]) -> None:
    """Apply the overrides of ``environ`` to ``document``; those that fail are added to its problems."""
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX) or _is_service_link(name, environ):
            continue
        path = next(_matching_paths(name.upper().removeprefix(ENV_PREFIX), shape, document.data), None)
        if path is None:
            message = f"matches no key of the configuration; {_suggestion(name, document, shape)}"
        elif path in document.variables:
            message = f"sets the same key as {document.variables[path]}; keep one of them"
        elif not is_utf8(environ[name]):
            message = "is not UTF-8 text"
        else:
            document.put(path, environ[name])
            document.variables[path] = name
            continue
        document.problems.append(Problem(file=document.file, message=message, variable=name))


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether Kubernetes set this variable for a Service whose name begins with ``streamcanary``.

    Kubernetes sets several for each Service in every pod of the namespace, unless ``enableServiceLinks`` is off.
    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    link = _SERVICE_LINK.fullmatch(name)
    return link is not None and f"{link[1]}_SERVICE_HOST" in environ and f"{link[1]}_SERVICE_PORT" in environ


def _matching_paths(rest: str, shape: Shape, value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the paths below ``value`` that match ``rest``; a key may contain ``__``, so there may be two."""
    for key, inner in children_of(shape, value).items():
        folded = to_variable_name(key)
        if rest == folded:
            yield (*path, key)
        elif rest.startswith(f"{folded}__"):
            child = child_value(value, key)
            if child is None or isinstance(child, (Mapping, list)):
                yield from _matching_paths(rest[len(folded) + 2 :], inner, child, (*path, key))


def _suggestion(name: str, document: Document, shape: Shape) -> str:
    names = (each.removeprefix(ENV_PREFIX) for each in islice(_variable_names(shape, document.data), _MAX_NAMES))
    if near := difflib.get_close_matches(name.upper().removeprefix(ENV_PREFIX), names, n=1, cutoff=0.6):
        return f"did you mean {ENV_PREFIX}{near[0]}?"
    return f"an override is {ENV_PREFIX}SECTION__KEY; it sets an existing or known key and cannot add an entry"


def _variable_names(shape: Shape, value: Any, name: str = "") -> Iterator[str]:
    """Yield the names of all variables that match a single value."""
    for key, inner in children_of(shape, value).items():
        full = f"{name}__{to_variable_name(key)}" if name else f"{ENV_PREFIX}{to_variable_name(key)}"
        child = child_value(value, key)
        if isinstance(child, (Mapping, list)) or known_keys(inner, child) or entry_shape(inner):
            yield from _variable_names(inner, child, full)
        else:
            yield full


def ambiguous_names(document: Document, shape: Shape) -> Iterator[Problem]:
    """Yield a problem for each entry whose variable name is also that of another entry in the same map of models."""
    yield from _ambiguous_names(document, shape, document.data, ())


def _ambiguous_names(document: Document, shape: Shape, value: Any, path: KeyPath) -> Iterator[Problem]:
    by_name = isinstance(value, dict) and bool(known_keys(entry_shape(shape) or (), None))
    seen: dict[str, str | int] = {}
    for key, inner in children_of(shape, value).items():
        child = child_value(value, key)
        if by_name and (first := seen.setdefault(to_variable_name(key), key)) != key:
            message = f"has the same variable name as {first}, {to_variable_name(key)}; rename one of them"
            yield document.problem_at((*path, key), message, at_key=True)
        if isinstance(child, (dict, list)):
            yield from _ambiguous_names(document, inner, child, (*path, key))
