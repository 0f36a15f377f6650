"""Recorded runs, read by another process than the daemon that records them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from streamcanary.model.config_types.secret import scrub
from streamcanary.model.outcome import Outcome
from streamcanary.store.database_file import is_corruption, open_read_only
from streamcanary.store.error_classification import primary_code
from streamcanary.store.errors import StoreError
from streamcanary.store.migrations import APPLICATION_ID, known_version, stored_version

LARGEST_RUN: Final = 1024 * 1024
"""Bytes of one recorded run; a larger one is not of our making."""

_AT_ONCE = 500  # rows a transaction: a longer one would keep the daemon from shortening its log
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LATEST = 4_102_444_800.0  # 2100-01-01: a later run is a mistake
_LONGEST = 86_400.0 * 366  # seconds that a run may have taken

_DECODER = msgspec.json.Decoder(Outcome)


class ArchiveUnreadable(StoreError):
    """The runs cannot be read; the message says why, and what would be right."""


class Unread(Struct, frozen=True):
    """A row that is no run, or none that this version knows: which, and what is wrong with it, both fit to be shown."""

    run_id: str
    reason: str


def read_runs(path: Path, *, most: int | None = None) -> Iterator[Outcome | Unread]:
    """Yield the runs in the store at ``path``, all or the last ``most`` that there are, in the order of their ends.

    The store is opened for reading only; a daemon may have it open and write to it. It is held for some hundred rows
    at a time, and only these are in memory.

    Raises:
        ArchiveUnreadable: if there is none, it is not ours, too new, locked, or broken.
    """
    try:
        with closing(_open(path)) as connection:
            yield from _rows(connection, most)
    except (sqlite3.Error, OSError) as error:
        raise _explain(path, error) from None


def _rows(connection: sqlite3.Connection, most: int | None) -> Iterator[Outcome | Unread]:
    end: int = connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0]
    last = 0 if most is None else max(0, end - most)
    while last < end:
        page = connection.execute(
            "SELECT id, substr(run_id, 1, 100), CASE WHEN length(outcome) <= ? THEN outcome END"
            " FROM runs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (LARGEST_RUN, last, end, _AT_ONCE),
        ).fetchall()
        if not page:
            return
        for number, run_id, value in page:
            last = number
            yield _decode(run_id, value)


def _decode(run_id: object, value: object) -> Outcome | Unread:
    if not isinstance(value, (bytes, str)):
        reason = f"it is empty, no text, or larger than {LARGEST_RUN} bytes"
    else:
        try:
            outcome = _DECODER.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            reason = str(error)
        else:
            if 0 <= outcome.started < _LATEST and 0 <= outcome.duration < _LONGEST:
                return outcome
            reason = "its times are out of all reason"
    return Unread(scrub(str(run_id), limit=100), scrub(reason, limit=200))


def _open(path: Path) -> sqlite3.Connection:
    path = path.absolute()
    if not path.exists():
        raise ArchiveUnreadable(f"there is no database {path}; give the file that store.path of the daemon names")
    if not path.is_file():
        raise ArchiveUnreadable(f"{path} is not a regular file; give the database that store.path of the daemon names")
    path = path.resolve()  # the log lies beside the file itself
    connection = open_read_only(path)
    try:
        _examine(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _examine(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ArchiveUnreadable(f"{path} is a database of another program; give the one that store.path names")
    version, known = stored_version(connection), known_version()
    if version > known:
        raise ArchiveUnreadable(
            f"{path} is of version {version}, and this streamcanary knows versions up to {known}: use a later one"
        )


def _explain(path: Path, error: Exception) -> ArchiveUnreadable:
    if isinstance(error, sqlite3.Error):
        if primary_code(error) in _BUSY:
            return ArchiveUnreadable(f"{path} is locked by another program; wait until that is done, or end it")
        if is_corruption(error):
            return ArchiveUnreadable(f"{path} is no sound database: {error}; give a copy that is")
        if primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return ArchiveUnreadable(
                f"{path} cannot be opened: {error}; it needs the right to read it, and where no daemon runs, to write "
                "into its directory, or a copy in one that can be written"
            )
    reason = getattr(error, "strerror", None) or str(error)
    return ArchiveUnreadable(f"{path} cannot be read: {reason}")
