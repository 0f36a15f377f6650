"""Tells a disk that fails, for a while or for good, from a mistake in the configuration.

A mistake ends the daemon at its start: somebody is there to mend it. A disk may fail at any start, at one by a
supervisor in the middle of an outage too, and the daemon runs on without it.
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
    errno.EROFS,  # also what a kernel makes of a file system that it no longer trusts
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,  # a file system in user space whose program has died
    errno.ESTALE,  # NFS
    errno.ETIMEDOUT,
})  # fmt: skip
_DISK_SQLITE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
_MIN_FREE_BYTES = 64 * 1024  # bytes: the index of the log and a transaction
_ACCESS_SQLITE_CODES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def primary_code(error: sqlite3.Error) -> int:
    """Return the result code without its extension (https://www.sqlite.org/rescode.html); 0 if it carries none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_disk_error(error: BaseException, path: Path) -> bool:
    """Tell whether ``error``, met while the database at ``path`` was opened, is the disk's, and may pass by itself."""
    if isinstance(error, sqlite3.Error):
        code = primary_code(error)
        return code in _DISK_SQLITE_CODES or (code in _ACCESS_SQLITE_CODES and not _is_permission_denied(path))
    return isinstance(error, OSError) and error.errno in _DISK_ERRNOS


def disk_full_hint(path: Path) -> str:
    """Return, to be added to an error, that the disk of ``path`` has no room; SQLite may call that an I/O error."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return ""
    return " (the disk is full)" if disk.f_bavail * disk.f_frsize < _MIN_FREE_BYTES else ""


def _is_permission_denied(path: Path) -> bool:
    """Tell whether it is permissions that keep the daemon from the files of the store.

    SQLite does not say what the system told it, and says the same of a file system that takes no further file.
    """
    try:
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return False
    except OSError as error:
        return not is_disk_error(error, path)
    files = (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    existing = [path.parent, *(file for file in files if file.exists())]
    return not all(os.access(file, os.R_OK | os.W_OK) for file in existing)
