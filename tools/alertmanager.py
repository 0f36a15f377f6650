"""Alertmanager: the one that is installed, or the one from Debian's package."""

from pathlib import Path

import debian

PACKAGE = "prometheus-alertmanager"


def find() -> Path | None:
    """Return the program if it is on PATH or has been unpacked before."""
    return debian.find(PACKAGE, PACKAGE, (PACKAGE, "alertmanager"))


def fetch() -> Path:
    """Return the program, downloaded if need be.

    Raises:
        cache.Unavailable: if it cannot be had; the text says why.
    """
    return find() or debian.fetch(PACKAGE, PACKAGE, "Alertmanager")
