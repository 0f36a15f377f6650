"""Run all benchmarks of this folder (modules with ``rows()``), or the named ones, and print a table."""

import logging
import sys
from importlib import import_module
from pkgutil import iter_modules

import bench
from bench.table import Row, render


def measure(names: list[str]) -> list[Row]:
    """Return the rows of the modules ``names``, or of all modules if ``names`` is empty."""
    rows: list[Row] = []
    for name in names or sorted(module.name for module in iter_modules(bench.__path__) if module.name != "__main__"):
        module = import_module(f"bench.{name}")
        if hasattr(module, "rows"):
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            rows += module.rows()
    return rows


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # no warnings about missing receivers
    print(render(measure(sys.argv[1:])))
