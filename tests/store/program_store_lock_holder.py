"""A daemon as far as the store sees one: opens the store at ``argv[1]``, says so, and waits to be told to end."""

import sys
from pathlib import Path

from streamcanary.model.clock import SystemClock
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store

store = Store.open(StoreConfig(path=Path(sys.argv[1])), SystemClock())
print("open", flush=True)  # noqa: T201 - how it tells the test
sys.stdin.readline()
