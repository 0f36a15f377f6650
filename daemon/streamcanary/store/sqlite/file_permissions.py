"""Permissions of the files of the store: only their owner may read and write them, with any umask.

They contain messages of providers and names of a company's systems. A file that was created with more permissions, by
an earlier version or by hand, is restricted when the store is opened. SQLite gives the log and the index of a database
the permissions of the database (``findCreateFileMode`` in https://www.sqlite.org/src/file/src/os_unix.c).
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

PRIVATE_MODE: Final = 0o600
"""Read and write for the owner, nothing for anyone else."""

_SUFFIXES = ("", "-wal", "-shm", ".lock", ".saved", ".saved.new")


def create_private(path: Path) -> None:
    """Create an empty file at ``path`` unless there is one; an error is left to the caller that opens it next."""
    with contextlib.suppress(OSError):
        # An existing file is not opened: closing it would release the locks that SQLite holds on it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE))


def restrict_permissions(store: Path) -> None:
    """Remove the permissions of group and others from all files of the store at ``store``, corrupt ones included.

    Files of another owner stay as they are, such as those on a volume that Kubernetes assigns to a group (``fsGroup``);
    that is logged.
    """
    for path in _files_of(store):
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                path.chmod(mode & PRIVATE_MODE)
        except FileNotFoundError:
            continue
        except OSError as error:
            fields = {"path": str(path), "error": error.strerror or str(error)}
            _log.warning("store file permissions not restricted", extra=fields)


def _files_of(store: Path) -> Iterator[Path]:
    yield from (store.with_name(f"{store.name}{suffix}") for suffix in _SUFFIXES)
    prefix = f"{store.name}.corrupt-"
    with contextlib.suppress(OSError):
        yield from [path for path in store.parent.iterdir() if path.name.startswith(prefix)]
