"""Metrics of the process: CPU, memory, file descriptors, threads; read from ``/proc`` and the standard library.

https://opentelemetry.io/docs/specs/semconv/system/process-metrics/
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from streamcanary.model import names

_PROC: Final = Path("/proc/self")
_FD_FOLDERS: Final = (_PROC / "fd", Path("/dev/fd"))  # the second one on macOS and the BSDs

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def observe_process(meter: Meter) -> None:
    """Create the instruments; their callbacks read the values when metrics are collected.

    Where the system does not tell a value, its metric is missing: memory without ``/proc``.
    """
    started = time.monotonic()

    def observe_cpu_time(options: CallbackOptions) -> Iterable[Observation]:
        times = os.times()
        yield Observation(times.user, {names.CPU_MODE: "user"})
        yield Observation(times.system, {names.CPU_MODE: "system"})

    def observe(metric: names.Metric, callback: Callback) -> None:
        create = meter.create_observable_gauge if metric.kind == "gauge" else meter.create_observable_up_down_counter
        create(metric.name, [callback], metric.unit, metric.description)

    cpu = names.PROCESS_CPU_TIME
    meter.create_observable_counter(cpu.name, [observe_cpu_time], cpu.unit, cpu.description)
    observe(names.PROCESS_MEMORY_USAGE, lambda _: _observations(resident_memory()))
    observe(names.PROCESS_FILE_DESCRIPTORS, lambda _: _observations(open_file_descriptors()))
    observe(names.PROCESS_THREADS, lambda _: _observations(threads()))
    observe(names.PROCESS_UPTIME, lambda _: _observations(time.monotonic() - started))


def _observations(value: float | None) -> Iterable[Observation]:
    return () if value is None else (Observation(value),)


def resident_memory() -> int | None:
    """Return the physical memory of the process in bytes; ``None`` where there is no ``/proc``."""
    try:
        pages = int((_PROC / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_file_descriptors() -> int | None:
    """Return the number of open file descriptors, without the one that reads the folder."""
    for folder in _FD_FOLDERS:
        try:
            return len(os.listdir(folder)) - 1  # noqa: PTH208 - counts, and needs no paths
        except OSError:
            continue
    return None


def threads() -> int:
    """Return the number of threads, with those of C libraries where ``/proc`` lists them."""
    try:
        return len(os.listdir(_PROC / "task"))  # noqa: PTH208 - counts, and needs no paths
    except OSError:
        return threading.active_count()
