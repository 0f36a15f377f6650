"""Appends runs to the store at ``argv[1]``, and prints the number of each once it is acknowledged, until killed.

Several tasks write at once, so that commits are shared. Each write is one transaction of a run and a ledger row.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store


async def append(store: Store, first: int, step: int) -> None:
    """Append run ``first`` and each ``step``-th after it."""
    for number in count(first, step):
        outcome = Outcome(
            run_id=f"run-{number}",
            canary=f"canary-{first}",
            target="openai",
            provider="openai",
            kind=OutcomeKind.OK,
            scheduled=store_clock.time(),
            started=store_clock.time(),
        )
        await store.commit([RowChange("detectors", f"canary-{first}", str(number).encode())], [outcome])
        print(number, flush=True)  # noqa: T201 - the test reads it


async def main() -> None:
    """Append with five tasks, from ``argv[2]`` on."""
    store = open_store(StoreConfig(path=Path(sys.argv[1])), store_clock)
    async with asyncio.TaskGroup() as group:
        for first in range(5):
            group.create_task(append(store, int(sys.argv[2]) + first, 5))


store_clock = SystemClock()
asyncio.run(main())
