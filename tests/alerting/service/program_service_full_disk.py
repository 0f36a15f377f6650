"""Runs an outage whose alert fires while the disk is full, and prints the observed states as one JSON object.

The arguments are the path of the store, and the method of filling the disk.
"""

import asyncio
import contextlib
import json
import sqlite3
import sys
from pathlib import Path

from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.model.clock import SystemClock
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store
from streamcanary.store.tables import history
from support.alerting.builders import bad
from support.alerting.service import OUTAGE, RECOVERY, enqueue_outcomes, running_service, wait_until, webhooks_config
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver
from support.store.full_disk import FillableDisk

path, method = Path(sys.argv[1]), sys.argv[2]
disk = FillableDisk(path, method, most=4096)


def fill() -> None:
    """Fill the disk; the write-ahead log of the store is truncated before, so that it has no free space either."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
    disk.fill()


async def main() -> None:
    """Run an outage while the disk is full, make space available, restart, and run the recovery."""
    store, clock = open_store(StoreConfig(path=path), SystemClock()), ManualClock()

    async def stored() -> dict[str, list[str]]:
        state, _ = read_state(await store.load_rows())
        return {
            "open": sorted(incident.rule for incident in state.incidents.values() if incident.is_firing),
            "notifications": sorted(state.notifications),
            "runs": sorted(run.run_id for run in await store.read(history.recent_runs)),
        }

    async with FakeReceiver() as hook:

        def received() -> list[tuple[str, str, str]]:
            return [(one.json["labels"]["alert"], one.json["type"], one.id) for one in hook.deliveries]

        async with running_service(store, webhooks_config(hook=hook), clock) as alerting:
            await alerting.drain(5)
            fill()
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(2)
            clock.advance(5)  # the write is retried and fails
            enqueue_outcomes(alerting, [bad(3)])
            await wait_until(lambda: not (alerting._queue or alerting._is_busy))
            observed = {"full": {"received": received(), **await stored(), "writable": store.is_writable()}}
            disk.make_room()
            clock.advance(5)
            alerting.wake()
            await hook.wait_for_deliveries(3)
            await alerting.drain(5)
            observed["repaired"] = {"received": received(), **await stored(), "writable": store.is_writable()}
        async with running_service(store, webhooks_config(hook=hook), clock) as alerting:
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(4)
            await alerting.drain(5)
            observed["recovered"] = {"received": received(), **await stored(), "writable": store.is_writable()}
    await store.close()
    print(json.dumps(observed))  # noqa: T201 - the test reads stdout


asyncio.run(main())
