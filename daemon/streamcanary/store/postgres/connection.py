"""A connection to PostgreSQL that the SQL of the store runs on, in the form of ``store/connection.py``."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.types.string import StrDumper
from psycopg.waiting import Ready

T = TypeVar("T")

_MAX_SINGLE_ROWS: Final = 2  # that are sent one by one, which takes no longer
_CHECK_INTERVAL: Final = 0.1  # seconds between checks whether a call is over
_SPECIAL: Final = re.compile(r"'[^']*'|\?|%")


class CallAbandoned(psycopg.OperationalError):
    """The server did not answer while somebody waited for it; the connection is closed."""


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up waiting for the server once :attr:`is_over` returns ``True``.

    The driver alone would wait for as long as the connection seems alive, which it does behind a proxy that hangs.
    """

    is_over: Callable[[], bool] = staticmethod(lambda: False)

    def wait(self, gen: PQGen[T], interval: float = _CHECK_INTERVAL, timeout: float | None = None) -> T:
        """Wait for a call to the server.

        Raises:
            CallAbandoned: once :attr:`is_over` returns ``True``.
        """
        return super().wait(self._watch(gen), interval, timeout)

    def _watch(self, gen: PQGen[T]) -> PQGen[T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready == Ready.NONE and self.is_over():
                    self.pgconn.finish()
                    raise CallAbandoned("the server did not respond in time")
                wanted = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result


class PostgresConnection:
    """The connection that a function of the store gets, within a transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: WatchedConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement. Results are transferred in binary form, which for ``bytea`` is half the size.

        Raises:
            psycopg.Error: if it fails.
        """
        return self._connection.execute(to_psycopg(sql), parameters, binary=True)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> None:
        """Run one statement for each of ``parameters``; many are sent without waiting for each result.

        Raises:
            psycopg.Error: if it fails.
        """
        rows = list(parameters)
        if len(rows) <= _MAX_SINGLE_ROWS:
            for row in rows:
                self.execute(sql, row)
            return
        self._connection.cursor().executemany(to_psycopg(sql), rows)
        # The driver ends with a flush, after which PostgreSQL 15 would not end a transaction that stands still.
        self._connection.execute("")


class TextDumper(StrDumper):
    """Sends text; NUL, which PostgreSQL cannot store, is replaced so that it does not make a write fail for ever."""

    def dump(self, obj: str) -> Any:
        """Return the encoded text."""
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


@lru_cache(maxsize=512)
def to_psycopg(sql: str) -> bytes:
    """Return ``sql`` with the placeholders of psycopg, ``%s``, for ``?``."""
    return _SPECIAL.sub(_placeholder, sql).encode()


def _placeholder(found: re.Match[str]) -> str:
    return "%s" if found[0] == "?" else found[0].replace("%", "%%")
