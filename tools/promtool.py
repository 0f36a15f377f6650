"""promtool, which checks and tests rules of Prometheus: the one that is installed, or Debian's."""

from pathlib import Path

import debian

PACKAGE = "prometheus"
PROGRAM = "promtool"


def find() -> Path | None:
    """Return the program if it is on PATH or has been unpacked before."""
    return debian.find(PACKAGE, PROGRAM, (PROGRAM,))


def fetch() -> Path:
    """Return the program, downloaded if need be.

    Raises:
        cache.Unavailable: if it cannot be had; the text says why.
    """
    return find() or debian.fetch(PACKAGE, PROGRAM, "Prometheus, for its promtool")
