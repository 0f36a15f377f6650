"""Prometheus, which stores metrics, and evaluates queries and rules: built with Go.

Debian's package is no fallback: its releases before 13 have Prometheus 2, which takes no OTLP.
"""

from pathlib import Path

import golang
import versions

PROGRAM = golang.Program(
    title="Prometheus",
    package="github.com/prometheus/prometheus/cmd/prometheus",
    version=versions.PROMETHEUS,
    go=versions.PROMETHEUS_GO,
    tags=("remove_all_sd",),  # without the SDKs of cloud providers for service discovery; `static_configs` remain
)


def find() -> Path | None:
    """Return the program if it has been built."""
    return PROGRAM.find()


def fetch() -> Path:
    """Return the program, built if need be; raises ``cache.Unavailable``."""
    return PROGRAM.fetch()
