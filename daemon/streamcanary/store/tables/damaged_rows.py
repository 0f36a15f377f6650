"""Logs rows that cannot be read, a bounded number of each table: a damaged row costs that row, and stays in place."""

import logging
from typing import Final

from streamcanary.model.redaction.redactor import scrub

_log = logging.getLogger(__name__)

MAX_LOGGED: Final = 10
"""Rows of one table that are logged one by one; the others are only counted."""

_MAX_KEY_LENGTH = 100
_MAX_REASON_LENGTH = 200


class DamagedRows:
    """The damaged rows of ``table`` that one read has found, logged at ``level``."""

    def __init__(self, table: str, *, level: int = logging.WARNING) -> None:
        self._table = table
        self._level = level
        self._count = 0

    def add(self, key: object, reason: str) -> None:
        """Add the row of ``key``, which cannot be read for ``reason``."""
        self._count += 1
        if self._count <= MAX_LOGGED:
            _log.log(
                self._level,
                "stored row unreadable",
                extra={
                    "table": self._table,
                    "key": scrub(str(key), limit=_MAX_KEY_LENGTH),
                    "error": scrub(reason, limit=_MAX_REASON_LENGTH),
                },
            )

    def log(self) -> None:
        """Log how many rows were added, if not each of them was logged."""
        if self._count > MAX_LOGGED:
            _log.log(self._level, "stored rows unreadable", extra={"table": self._table, "count": self._count})
