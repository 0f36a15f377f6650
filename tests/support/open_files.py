"""Limits the files that this process may open, for tests of what it does without a file descriptor."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_files() -> int:
    """Return the number of files that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def soft_limit(limit: int | None) -> Iterator[None]:
    """Limit the open files; ``None``: to those that are open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)  # the lowest that is free; all above the limit are refused
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe if limit is None else limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
