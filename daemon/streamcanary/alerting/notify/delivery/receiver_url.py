"""URLs of receivers in the configuration, and the parts of them that are secret."""

from typing import Annotated
from urllib.parse import unquote, unquote_plus, urlsplit

from pydantic import AfterValidator, Field

from streamcanary.model.config_types.http_url import HTTP_URL_SCHEMA, SECRET_URL_SCHEMA
from streamcanary.model.config_types.secret import Secret

_MIN_TOKEN_LENGTH = 8  # characters; a part of this length may be a token, a shorter one is a word such as hook
_ADVICE = "must be an http:// or https:// address, such as https://example.com/hook"


def check_url(value: str) -> str:
    """Return ``value`` if it is an http or https URL.

    Raises:
        ValueError: if it is not. The message does not contain the value, because it may contain a token.
    """
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise ValueError(_ADVICE) from None
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(_ADVICE)
    if any(ord(character) <= 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{_ADVICE}, without spaces")
    return value


def secret_parts(url: str) -> frozenset[str]:
    """Return the strings that must be redacted from a server's response because they may contain a token.

    These are the URL, the path, the query, both together, each path segment and query value of eight characters or
    more, and the user name and password, all of them unchanged and decoded. A redactor finds other spellings itself.
    """
    url = url.encode("utf-8", "replace").decode()
    try:
        parts = urlsplit(url)
    except ValueError:
        return frozenset({url})
    values = [value or name for name, _, value in (pair.partition("=") for pair in parts.query.split("&"))]
    whole_parts = [
        url,
        parts.path,
        parts.query,
        f"{parts.path}?{parts.query}",
        parts.username or "",
        parts.password or "",
    ]
    long_parts = [part for part in (*parts.path.split("/"), *values) if len(part) >= _MIN_TOKEN_LENGTH]
    return frozenset(
        spelling
        for part in (*whole_parts, *long_parts)
        for spelling in (part, unquote(part), unquote_plus(part))
        if spelling
    )


def _check_base_url(value: str) -> str:
    parts = urlsplit(check_url(value))
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or fragment")
    return value.rstrip("/")


def _check_secret_url(value: Secret) -> Secret:
    check_url(value.reveal())
    return value


BaseUrl = Annotated[str, AfterValidator(_check_base_url), HTTP_URL_SCHEMA, Field(max_length=2048)]
"""The base URL of a server, to which paths are appended; not secret."""

SecretUrl = Annotated[Secret, AfterValidator(_check_secret_url), SECRET_URL_SCHEMA]
"""A URL that may contain a token, and is never shown."""
