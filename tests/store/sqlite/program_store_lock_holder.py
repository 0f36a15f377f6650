"""Holds the lock as a daemon does: opens the store at ``argv[1]``, prints ``open``, and waits for a line on stdin."""

import sys
from pathlib import Path

from streamcanary.model.clock import SystemClock
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store

store = open_store(StoreConfig(path=Path(sys.argv[1])), SystemClock())
print("open", flush=True)  # noqa: T201 - the test reads it
sys.stdin.readline()
