"""Reads query parameters into a struct, and explains invalid ones."""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from starlette.requests import Request

from streamcanary.model.redaction.redactor import scrub

Q = TypeVar("Q", bound=Struct)


def read_query(request: Request, query: type[Q]) -> Q:
    """Return the query parameters of ``request``; those that are tuples in ``query`` may be given several times.

    The fields of ``query`` must not be ``None``: the text ``null`` would be that.

    Raises:
        ValueError: if a parameter is unknown, invalid, or given twice.
    """
    given = request.query_params
    repeatable = repeatable_parameters(query)
    for name in given:
        if name not in query.__struct_fields__:
            known = ", ".join(query.__struct_fields__)
            raise ValueError(f"{scrub(name, limit=40)}: not a parameter; there are {known}")
        if name not in repeatable and len(given.getlist(name)) > 1:
            raise ValueError(f"{name}: is given twice; give one value")
    values = {name: given.getlist(name) if name in repeatable else given[name] for name in given}
    try:
        return msgspec.convert(values, query, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(_message(str(error), values)) from None


@cache
def repeatable_parameters(query: type[Struct]) -> frozenset[str]:
    """Return the names of the parameters that may be given several times."""
    hints = get_type_hints(query)
    return frozenset(name for name, hint in hints.items() if get_origin(hint) is tuple)


def _message(text: str, values: Mapping[str, Any]) -> str:
    """Return ``text`` of msgspec, such as ``Expected `int` >= 1 - at `$.limit```, with the name and value first."""
    reason, _, path = text.rpartition(" - at `$.")
    name = path.rstrip("`").partition("[")[0]
    value = values.get(name)
    shown = scrub(", ".join(value) if isinstance(value, list) else str(value), limit=40)
    reason = reason.replace("`", "")
    return f"{name}: {shown} is invalid: {reason[:1].lower()}{reason[1:]}"
