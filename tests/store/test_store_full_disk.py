import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamcanary.model.row import Row
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.stores import PROGRAM_ENVIRONMENT

FILLER = Path(__file__).with_name("program_full_disk.py")


def run(*command: str) -> dict[str, Any]:
    """Run the filler and return what it saw."""
    done = subprocess.run(command, capture_output=True, text=True, env=PROGRAM_ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def check(seen: dict[str, Any], path: Path) -> None:
    """See that writes failed as they should, that the store said so, and that it recovered by itself."""
    failures = seen.pop("failures")
    assert failures != []
    expected = f"StoreFailing: the store {path} cannot be written: "
    assert [failure for failure in failures if not failure.startswith(expected)] == []
    assert seen == {"writable": False, "kept_while_full": True, "writable_after": True, "kept_after": True}


def test_files_that_may_not_grow_are_a_failing_store_until_they_may(path: Path) -> None:
    """The system call itself fails (EFBIG), as on a full disk; what was there can be read meanwhile."""
    check(run(sys.executable, str(FILLER), str(path), "limit"), path)


def test_a_disk_without_room_is_a_failing_store_until_there_is_room(tmp_path: Path) -> None:
    """The same on a small file system of its own that is really full (ENOSPC), in a private mount namespace."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode != 0:
        pytest.skip("no private mount namespaces here (unshare --user --mount)")
    path = tmp_path / "canary.db"
    script = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" "$3" "$4" fill'
    check(run(*unshare, "sh", "-c", script, "sh", str(tmp_path), sys.executable, str(FILLER), str(path)), path)


async def test_a_statement_without_room_fails_alone(store: Store) -> None:
    """A database at its largest size refuses the write that needs a page more; one that needs none is made."""
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StoreFailing, match="database or disk is full"):
        await store.commit([Row("notices", "large", bytes(1_000_000))], [])
    assert store.writable() is False
    await store.commit([Row("notices", "small", b"1")], [])
    assert store.writable() is True
    assert (await store.load_ledger())["notices"] == {"small": b"1"}
