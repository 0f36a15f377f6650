"""Opens the store at ``argv[1]`` on a failing disk, repairs the disk, and prints its observations as JSON.

``argv[2]`` is the failure of the disk; ``argv[3]`` is ``there`` if the store exists before.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.clock import SystemClock
from streamcanary.model.spend import Spend
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from streamcanary.store.opening import open_store
from support.store.full_disk import FillableDisk

path, how, before = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "there"
disk = FillableDisk(path, how, most=0)


def open_it() -> Store:
    """Open the store."""
    return open_store(StoreConfig(path=path), SystemClock())


async def keys(store: Store) -> list[str] | str:
    """Return the keys of the notifications, or why they cannot be read."""
    try:
        return sorted((await store.load_rows())["notifications"])
    except StoreFailing as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    """Open the store, try to write, repair the disk, read, and write."""
    if before:
        store = open_it()
        await store.commit([RowChange("notifications", "old", b"1")], [])
        await store.close()
    disk.fill()
    store = open_it()
    seen: dict[str, Any] = {"read": await keys(store), "writable": [store.is_writable(), await store.probe()]}
    try:
        await store.commit([RowChange("notifications", "new", b"1")], [])
    except StoreFailing as error:
        seen["written"] = f"{type(error).__name__}: {error}"
    disk.make_room()
    seen["read_after"] = await keys(store)
    await store.commit([RowChange("notifications", "new", b"1")], [])
    await store.save_spend({"2026-02-02": Spend(requests=1)})
    seen["kept"] = await keys(store)
    seen["writable_after"] = store.is_writable()
    await store.close()
    print(json.dumps(seen))  # noqa: T201 - the test reads it


asyncio.run(main())
