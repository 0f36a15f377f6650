import re
from pathlib import Path
from typing import Any

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.store.full_disk import run_on_full_disk, run_with_file_size_limit

FILLER = Path(__file__).with_name("program_store_full_disk.py")
LATE = Path(__file__).with_name("program_store_full_disk_at_open.py")


def check(seen: dict[str, Any], path: Path) -> None:
    """See that writes failed as they should, that the store said so, and that it recovered by itself."""
    failures = seen.pop("failures")
    assert failures != []
    expected = f"StoreFailing: the store {path} cannot be written: "
    assert [failure for failure in failures if not failure.startswith(expected)] == []
    assert seen == {"writable": False, "kept_while_full": True, "writable_after": True, "kept_after": True}


def test_files_that_may_not_grow_are_a_failing_store_until_they_may(path: Path) -> None:
    """The system call itself fails (EFBIG), as on a full disk; what was there can be read meanwhile."""
    check(run_with_file_size_limit(FILLER, path), path)


def test_a_disk_without_room_is_a_failing_store_until_there_is_room(tmp_path: Path) -> None:
    """The same on a small file system of its own that is really full (ENOSPC)."""
    path = tmp_path / "canary.db"
    check(run_on_full_disk(FILLER, path), path)


def check_late(seen: dict[str, Any], path: Path, reason: str, *, there: bool) -> None:
    """See that the store was no error when it could not be opened, and was one as soon as it could."""
    assert re.fullmatch(f"StoreFailing: the store {path} {reason}", seen.pop("written"))
    old = ["old"] if there else []
    assert seen == {"writable": [False, False], "read_after": old, "kept": ["new", *old], "writable_after": True}


@pytest.mark.parametrize("there", [True, False])
def test_a_start_on_a_full_disk_is_a_failing_store_until_there_is_room(tmp_path: Path, there: bool) -> None:
    """A supervisor starts the daemon again in the middle of it."""
    path = tmp_path / "canary.db"
    seen = run_on_full_disk(LATE, path, "there" if there else "missing")
    assert seen.pop("read").startswith(f"StoreFailing: the store {path} cannot be read: ")
    check_late(seen, path, r"cannot be opened and written: .+ \(the disk is full\)", there=there)


@pytest.mark.parametrize("there", [True, False])
def test_so_is_a_start_on_a_disk_that_is_read_only(tmp_path: Path, there: bool) -> None:
    """What the kernel makes of a disk with errors; what was there before can be read meanwhile."""
    path = tmp_path / "canary.db"
    seen = run_on_full_disk(LATE, path, "there" if there else "missing", how="protect")
    unread = f"StoreFailing: the store {path} cannot be read: unable to open database file"
    assert seen.pop("read") == (["old"] if there else unread)
    check_late(seen, path, "cannot be locked: Read-only file system", there=there)


async def test_a_statement_without_room_fails_alone(store: Store) -> None:
    """A database at its largest size refuses the write that needs a page more; one that needs none is made."""
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StoreFailing, match="database or disk is full"):
        await store.commit([RowChange("notifications", "large", bytes(1_000_000))], [])
    assert store.is_writable() is False
    await store.commit([RowChange("notifications", "small", b"1")], [])
    assert store.is_writable() is True
    assert (await store.load_rows())["notifications"] == {"small": b"1"}
