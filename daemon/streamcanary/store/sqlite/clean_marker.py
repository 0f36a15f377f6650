"""The clean marker: a file beside the database, ``<store>.saved``, that records whether the database is complete.

The file is emptied before a failed write is reported to its caller, and so before any notification is sent from
memory. Truncating a file needs no space, so it works on a full disk. The next process that opens the store reads the
empty file and knows that notifications may have been sent which the database does not record. On a disk that accepts
no write at all, or does not respond, the marker keeps its former content.
"""

import logging
import os
from pathlib import Path

from streamcanary.store.sqlite.file_permissions import PRIVATE_MODE

_log = logging.getLogger(__name__)

_CONTENT = (
    b"The store beside this file is complete. If this file is empty, notifications may be missing from the store.\n"
)


class CleanMarker:
    """The clean marker of the store at ``store``.

    ``was_left_unclean`` is whether an earlier process left the marker empty and no :meth:`mark_clean` has followed.
    """

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(f"{store.name}.saved")
        self._is_empty: bool | None = None  # unknown: no marker yet, or the disk does not respond
        self.was_left_unclean = False

    @property
    def is_clean(self) -> bool:
        """Whether the marker states that the database is complete."""
        return self._is_empty is False

    def read_previous(self) -> None:
        """Read the marker of an earlier process. Does nothing once the state of the marker is known."""
        if self._is_empty is None:
            try:
                self.was_left_unclean = self._is_empty = self._path.stat().st_size == 0
            except OSError as error:
                _log.debug("clean marker not readable", extra={"path": str(self._path), "error": str(error)})

    def mark_unclean(self) -> None:
        """Empty the marker: the database may be incomplete."""
        if self._is_empty is not True:
            self.read_previous()
            if _write_durably(self._path, b""):
                self._is_empty = True

    def mark_clean(self) -> None:
        """Write the marker: the database is complete, including what an earlier process could not save."""
        new_path = self._path.with_name(f"{self._path.name}.new")  # a kill must not leave an empty marker
        if _write_durably(new_path, _CONTENT):
            try:
                new_path.replace(self._path)
            except OSError as error:
                _log.debug("clean marker replace failed", extra={"path": str(self._path), "error": str(error)})
            else:
                self._is_empty = self.was_left_unclean = False


def _write_durably(path: Path, content: bytes) -> bool:
    """Replace the content of the file durably; return whether that succeeded."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        _log.debug("clean marker write failed", extra={"path": str(path), "error": str(error)})
        return False
    return True
