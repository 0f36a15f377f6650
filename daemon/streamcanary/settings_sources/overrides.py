"""Overrides from the environment: ``STREAMCANARY_CANARIES__CHAT_MINI__EVERY=10s``.

A name is matched against the keys that the file has and the fields that the model knows, case folded, with ``-`` and
``.`` as ``_``, and ``__`` between two keys. It never makes a new entry in a map by name.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from streamcanary.settings_sources.document import Document
from streamcanary.settings_sources.interpolation import is_text
from streamcanary.settings_sources.problem import KeyPath, Problem
from streamcanary.settings_sources.shape import Shape, child, entries, inside, known

PREFIX = "STREAMCANARY_"
_MOST_NAMES = 5000  # that a misspelt one is compared with
_SERVICE_LINK = re.compile(
    r"(.*?)(?:_PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?|_SERVICE_(?:HOST|PORT(?:_.+)?))"
)


def fold(key: str | int) -> str:
    """Return ``key`` as it stands in the name of a variable."""
    return str(key).upper().replace("-", "_").replace(".", "_")


def override(document: Document, shape: Shape, environ: Mapping[str, str]) -> None:
    """Put the overrides of ``environ`` into ``document``; what fails is noted there."""
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX) or _is_service_link(name, environ):
            continue
        path = next(_matching(name.upper().removeprefix(PREFIX), shape, document.data), None)
        if path is None:
            message = f"matches no key of the configuration; {_advice(name, document, shape)}"
        elif path in document.variables:
            message = f"sets the same key as {document.variables[path]}; keep one of them"
        elif not is_text(environ[name]):
            message = "is not UTF-8 text"
        else:
            document.put(path, environ[name])
            document.variables[path] = name
            continue
        document.problems.append(Problem(file=document.file, message=message, variable=name))


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Tell whether Kubernetes set this variable for a Service whose name begins with ``streamcanary``.

    It sets a family of them in every pod of the namespace, unless ``enableServiceLinks`` is off.
    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    link = _SERVICE_LINK.fullmatch(name)
    return link is not None and f"{link[1]}_SERVICE_HOST" in environ and f"{link[1]}_SERVICE_PORT" in environ


def _matching(rest: str, shape: Shape, value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the paths below ``value`` that ``rest`` spells; a name may itself hold ``__``, so there may be two."""
    for key, inner in inside(shape, value).items():
        folded = fold(key)
        if rest == folded:
            yield (*path, key)
        elif rest.startswith(f"{folded}__"):
            held = child(value, key)
            if held is None or isinstance(held, (Mapping, list)):
                yield from _matching(rest[len(folded) + 2 :], inner, held, (*path, key))


def _advice(name: str, document: Document, shape: Shape) -> str:
    names = islice(_names(shape, document.data), _MOST_NAMES)
    if near := difflib.get_close_matches(name.upper(), names, n=1, cutoff=0.75):
        return f"did you mean {near[0]}?"
    return f"an override is {PREFIX}SECTION__KEY, names a key that is there or known, and never makes a new entry"


def _names(shape: Shape, value: Any, name: str = "") -> Iterator[str]:
    """Yield the name of every variable that would match a single value."""
    for key, inner in inside(shape, value).items():
        full = f"{name}__{fold(key)}" if name else f"{PREFIX}{fold(key)}"
        held = child(value, key)
        if isinstance(held, (Mapping, list)) or known(inner, held) or entries(inner):
            yield from _names(inner, held, full)
        else:
            yield full


def clashes(document: Document, shape: Shape) -> Iterator[Problem]:
    """Yield a problem for each name that no override could tell from another one in the same map of models."""
    yield from _clashes(document, shape, document.data, ())


def _clashes(document: Document, shape: Shape, value: Any, path: KeyPath) -> Iterator[Problem]:
    by_name = isinstance(value, dict) and bool(known(entries(shape) or (), None))
    seen: dict[str, str | int] = {}
    for key, inner in inside(shape, value).items():
        held = child(value, key)
        if by_name and (first := seen.setdefault(fold(key), key)) != key:
            message = f"in the environment this name and {first} are both {fold(key)}; rename one of them"
            yield document.problem((*path, key), message, at_key=True)
        if isinstance(held, (dict, list)):
            yield from _clashes(document, inner, held, (*path, key))
