"""Field types for HTTP headers: valid names, and values that can be sent."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from streamcanary.model.config_types.secret import Secret, SecretUnreadable

_MAX_NAME_LENGTH = 128
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2


def _check_name(name: str) -> str:
    if not _TOKEN.fullmatch(name) or len(name) > _MAX_NAME_LENGTH:
        raise ValueError(
            f"not a valid header name: letters, digits and !#$%&'*+-.^_`|~, at most {_MAX_NAME_LENGTH} characters"
        )
    return name


def _check_value(value: Secret) -> Secret:
    try:
        text = value.reveal()
    except SecretUnreadable:  # reported where the secret is read
        return value
    if not (text.isascii() and text.isprintable()):
        raise ValueError("not a valid header value: write one line of printable ASCII characters")
    return value


HeaderName = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_TOKEN.pattern}$", "maxLength": _MAX_NAME_LENGTH}),
]
"""A token (RFC 9110, 5.1)."""

HeaderValue = Annotated[Secret, AfterValidator(_check_value)]
"""A secret that is a valid header value (RFC 9110, 5.5, without obs-text); that of a file is checked as it is now."""
