"""Writes a file as a whole or not at all."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, text: str, *, overwrite: bool) -> None:
    """Write ``text`` to ``path`` through a file beside it; a file that exists stays unless ``overwrite`` is true.

    A file that is overwritten keeps its mode, and its owner where that is permitted; a symbolic link stays, and what it
    leads to is written.

    Raises:
        FileExistsError: if the file exists, also if another process has created it meanwhile.
        OSError: if it cannot be written, or is to be overwritten and is not a regular file.
    """
    if overwrite:
        path = Path(os.path.realpath(path))
    former = check_is_regular(path) if overwrite else None
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            if former is not None:
                _copy_access(former, file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
            return
        try:
            path.hardlink_to(temporary)  # unlike a rename, this fails if the file exists
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_is_regular(path: Path) -> os.stat_result | None:
    """Return the status of the file that ``path`` leads to; none if there is no file.

    Raises:
        OSError: if it is a device, a pipe, a socket or a directory, which a file would replace; or cannot be reached.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return status


def _copy_access(status: os.stat_result, file: int) -> None:
    """Give the open ``file`` the owner, where that is permitted, and the mode of another file."""
    with suppress(PermissionError):
        os.fchown(file, status.st_uid, status.st_gid)
    os.fchmod(file, stat.S_IMODE(status.st_mode))  # after the owner, whose change clears bits
