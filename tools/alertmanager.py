"""Alertmanager, built from source with Go: its notification templates are inside the program."""

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
        cache.Unavailable: if it cannot be built; the text says why.
    """
    return PROGRAM.fetch()
