"""The lock of the store: an exclusive ``flock`` on a file beside the database, so that one daemon uses a store.

The kernel releases the lock when the process ends; the file remains, and has no meaning by itself. The lock has a
separate file because SQLite locks the database with ``fcntl`` locks, which a process loses as soon as it closes any
descriptor of the same file.
"""

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from streamcanary.model.redaction.redactor import scrub
from streamcanary.store.errors import StoreFailing, StoreLocked, StoreUnwritable
from streamcanary.store.sqlite.error_classification import is_disk_error
from streamcanary.store.sqlite.file_permissions import PRIVATE_MODE

_MAX_HOLDER_BYTES = 300


class StoreLock:
    """The lock of the store at ``store``: ``<store>.lock``."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(f"{store.name}.lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Acquire the lock, or check that it is still held: its file may have been removed.

        Raises:
            StoreLocked: if another process holds it; the message names its pid and host.
            StoreUnwritable: if the file cannot be created or locked.
            StoreFailing: if the disk is full, read-only, or failing.
        """
        if self.is_held:
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE)
        except OSError as error:
            if is_disk_error(error, self._path):
                raise StoreFailing(f"the store {self._store} cannot be locked: {error.strerror}") from None
            raise StoreUnwritable(
                f"store.path: cannot write {self._path}: {error.strerror}; the daemon must be able to write there"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._read_holder(file)
            os.close(file)
            raise StoreLocked(
                f"the store {self._store} is in use by another streamcanary, process {holder}: "
                "stop that process, or set another store.path for this one"
            ) from None
        except OSError as error:
            os.close(file)
            raise StoreUnwritable(
                f"store.path: cannot lock {self._path}: {error.strerror}; use a disk with file locks"
            ) from None
        self._write_holder(file)
        self.release()
        self._file = file

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lock, and its file is in place."""
        return self._file is not None and self._is_in_place(self._file)

    def release(self) -> None:
        """Release the lock; do nothing if it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _is_in_place(self, file: int) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(file), self._path.stat())
        return False

    @staticmethod
    def _write_holder(file: int) -> None:
        """Write the pid and host of this process to the file; the lock is held even if the disk has no space for it."""
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    @staticmethod
    def _read_holder(file: int) -> str:
        """Return the pid and host of the holder; ``unknown`` if it has not written them yet."""
        text = os.pread(file, _MAX_HOLDER_BYTES, 0).decode("utf-8", "replace")
        return scrub(text) or "unknown"
