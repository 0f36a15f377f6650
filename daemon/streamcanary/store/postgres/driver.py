"""Whether the driver of PostgreSQL is installed, which is an extra. It is not imported here."""

from importlib.util import find_spec
from typing import Final

INSTALL: Final = "needs the package psycopg: pip install 'streamcanary[postgres]'"


def is_installed() -> bool:
    """Return whether ``psycopg`` is installed."""
    return find_spec("psycopg") is not None
