"""Distinguishes a failing disk, temporary or permanent, from a configuration error.

A configuration error ends the daemon at its start, where a person can correct it. A disk may fail at any start,
including a restart by a supervisor during an outage, and the daemon continues without it.
"""

import errno
import os
import sqlite3
from pathlib import Path

_DISK_ERRNOS = frozenset({
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,  # the limit of the process, or of the file system
    errno.EIO,
    errno.EROFS,  # also after the kernel remounts a damaged file system read-only
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,  # a FUSE file system whose process has ended
    errno.ESTALE,  # NFS
    errno.ETIMEDOUT,
})  # fmt: skip
_DISK_SQLITE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
_DAMAGE_CODES = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_DATA, sqlite3.SQLITE_IOERR_CORRUPTFS)
_CORRUPTION_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ENVIRONMENT_CODES = (  # what an examination can meet although the database is intact
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
)
_MIN_FREE_BYTES = 64 * 1024  # bytes: the index of the log and a transaction
_ACCESS_SQLITE_CODES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code (https://www.sqlite.org/rescode.html); 0 if the error has none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_corruption(error: BaseException) -> bool:
    """Return whether SQLite reports that the file itself is corrupt."""
    if not isinstance(error, sqlite3.Error):
        return False
    return primary_code(error) in _CORRUPTION_CODES or getattr(error, "sqlite_errorcode", 0) in _DAMAGE_CODES


def is_sign_of_corruption(error: Exception, path: Path) -> bool:
    """Return whether ``error``, raised while the database at ``path`` was examined, shows that the file is corrupt.

    Damage can cause almost any error: SQLite reports a damaged schema as an error in a statement, and Python cannot
    decode the names in its messages. So it is every error that does not come from the disk, permissions, locks or
    memory, or from a misuse of the connection.
    """
    if is_corruption(error):
        return True
    if isinstance(error, (MemoryError, OSError, sqlite3.ProgrammingError)) or is_disk_error(error, path):
        return False
    return not isinstance(error, sqlite3.Error) or primary_code(error) not in (
        *_ACCESS_SQLITE_CODES,
        *_ENVIRONMENT_CODES,
    )


def is_disk_error(error: BaseException, path: Path) -> bool:
    """Return whether ``error``, raised while opening the database at ``path``, is a disk error and may be temporary."""
    if isinstance(error, sqlite3.Error):
        code = primary_code(error)
        if is_corruption(error):
            return False
        return code in _DISK_SQLITE_CODES or (code in _ACCESS_SQLITE_CODES and not _is_permission_denied(path))
    return isinstance(error, OSError) and error.errno in _DISK_ERRNOS


def disk_full_hint(path: Path) -> str:
    """Return a suffix for an error message if the disk of ``path`` is full; SQLite may report that as an I/O error."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return ""
    return " (the disk is full)" if disk.f_bavail * disk.f_frsize < _MIN_FREE_BYTES else ""


def _is_permission_denied(path: Path) -> bool:
    """Return whether permissions deny the daemon access to the files of the store.

    SQLite does not pass on the error of the system, and reports the same for a file system without free inodes.
    """
    try:
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return False
    except OSError as error:
        return not is_disk_error(error, path)
    files = (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    existing = [path.parent, *(file for file in files if file.exists())]
    return not all(os.access(file, os.R_OK | os.W_OK) for file in existing)
