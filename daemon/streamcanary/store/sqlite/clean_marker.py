"""A note beside the database, ``<store>.saved``, that tells whether the database has everything.

It is emptied before anybody hears that a write failed, and so before anything is sent from memory: to empty a file
takes no room on a disk that is full. Whoever opens the store next knows by it that pages may be open of which the
database knows nothing. A disk that takes no write at all, or does not answer, leaves the note as it was.
"""

import logging
import os
from pathlib import Path

_log = logging.getLogger(__name__)

_CONTENT = (
    b"The store beside this file has everything. An empty file: pages may have been sent that it does not know.\n"
)


class CleanMarker:
    """The note of the store at ``store``. ``left`` is whether an earlier process has left it empty."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(f"{store.name}.saved")
        self._is_empty: bool | None = None  # not known: there is none yet, or the disk does not say
        self.was_left_unclean = False

    @property
    def is_clean(self) -> bool:
        """Whether it says that the database has everything."""
        return self._is_empty is False

    def read_previous(self) -> None:
        """Take note of what an earlier process has left; nothing once this one has."""
        if self._is_empty is None:
            try:
                self.was_left_unclean = self._is_empty = self._path.stat().st_size == 0
            except OSError as error:
                _log.debug("%s is not there, or cannot be looked at: %s", self._path, error)

    def mark_unclean(self) -> None:
        """Have it say that something is missing from the database."""
        if self._is_empty is not True:
            self.read_previous()
            if _write_durably(self._path, b""):
                self._is_empty = True

    def mark_clean(self) -> None:
        """Have it say that the database has everything, what an earlier process left unsaved among it."""
        new_path = self._path.with_name(f"{self._path.name}.new")  # a kill must not leave an empty one
        if _write_durably(new_path, _CONTENT):
            try:
                new_path.replace(self._path)
            except OSError as error:
                _log.debug("%s cannot be replaced: %s", self._path, error)
            else:
                self._is_empty = self.was_left_unclean = False


def _write_durably(path: Path, content: bytes) -> bool:
    """Make ``content`` all that is in the file, durably; tell whether it could be done."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        _log.debug("%s cannot be written: %s", path, error)
        return False
    return True
