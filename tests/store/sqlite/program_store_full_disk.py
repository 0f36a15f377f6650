"""Fills the disk of the store at ``argv[1]``, frees the space again, and prints its observations as one JSON object.

``argv[2]`` is the method that fills the disk.
"""

import asyncio
import json
import sys
from pathlib import Path

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.clock import SystemClock
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import StoreFailing
from streamcanary.store.opening import open_store
from support.store.full_disk import FillableDisk

path, how = Path(sys.argv[1]), sys.argv[2]
disk = FillableDisk(path, how)


async def main() -> None:
    """Write until writes fail, free the space, and write again."""
    store = open_store(StoreConfig(path=path), SystemClock())
    taken, failures = [], []
    disk.fill()
    for number in range(60):
        try:
            await store.commit([RowChange("notifications", f"full-{number}", bytes(4000))], [])
            taken.append(f"full-{number}")
        except StoreFailing as error:
            failures.append(f"{type(error).__name__}: {error}")
    seen = {"failures": failures, "writable": store.is_writable()}
    seen["kept_while_full"] = sorted((await store.load_rows())["notifications"]) == sorted(taken)
    disk.make_room()
    await store.commit([RowChange("notifications", "after", bytes(4000))], [])
    seen["writable_after"] = store.is_writable()
    seen["kept_after"] = sorted((await store.load_rows())["notifications"]) == sorted([*taken, "after"])
    await store.close()
    print(json.dumps(seen))  # noqa: T201 - the test reads it


asyncio.run(main())
