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
    """Check that writes failed with StoreFailing, that the store was not writable, and that it recovered."""
    failures = seen.pop("failures")
    assert failures != []
    expected = f"StoreFailing: the store {path} cannot be written: "
    assert [failure for failure in failures if not failure.startswith(expected)] == []
    assert seen == {"writable": False, "kept_while_full": True, "writable_after": True, "kept_after": True}


def test_the_store_recovers_from_a_file_size_limit(path: Path) -> None:
    """While the system call fails (EFBIG), as on a full disk, writes fail and reads succeed."""
    check(run_with_file_size_limit(FILLER, path), path)


def test_the_store_recovers_from_a_full_disk(tmp_path: Path) -> None:
    """While a small file system is full (ENOSPC), writes fail and reads succeed."""
    path = tmp_path / "canary.db"
    check(run_on_full_disk(FILLER, path), path)


def check_late(seen: dict[str, Any], path: Path, reason: str, *, there: bool) -> None:
    """Check that opening raised no error, and that the store worked as soon as it could be opened."""
    assert re.fullmatch(f"StoreFailing: the store {path} {reason}", seen.pop("written"))
    old = ["old"] if there else []
    assert seen == {"writable": [False, False], "read_after": old, "kept": ["new", *old], "writable_after": True}


@pytest.mark.parametrize("there", [True, False])
def test_the_store_recovers_from_a_start_on_a_full_disk(tmp_path: Path, there: bool) -> None:
    """A start on a full disk, for example by a supervisor, raises no error, and the store works once there is space."""
    path = tmp_path / "canary.db"
    seen = run_on_full_disk(LATE, path, "there" if there else "missing")
    assert seen.pop("read").startswith(f"StoreFailing: the store {path} cannot be read: ")
    check_late(seen, path, r"cannot be opened and written: .+ \(the disk is full\)", there=there)


@pytest.mark.parametrize("there", [True, False])
def test_the_store_recovers_from_a_start_on_a_read_only_disk(tmp_path: Path, there: bool) -> None:
    """On a disk that the kernel remounted read-only, reads succeed, and writes succeed once it is writable."""
    path = tmp_path / "canary.db"
    seen = run_on_full_disk(LATE, path, "there" if there else "missing", how="protect")
    unread = f"StoreFailing: the store {path} cannot be read: unable to open database file"
    assert seen.pop("read") == (["old"] if there else unread)
    check_late(seen, path, "cannot be locked: Read-only file system", there=there)


async def test_only_the_write_that_needs_space_fails(store: Store) -> None:
    """A database at its maximum size rejects a write that needs another page, and accepts one that does not."""
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StoreFailing, match="database or disk is full"):
        await store.commit([RowChange("notifications", "large", bytes(1_000_000))], [])
    assert store.is_writable() is False
    await store.commit([RowChange("notifications", "small", b"1")], [])
    assert store.is_writable() is True
    assert (await store.load_rows())["notifications"] == {"small": b"1"}
