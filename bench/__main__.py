"""Run all benchmarks of this folder (modules with ``rows()``), or the named ones, and print a table.

Each runs in a process of its own: OpenTelemetry lets a process set its providers only once.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pkgutil import iter_modules

import bench
from bench.isolated import rows_of
from bench.table import Row, render


def measure(names: list[str]) -> list[Row]:
    """Return the rows of the modules ``names``, or of all modules if ``names`` is empty."""
    rows: list[Row] = []
    for name in names or sorted(module.name for module in iter_modules(bench.__path__) if module.name != "__main__"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rows += process.submit(rows_of, name).result()
    return rows


if __name__ == "__main__":
    print(render(measure(sys.argv[1:])))
