"""Writes a file as a whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, text: str, *, overwrite: bool) -> None:
    """Write ``text`` to ``path`` through a file beside it; a file that exists stays unless ``overwrite`` is true.

    Raises:
        FileExistsError: if the file exists, also if another process has created it meanwhile.
        OSError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
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
