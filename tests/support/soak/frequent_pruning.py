"""Runs the command line; the store is pruned every two seconds, and the allocated memory blocks are written to a file.

The first argument is the file, to which the number of blocks is appended every second; the others are those of the
command line. A block is a piece of memory that Python has allocated for an object or a part of one.
"""

import sys
import threading
from pathlib import Path
from typing import Final
from unittest.mock import patch

from streamcanary.cli.main import main
from streamcanary.store import pruning

_PRUNE_EVERY: Final = 2.0  # seconds, instead of ten minutes
_COUNT_EVERY: Final = 1.0  # seconds


def count_blocks(file: Path) -> None:
    """Append the number of allocated blocks to ``file``, for ever."""
    pause = threading.Event()
    with file.open("a") as lines:
        while not pause.wait(_COUNT_EVERY):
            print(sys.getallocatedblocks(), file=lines, flush=True)


if __name__ == "__main__":
    threading.Thread(target=count_blocks, args=[Path(sys.argv[1])], daemon=True).start()
    with patch.object(pruning, "_INTERVAL", _PRUNE_EVERY):
        sys.exit(main(sys.argv[2:]))
