"""The steps of the schema that both databases have: version 8 is the first, each after the one before.

SQLite has steps for the versions before; PostgreSQL begins with the tables of version 7. A released step is never
changed.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from streamcanary.store.connection import Connection

Step = str | Callable[[Connection], None]
"""SQL statements, or a function that changes the open database; both within the transaction of the caller."""

BASE_VERSION: Final = 7


class SchemaStep(NamedTuple):
    """One step in the terms of each database. Where these agree, it is the same text twice."""

    sqlite: Step
    postgres: Step


STEPS: Final[tuple[SchemaStep, ...]] = ()


def known_version() -> int:
    """Return the schema version that this streamcanary writes."""
    return BASE_VERSION + len(STEPS)
