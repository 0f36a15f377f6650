"""promtool, which checks and tests rules of Prometheus: built with Go, or from Debian's package where that fails."""

from pathlib import Path

import cache
import debian
import golang
import progress
import versions

PROGRAM = golang.Program(
    title="promtool",
    package="github.com/prometheus/prometheus/cmd/promtool",
    version=versions.PROMETHEUS,
    go=versions.PROMETHEUS_GO,
    tags=("remove_all_sd",),  # without the SDKs of cloud providers for service discovery: rules need none of them
)
DEBIAN = debian.Program(package="prometheus", name="promtool")


def find() -> Path | None:
    """Return the program if it has been built, else Debian's if that has been unpacked."""
    return PROGRAM.find() or DEBIAN.find()


def fetch() -> Path:
    """Return the program, built or downloaded if need be.

    Raises:
        cache.Unavailable: if neither is possible; the message has the reasons.
    """
    try:
        return PROGRAM.fetch()
    except cache.Unavailable as error:
        reason = str(error)
    try:
        path = DEBIAN.fetch()
    except cache.Unavailable as error:
        raise cache.Unavailable(f"{reason}; Debian's package is not available either: {error}") from None
    progress.write(f"promtool: {reason}; using the one from Debian's package {DEBIAN.package}")
    return path
