from pathlib import Path
from typing import Any

import pytest

from streamcanary.model.row import Row
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.disk import seen_on_a_full_disk, seen_on_a_limited_disk

FILLER = Path(__file__).with_name("program_full_disk.py")


def check(seen: dict[str, Any], path: Path) -> None:
    """See that writes failed as they should, that the store said so, and that it recovered by itself."""
    failures = seen.pop("failures")
    assert failures != []
    expected = f"StoreFailing: the store {path} cannot be written: "
    assert [failure for failure in failures if not failure.startswith(expected)] == []
    assert seen == {"writable": False, "kept_while_full": True, "writable_after": True, "kept_after": True}


def test_files_that_may_not_grow_are_a_failing_store_until_they_may(path: Path) -> None:
    """The system call itself fails (EFBIG), as on a full disk; what was there can be read meanwhile."""
    check(seen_on_a_limited_disk(FILLER, path), path)


def test_a_disk_without_room_is_a_failing_store_until_there_is_room(tmp_path: Path) -> None:
    """The same on a small file system of its own that is really full (ENOSPC)."""
    path = tmp_path / "canary.db"
    check(seen_on_a_full_disk(FILLER, path), path)


async def test_a_statement_without_room_fails_alone(store: Store) -> None:
    """A database at its largest size refuses the write that needs a page more; one that needs none is made."""
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StoreFailing, match="database or disk is full"):
        await store.commit([Row("notices", "large", bytes(1_000_000))], [])
    assert store.writable() is False
    await store.commit([Row("notices", "small", b"1")], [])
    assert store.writable() is True
    assert (await store.load_ledger())["notices"] == {"small": b"1"}
