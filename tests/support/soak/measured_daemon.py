"""Runs the command line; the store is pruned every two seconds, and the memory that is in use is written to a file.

The first argument is the file, the others are those of the command line. A line is appended every five seconds, after a
full garbage collection: the number of allocated blocks, each of which is an object of Python or a part of one, and the
bytes that ``malloc()`` has given out, for larger objects and for libraries in C; 0 if the C library does not tell.
"""

import ctypes
import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest.mock import patch

from streamcanary.cli.main import main
from streamcanary.store import pruning

_PRUNE_EVERY: Final = 2.0  # seconds, instead of ten minutes
_MEASURE_EVERY: Final = 5.0  # seconds
_FIELDS: Final = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc: ``uordblks`` are bytes in use, ``hblkhd`` those of blocks with a mapping each."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def allocated_bytes() -> Callable[[], int]:
    """Return a function that returns the bytes that ``malloc()`` has given out."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # another C library than glibc
        return lambda: 0
    mallinfo.restype = _MallInfo

    def measure() -> int:
        info = mallinfo()
        return int(info.uordblks + info.hblkhd)

    return measure


def write_memory(file: Path) -> None:
    """Append what is in use to ``file``, for ever."""
    pause, allocated = threading.Event(), allocated_bytes()
    with file.open("a") as lines:
        while not pause.wait(_MEASURE_EVERY):
            gc.collect()  # what is garbage already would differ by some ten thousand blocks
            print(sys.getallocatedblocks(), allocated(), file=lines, flush=True)


if __name__ == "__main__":
    threading.Thread(target=write_memory, args=[Path(sys.argv[1])], daemon=True).start()
    with patch.object(pruning, "_INTERVAL", _PRUNE_EVERY):
        sys.exit(main(sys.argv[2:]))
