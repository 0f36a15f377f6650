"""Run every module of this folder that has ``rows()``, or those that are named, and print one table."""

import logging
import sys
from importlib import import_module
from pkgutil import iter_modules

import bench
from bench.table import Row, render


def measure(names: list[str]) -> list[Row]:
    """Return the rows of the modules ``names``, of all of them if there are none."""
    rows: list[Row] = []
    for name in names or sorted(module.name for module in iter_modules(bench.__path__) if module.name != "__main__"):
        module = import_module(f"bench.{name}")
        if hasattr(module, "rows"):
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            rows += module.rows()
    return rows


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # that alerts go to nobody here is no news
    print(render(measure(sys.argv[1:])))
