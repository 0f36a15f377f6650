"""Sessions of browsers, which cannot send a bearer token: a signed cookie that a login with the token sets.

The key of the signature is derived from the token. A session therefore ends when the token changes, and outlives a
restart of the daemon. The cookie has the time of its end and a random id; the daemon stores nothing.
"""

import hashlib
import hmac
import secrets
from typing import Final

from msgspec import Struct

SESSION_LIFETIME: Final = 12 * 3600.0
"""Seconds until a login is due again."""

COOKIE: Final = "streamcanary_session"
_MAX_COOKIE = 200  # characters


class Session(Struct, frozen=True):
    """A valid session: ``csrf`` is the token that its forms have to send."""

    id: str
    expires: float
    csrf: str


def create_session(token: str, now: float) -> tuple[str, Session]:
    """Return the value of the cookie of a new session at ``now`` (seconds since the epoch), and the session."""
    id, expires = secrets.token_hex(16), int(now + SESSION_LIFETIME)  # noqa: A001 - the field's name
    body = f"{expires}.{id}"
    return f"{body}.{_signature(token, 'session', body)}", Session(id, expires, _signature(token, "csrf", body))


def read_session(cookie: str | None, token: str, now: float) -> Session | None:
    """Return the session of ``cookie``; ``None`` if it is not valid: forged, expired, or from before another token."""
    if not cookie or len(cookie) > _MAX_COOKIE:
        return None
    body, _, signature = cookie.rpartition(".")
    if not is_equal(signature, _signature(token, "session", body)):
        return None
    expires, _, id = body.partition(".")  # noqa: A001 - the field's name
    if not now < int(expires) <= now + SESSION_LIFETIME:
        return None
    return Session(id, int(expires), _signature(token, "csrf", body))


def is_equal(one: str, other: str) -> bool:
    """Compare in a time that depends neither on the content nor on the lengths."""
    first, second = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other))
    return hmac.compare_digest(first, second)


def _signature(token: str, purpose: str, body: str) -> str:
    key = hmac.digest(token.encode(), f"streamcanary {purpose} v1".encode(), "sha256")
    return hmac.digest(key, body.encode("utf-8", "surrogatepass"), "sha256").hex()
