"""Which part of a request kept it from being sent.

What the transport says of that is never shown: it quotes the part, and that is often the key.
"""

from collections.abc import Iterable
from typing import Final

_ADDRESS: Final = "the address must have http:// or https:// and a host, such as https://api.openai.com/v1"
_BY_NAME: Final = {
    "UnsupportedProtocol": _ADDRESS,
    "InvalidURL": _ADDRESS,
    "OverflowError": "the port must be at most 65535",
}
_OF_THE_KEY: Final = ("authorization", "api-key")


def wrong_part(links: Iterable[BaseException]) -> str:
    """Return what is wrong with a request, given the exceptions that it ended with, the outermost first."""
    headers: Iterable[tuple[bytes, bytes]] = ()
    for link in links:
        request = vars(link).get("request")  # the SDK's own error has it; with others it is a property that may raise
        headers = getattr(getattr(request, "headers", None), "raw", headers)
        name = type(link).__name__
        if isinstance(link, UnicodeEncodeError):
            return _not_encoded(link)
        if name in _BY_NAME:
            return _BY_NAME[name]
        if name == "LocalProtocolError":
            for header, value in headers:
                if problem := _problem(value):
                    return f"{_part(header)} {problem}"
    return "look at the address, the key and the headers"


def _not_encoded(error: UnicodeEncodeError) -> str:
    if error.encoding != "ascii":
        return "it has text in it that UTF-8 cannot hold, such as half of a surrogate pair"
    which = "the key" if error.object.lower().startswith("bearer ") else "the key, or another header,"
    return f"{which} has a character in it that is not ASCII"


def _part(header: bytes) -> str:
    name = header.decode("ascii", "replace").lower()
    return "the key" if name in _OF_THE_KEY else f"the header {name:.64}"


def _problem(value: bytes) -> str:
    """Return what keeps ``value`` out of a header (RFC 9110, section 5.5), or nothing."""
    if b"\r" in value or b"\n" in value:
        return "has a line break in it"
    if b"\0" in value:
        return "has a NUL in it"
    return "begins or ends with a space" if value != value.strip() else ""
