"""Whether the driver of PostgreSQL is installed, which is an extra, and what it says about a URL.

It is imported only to check a URL.
"""

from importlib.util import find_spec
from typing import Final

INSTALL: Final = "needs the package psycopg: pip install 'streamcanary[postgres]'"

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def is_installed() -> bool:
    """Return whether ``psycopg`` is installed."""
    return find_spec("psycopg") is not None


def check_options(url: str) -> None:
    """Check the options of a URL, with the parser of the driver. The messages contain no part of the URL.

    Raises:
        ValueError: if libpq would refuse it.
    """
    from psycopg import ProgrammingError, conninfo

    try:
        options = conninfo.conninfo_to_dict(url)
    except ProgrammingError as error:
        if str(error).startswith("invalid URI query parameter"):
            raise ValueError("has an option that libpq does not know; correct what follows the question mark") from None
        raise ValueError("is not a valid URL; percent-encode the special characters of its parts") from None
    for port in str(options.get("port", "")).split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise ValueError("has a port that is not a number from 1 to 65535")
    if options.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"has an unknown sslmode; it is one of {', '.join(_SSL_MODES)}")
