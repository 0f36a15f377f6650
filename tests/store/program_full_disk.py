"""Fills the disk under the store at ``argv[1]``, makes room again, and prints what it saw as one JSON object.

``argv[2]`` says how the disk gets full: ``limit`` (the kernel lets no file of this process grow) or ``fill`` (a real
file takes all the room there is: for a small file system of its own).
"""

import asyncio
import json
import resource
import sys
from pathlib import Path

from streamcanary.model.clock import SystemClock
from streamcanary.model.row import Row
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing

path, how = Path(sys.argv[1]), sys.argv[2]
ballast = path.with_name("ballast")


def fill() -> None:
    """Leave no room."""
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
        return
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def make_room() -> None:
    """Give the room back."""
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        ballast.unlink()


async def main() -> None:
    """Write until it fails, see how, make room, and write on."""
    store = Store.open(StoreConfig(path=path), SystemClock())
    taken, failures = [], []
    fill()
    for number in range(60):
        try:
            await store.commit([Row("notices", f"full-{number}", bytes(4000))], [])
            taken.append(f"full-{number}")
        except StoreFailing as error:
            failures.append(f"{type(error).__name__}: {error}")
    seen = {"failures": failures, "writable": store.writable()}
    seen["kept_while_full"] = sorted((await store.load_ledger())["notices"]) == sorted(taken)
    make_room()
    await store.commit([Row("notices", "after", bytes(4000))], [])
    seen["writable_after"] = store.writable()
    seen["kept_after"] = sorted((await store.load_ledger())["notices"]) == sorted([*taken, "after"])
    await store.close()
    print(json.dumps(seen))  # noqa: T201 - how it tells the test


asyncio.run(main())
