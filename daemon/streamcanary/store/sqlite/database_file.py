"""The database file: checks its path, opens it, and renames a corrupt one."""

import logging
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreError, StoreFailing, StoreUnwritable
from streamcanary.store.sqlite.error_classification import (
    disk_full_hint,
    is_corruption,
    is_disk_error,
    is_sign_of_corruption,
    primary_code,
)
from streamcanary.store.sqlite.examination import CorruptDatabase, examine, has_unknown_format
from streamcanary.store.sqlite.file_permissions import create_private, restrict_permissions
from streamcanary.store.sqlite.migrations import APPLICATION_ID, known_version, migrate, stored_version

_log = logging.getLogger(__name__)

_FILE_SUFFIXES = ("", "-wal", "-shm")
_BUSY_TIMEOUT = 5.0  # seconds; the lock file excludes other daemons, so only a sqlite3 shell can hold a lock

FileIdentity = tuple[tuple[int, int], ...]
"""Device and inode of the database, its log and its index: shows whether the paths still name the open files."""


class OpenDatabase(NamedTuple):
    """An open store: the connection of the writer, the identity of its files, and the new path of a corrupt file."""

    connection: sqlite3.Connection
    identity: FileIdentity
    corrupt_path: Path | None


def file_identity(path: Path) -> FileIdentity | None:
    """Return the identity of the files that the paths of the store name now; ``None`` if one of them is missing."""
    try:
        stats = [Path(f"{path}{companion}").stat() for companion in _FILE_SUFFIXES]
    except OSError:
        return None
    return tuple((stat.st_dev, stat.st_ino) for stat in stats)


def check_path(path: Path) -> Path:
    """Check that ``path`` can hold a store, and return the path with symbolic links resolved.

    Directories are never created: a missing one may be a volume that is not mounted. If a failing disk prevents the
    check, :func:`open_database` reports the error.

    Raises:
        StoreUnwritable: if it cannot; the message says what to do.
    """
    try:
        if path.is_dir():
            raise StoreUnwritable(f"store.path: {path} is a directory; name a file in it, such as {path / 'store.db'}")
        if path.exists() and not path.is_file():
            raise StoreUnwritable(f"store.path: {path} is not a regular file; name another one")
        if not path.parent.exists():
            raise StoreUnwritable(
                f"store.path: there is no directory {path.parent}; create it, or name a file in one that exists"
            )
        if not path.parent.is_dir():
            raise StoreUnwritable(f"store.path: {path.parent} is not a directory; name a file in a directory")
        return path.resolve()  # SQLite names its log after the file itself, not after a link to it
    except (OSError, ValueError, RuntimeError) as error:  # name too long, NUL in it, no permission, symbolic link loop
        if is_disk_error(error, path):
            return Path(os.path.realpath(path))
        raise StoreUnwritable(f"store.path: cannot inspect {str(path)!r}: {error}; name another file") from None


