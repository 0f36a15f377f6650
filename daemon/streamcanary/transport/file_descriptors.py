"""The limit of open files of this process: each connection needs a file descriptor."""

import resource
from contextlib import suppress
from typing import Final

_MAX_LIMIT: Final = 1 << 20  # for a hard limit of "unlimited"
RESERVED: Final = 100
"""Descriptors for other uses: the store, the web server, receivers, telemetry."""


def raise_limit() -> int:
    """Raise the limit of open files to the highest that the process may set; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = highest_limit()
    if soft != resource.RLIM_INFINITY and soft < highest:
        with suppress(OSError, ValueError):  # more than the kernel allows: the limit stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MAX_LIMIT if soft == resource.RLIM_INFINITY else soft


def highest_limit() -> int:
    """Return the highest limit of open files that the process may set."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MAX_LIMIT if hard == resource.RLIM_INFINITY else hard


def limit_warning(connections: int, limit: int) -> str | None:
    """Return a warning if the process cannot have that many ``connections`` with ``limit`` open files."""
    if connections + RESERVED <= limit:
        return None
    return (
        f"the canaries may have {connections} runs at once, but the process may open only {limit} files, of which "
        f"{RESERVED} are for other uses; raise its limit of open files (ulimit -n, LimitNOFILE=), or lower "
        "max_concurrent_runs of the targets"
    )
