"""Describes which part of a request is invalid, so that it cannot be sent.

The message of the transport is never shown, because it quotes the invalid part, which is often the key.
"""

from collections.abc import Iterable
from typing import Final

_INVALID_URL: Final = "the address must have http:// or https:// and a host, such as https://api.openai.com/v1"
_BY_EXCEPTION_NAME: Final = {
    "UnsupportedProtocol": _INVALID_URL,
    "InvalidURL": _INVALID_URL,
    "OverflowError": "the port must be at most 65535",
}
_KEY_HEADERS: Final = ("authorization", "api-key")


def describe_invalid_part(errors: Iterable[BaseException]) -> str:
    """Return what is wrong with a request, given its exceptions, outermost first."""
    headers: Iterable[tuple[bytes, bytes]] = ()
    for error in errors:
        request = vars(error).get("request")  # an attribute of the SDK's error; a property that can raise elsewhere
        headers = getattr(getattr(request, "headers", None), "raw", headers)
        name = type(error).__name__
        if isinstance(error, UnicodeEncodeError):
            return _encoding_problem(error)
        if name in _BY_EXCEPTION_NAME:
            return _BY_EXCEPTION_NAME[name]
        if name == "LocalProtocolError":
            for header, value in headers:
                if problem := _header_value_problem(value):
                    return f"{_header_label(header)} {problem}"
    return "check the address, the key and the headers"


def _encoding_problem(error: UnicodeEncodeError) -> str:
    if error.encoding != "ascii":
        return "it contains text that cannot be encoded as UTF-8, such as half of a surrogate pair"
    part = "the key" if error.object.lower().startswith("bearer ") else "the key, or another header,"
    return f"{part} contains a character that is not ASCII"


def _header_label(header: bytes) -> str:
    name = header.decode("ascii", "replace").lower()
    return "the key" if name in _KEY_HEADERS else f"the header {name:.64}"


def _header_value_problem(value: bytes) -> str:
    """Return why ``value`` is not a valid header value (RFC 9110, section 5.5), or ``""``."""
    if b"\r" in value or b"\n" in value:
        return "contains a line break"
    if b"\0" in value:
        return "contains a NUL character"
    return "begins or ends with a space" if value != value.strip() else ""
