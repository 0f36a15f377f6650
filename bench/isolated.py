"""Runs one benchmark; the processes that run it import this module."""

import logging
import sys
from importlib import import_module

from bench.table import Row


def rows_of(name: str) -> list[Row]:
    """Return the rows of the module ``name`` of this folder; none if it measures nothing."""
    logging.disable(logging.WARNING)  # no warnings about missing receivers
    module = import_module(f"bench.{name}")
    if not hasattr(module, "rows"):
        return []
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    rows: list[Row] = module.rows()
    return rows
