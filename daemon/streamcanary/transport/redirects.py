"""Describes redirects, which no request follows: they would send keys and headers to another host."""

import re
from collections.abc import Mapping

import httpx2

_MAX_LENGTH = 200
_USER_INFO = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2,})[^/\\]*@")


def redirect_target(headers: Mapping[str, str]) -> str:
    """Return the ``Location`` of a response, for messages, or ``an unknown location``.

    User name, password, query and fragment are left out, because each can contain a secret. The caller removes known
    secrets from the rest.
    """
    target = re.split(r"[?#]", headers.get("location", "").strip(), maxsplit=1)[0]
    return _USER_INFO.sub(r"\1", target)[:_MAX_LENGTH] or "an unknown location"


def is_same_origin(url: str, headers: Mapping[str, str]) -> bool:
    """Return whether the ``Location`` of a response to a request of ``url`` has the same scheme, host and port."""
    try:
        base = httpx2.URL(url)
        target = base.join(headers.get("location", ""))
    except (httpx2.InvalidURL, ValueError):
        return False
    return (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
