"""The URL of a PostgreSQL database, in the form of libpq, which is a secret.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

EXAMPLE: Final = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"

_SCHEMES = ("postgresql", "postgres")
_MAX_LENGTH = 2000


def is_url(text: str) -> bool:
    """Return whether ``text`` is a URL of PostgreSQL, and not a path."""
    return text.partition("://")[0].lower() in _SCHEMES


def check_url(url: str) -> None:
    """Check the form of a URL without its driver. The messages contain no part of it.

    Raises:
        ValueError: if it is no URL of PostgreSQL, or names no database.
    """
    if len(url) > _MAX_LENGTH or not url.isprintable():
        raise ValueError(f"must be one line of at most {_MAX_LENGTH} characters, such as {EXAMPLE}")
    if not is_url(url):
        raise ValueError(f"must begin with postgresql://, such as {EXAMPLE}")
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
    except ValueError:
        raise ValueError(f"is not a valid URL; write it as {EXAMPLE}") from None
    if "@" in f"{parts.path}{parts.query}" or parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("has a special character that is not percent-encoded; write / as %2F, @ as %40, # as %23")
    if not parts.path.strip("/") and not options.get("dbname"):
        raise ValueError(f"names no database; write it as {EXAMPLE}")


def public_location(url: str) -> str:
    """Return the URL without user, password and options, for messages; ``url`` has passed :func:`check_url`."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    hosts = parts.netloc.rpartition("@")[2] or options.get("host", "")
    return f"postgresql://{hosts}/{parts.path.strip('/') or options.get('dbname', '')}"
