"""The database file: where it may be, how it is opened, and what happens to a corrupt one."""

import logging
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from streamcanary.store.errors import StoreFailing, StoreTooNew, StoreUnwritable
from streamcanary.store.sqlite.error_classification import disk_full_hint, is_disk_error, primary_code
from streamcanary.store.sqlite.migrations import APPLICATION_ID, known_version, migrate, stored_version

_log = logging.getLogger(__name__)

_FILE_SUFFIXES = ("", "-wal", "-shm")
_BUSY_TIMEOUT = 5.0  # seconds; only a person's own sqlite3 shell can be in the way
_CORRUPTION_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

FileIdentity = tuple[tuple[int, int], ...]
"""Device and inode of the database, its log and its index: tells whether names still mean the files that are open."""


class OpenDatabase(NamedTuple):
    """An open store: the writer's connection, the files behind it, and where a corrupt one went, if there was one."""

    connection: sqlite3.Connection
    identity: FileIdentity
    corrupt_path: Path | None


class _CorruptDatabase(Exception):
    """The file is no sound database."""


def is_corruption(error: BaseException) -> bool:
    """Tell whether SQLite says that the file itself is broken."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in _CORRUPTION_CODES


def file_identity(path: Path) -> FileIdentity | None:
    """Return which files the names of the store stand for now; ``None`` if one of them is missing."""
    try:
        stats = [Path(f"{path}{companion}").stat() for companion in _FILE_SUFFIXES]
    except OSError:
        return None
    return tuple((stat.st_dev, stat.st_ino) for stat in stats)


def check_path(path: Path) -> Path:
    """See that a store can be at ``path``, and return the file that it stands for, links resolved.

    Directories are never made: a missing one may be a volume that is not mounted. What a disk that fails does not tell
    is left for :func:`open_file` to find out.

    Raises:
        StoreUnwritable: if it cannot; the message says what would be right.
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
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a NUL in it, no right to look, a loop
        if is_disk_error(error, path):
            return Path(os.path.realpath(path))
        raise StoreUnwritable(f"store.path: cannot look at {str(path)!r}: {error}; name another file") from None


def open_database(path: Path, now: float) -> OpenDatabase:
    """Open the store at ``path`` for writing: created, examined, brought to the known version, and written to once.

    A corrupt file is renamed to ``<name>.corrupt-<UTC time>``, with its log and index, and a fresh one made.
    ``now`` is seconds since the epoch. SQLite's write-ahead log (https://www.sqlite.org/wal.html) lets readers read
    while the writer writes; ``synchronous=FULL`` syncs the log at each commit, so that one survives a power cut.

    Raises:
        StoreUnwritable: if the file may not be opened or written, or belongs to another program.
        StoreTooNew: if a later version has written it.
        StoreFailing: if the disk is full, read-only, or does not work.
    """
    try:
        connection = _open_valid(path)
        corrupt_path = None
    except _CorruptDatabase as corrupt:
        corrupt_path = _rename_corrupt(path, now)
        _log.warning("the store %s is corrupt (%s): set aside as %s, a fresh one is begun", path, corrupt, corrupt_path)
        try:
            connection = _open_valid(path)
        except _CorruptDatabase as again:
            raise StoreUnwritable(
                f"the store {path} is corrupt as soon as it is made: {again}; check the disk"
            ) from None
    identity = file_identity(path)
    if identity is None:
        connection.close()
        raise StoreUnwritable(f"the store {path} was removed while it was opened; leave it in place")
    return OpenDatabase(connection, identity, corrupt_path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a second connection that can read only.

    It leaves no file behind: where there is no log, nobody has the store open, and SQLite would make one, and an index
    that belongs to whoever reads, which the daemon could then not write to.

    Raises:
        sqlite3.Error: if it cannot be opened.
    """
    return _connect(path, "ro" if Path(f"{path}-wal").exists() else "ro&immutable=1")


def write_probe(connection: sqlite3.Connection) -> None:
    """Write something that changes nothing: the version that is there already. SQLite writes and syncs its page.

    Raises:
        sqlite3.Error: if it cannot be written.
    """
    connection.execute(f"PRAGMA user_version = {stored_version(connection)}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,  # transactions are begun and ended by us alone
        check_same_thread=False,  # opened in one thread, then used in another one only
    )


def _open_valid(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        connection = _connect(path, "rwc")
        _check_database(connection, path)
        _configure(connection, path)
        migrate(connection)
        write_probe(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if is_corruption(error):
            raise _CorruptDatabase(str(error)) from None
        if is_disk_error(error, path):
            raise StoreFailing(
                f"the store {path} cannot be opened and written: {error}{disk_full_hint(path)}"
            ) from None
        if isinstance(error, sqlite3.Error):
            raise StoreUnwritable(
                f"the store {path} cannot be opened and written: {error}; "
                "it needs a local disk with room, and a file and directory that the daemon may write to"
            ) from None
        raise
    return connection


def _check_database(connection: sqlite3.Connection, path: Path) -> None:
    """See that the database is sound, ours, and not too new; a later version may have things we cannot examine."""
    version, known = stored_version(connection), known_version()
    is_ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if is_ours and version > known:
        raise StoreTooNew(
            f"the store {path} is of version {version}, and this streamcanary knows versions up to {known}: "
            "run the later streamcanary again, or name another file in store.path"
        )
    check_result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if check_result != "ok":
        raise _CorruptDatabase(check_result.splitlines()[-1])
    if not is_ours and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreUnwritable(f"store.path: {path} is a database of another program; name another file")


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnwritable(f"store.path: the disk of {path} cannot hold a write-ahead log; use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 16777216")  # bytes; after a burst the log shrinks to this


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
            raise StoreFailing(f"the store {path} is corrupt and cannot be set aside: {error.strerror}") from None
        raise StoreUnwritable(
            f"the store {path} is corrupt and cannot be set aside as {target}: {error.strerror}; move it away"
        ) from None
    return target
