"""Alertmanager, built from source with Go: the program contains its notification templates."""

from pathlib import Path

import golang
import versions

PROGRAM = golang.Program(
    title="Alertmanager",
    package="github.com/prometheus/alertmanager/cmd/alertmanager",
    version=versions.ALERTMANAGER,
    go=versions.ALERTMANAGER_GO,
)


def find() -> Path | None:
    """Return the program if it has been built."""
    return PROGRAM.find()


def fetch() -> Path:
    """Return the program, built if need be.

    Raises:
        cache.Unavailable: if it cannot be built; the message has the reason.
    """
    return PROGRAM.fetch()