def open_database(path: Path, now: float, suspicion: str = "", *, is_unusable: bool = False) -> OpenDatabase:
    """Open the store at ``path`` for writing: create it if missing, check it, migrate it, and write to it once.

    A corrupt file is renamed to ``<name>.corrupt-<UTC time>``, with its log and index, and a new one is created.
    Only the owner can read the files. ``now`` is seconds since the epoch. ``suspicion`` is an error that the file
    caused while it was open: then its indexes are checked, too, and with ``is_unusable`` it counts as corrupt whatever
    the checks find.

    SQLite's write-ahead log (https://www.sqlite.org/wal.html) lets readers read while the writer writes;
    ``synchronous=FULL`` syncs the log at each commit, so that a commit survives a power cut.

    Raises:
        StoreUnwritable: if permissions forbid opening or writing the file, or it belongs to another program.
        StoreTooNew: if a later version has written it.
        StoreFailing: if the disk is full, read-only, or failing.
    """
    restrict_permissions(path)
    try:
        connection = _open_valid(path, suspicion, is_unusable=is_unusable)
        corrupt_path = None
    except CorruptDatabase as corrupt:
        corrupt_path = _rename_corrupt(path, now)
        _log.warning(
            "store corrupt", extra={"store": str(path), "error": str(corrupt), "renamed_to": str(corrupt_path)}
        )
        try:
            connection = _open_valid(path)
        except CorruptDatabase as again:
            raise StoreUnwritable(
                f"the store {path} is corrupt directly after its creation: {again}; check the disk"
            ) from None
    identity = file_identity(path)
    if identity is None:
        connection.close()
        raise StoreUnwritable(f"the store {path} was removed while it was opened; leave it in place")
    return OpenDatabase(connection, identity, corrupt_path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a second, read-only connection.

    It creates no file: without a log no process has the store open, and SQLite would create a log and an index that
    belong to the user who reads, to which the daemon could then not write.

    Raises:
        sqlite3.Error: if it cannot be opened.
    """
    return _connect(path, "ro" if Path(f"{path}-wal").exists() else "ro&immutable=1")


def write_probe(connection: Connection) -> None:
    """Write the schema version that is stored already: changes nothing, but SQLite writes and syncs the page.

    Raises:
        sqlite3.Error: if it cannot be written.
    """
    connection.execute(f"PRAGMA user_version = {stored_version(connection)}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,  # autocommit: the callers begin and end transactions explicitly
        check_same_thread=False,  # opened in one thread, then used in another one only
    )
    connection.text_factory = _decode  # by default, one damaged text makes all rows of a query unreadable
    return connection


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _open_valid(path: Path, suspicion: str = "", *, is_unusable: bool = False) -> sqlite3.Connection:
    if is_unusable:
        raise CorruptDatabase(suspicion)
    connection, is_examined = None, False
    try:
        create_private(path)
        connection = _connect(path, "rwc")
        examination = examine(connection, path, is_thorough=bool(suspicion))
        is_examined = True
        _configure(connection, path)
        _repair_marks(connection, examination.version)
        _migrate(connection, path)
        write_probe(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, Exception) or isinstance(error, (StoreError, CorruptDatabase)):
            raise
        raise _opening_error(error, path, is_examined=is_examined) from None
    if examination.damaged_values:
        count = len(examination.damaged_values)
        _log.warning(
            "store values damaged",
            extra={"store": str(path), "count": count, "error": "; ".join(examination.damaged_values[:5])},
        )
    return connection


def _opening_error(error: Exception, path: Path, *, is_examined: bool) -> StoreError | CorruptDatabase:
    """Return the error to raise for ``error``, which opening the database raised, during its examination or later."""
    if isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_READONLY and has_unknown_format(path):
        return CorruptDatabase("the format version in its header does not exist")
    is_from_statement = isinstance(error, (sqlite3.Error, OSError))
    if is_corruption(error) or ((not is_examined or not is_from_statement) and is_sign_of_corruption(error, path)):
        return CorruptDatabase(str(error) or type(error).__name__)
    if isinstance(error, MemoryError) or is_disk_error(error, path):
        return StoreFailing(f"the store {path} cannot be opened and written: {error}{disk_full_hint(path)}")
    return StoreUnwritable(
        f"the store {path} cannot be opened and written: {error}; "
        "it needs a local disk with free space, and a file and directory that the daemon may write to"
    )


def _repair_marks(connection: sqlite3.Connection, version: int) -> None:
    """Restore the application id and the schema version in the header if only they are damaged."""
    if version and (version, APPLICATION_ID) != (
        stored_version(connection),
        connection.execute("PRAGMA application_id").fetchone()[0],
    ):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = stored_version(connection)
    try:
        migrate(connection)
    except sqlite3.Error as error:
        if is_corruption(error) or is_disk_error(error, path):
            raise
        raise StoreUnwritable(
            f"the store {path} cannot be migrated from schema version {version} to {known_version()}: {error}; "
            "restore a backup of it, or name another file in store.path"
        ) from None


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnwritable(f"store.path: the disk of {path} cannot hold a write-ahead log; use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 16777216")  # codespell:ignore journal - bytes; a larger log shrinks


def _rename_corrupt(path: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    target, number = path.with_name(f"{path.name}.corrupt-{stamp}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    try:
        for companion in _FILE_SUFFIXES:
            source = Path(f"{path}{companion}")
            if source.exists():
                source.rename(f"{target}{companion}")
    except OSError as error:
        if is_disk_error(error, path):
            raise StoreFailing(f"the store {path} is corrupt and cannot be renamed: {error.strerror}") from None
        raise StoreUnwritable(
            f"the store {path} is corrupt and cannot be renamed to {target}: {error.strerror}; move it away"
        ) from None
    return target
