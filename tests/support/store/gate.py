"""Writes that tests queue behind one that blocks the writer."""

import asyncio
import threading
from collections.abc import Callable

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.tables import alert_rows


def put(key: str, value: bytes = b"1") -> Callable[[Connection], None]:
    """Return a write of one notification."""
    return lambda connection: alert_rows.save_rows(connection, [RowChange("notifications", key, value)])


async def notifications(store: Store) -> list[str]:
    """Return the keys of the notifications."""
    return sorted((await store.load_rows())["notifications"])


class Gate:
    """A write that blocks the writer thread until the gate is opened."""

    def __init__(self, key: str = "gate") -> None:
        self._put = put(key)
        self._begun = threading.Event()
        self._opened = threading.Event()

    def __call__(self, connection: Connection) -> None:
        """Write, then wait for :meth:`open`."""
        self._put(connection)
        self._begun.set()
        assert self._opened.wait(10)

    async def begun(self) -> None:
        """Wait until the thread runs this write."""
        await asyncio.to_thread(self._begun.wait, 10)

    def open(self) -> None:
        """Unblock the thread."""
        self._opened.set()


async def behind_a_gate(store: Store, *writes: Callable[[Connection], object]) -> list[object]:
    """Queue ``writes`` while the thread is blocked, so that they share a commit; return results and errors."""
    gate = Gate()
    first = asyncio.create_task(store.write(gate))
    await gate.begun()
    tasks = [asyncio.create_task(store.write(fn)) for fn in writes]
    await asyncio.sleep(0)
    gate.open()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)
