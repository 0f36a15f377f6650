"""Addresses of receivers in a configuration."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from streamcanary.model.secret import Secret

_ADVICE = "must be an http:// or https:// address, such as https://example.com/hook"


def check_address(value: str) -> str:
    """Return ``value`` if it is an address that can be asked.

    Raises:
        ValueError: if it is none. The message does not repeat it, as it may hold a token.
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


def _base(value: str) -> str:
    parts = urlsplit(check_address(value))
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or fragment")
    return value.rstrip("/")


def _secret(value: Secret) -> Secret:
    check_address(value.reveal())
    return value


BaseAddress = Annotated[str, AfterValidator(_base), Field(max_length=2048)]
"""The address of a server, to which paths are added; not secret."""

SecretAddress = Annotated[Secret, AfterValidator(_secret)]
"""An address that may hold a token, and so is never shown."""
