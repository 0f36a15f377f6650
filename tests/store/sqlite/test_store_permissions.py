"""Permissions of the files of the store."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcanary.store.sqlite.clean_marker import CleanMarker
from support.store.builders import FrozenClock, open_store


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test with each of three file mode creation masks."""
    former = os.umask(request.param)
    yield
    os.umask(former)


def modes(folder: Path) -> dict[str, str]:
    """Return the permissions of each file in ``folder``, in octal."""
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}


@pytest.mark.usefixtures("umask")
async def test_files_of_a_new_store_are_private(tmp_path: Path) -> None:
    """Database, log, index, lock and clean marker can be read by their owner only, with any umask."""
    store = open_store(tmp_path / "store.db", FrozenClock())
    CleanMarker(tmp_path / "store.db").mark_clean()
    suffixes = ("", "-wal", "-shm", ".lock", ".saved")
    assert {f"store.db{suffix}": "0o600" for suffix in suffixes} == modes(tmp_path)
    await store.close()


async def test_files_of_an_existing_store_become_private(tmp_path: Path) -> None:
    """Files that anyone can read are restricted when the store is opened, those of a corrupt store too."""
    await open_store(tmp_path / "store.db", FrozenClock()).close()
    for name in ("store.db.corrupt-20260101T000000Z", "store.db.corrupt-20260101T000000Z-wal"):
        (tmp_path / name).write_bytes(b"x")
    for path in tmp_path.iterdir():
        path.chmod(0o664)
    other = tmp_path / "other.db"
    other.touch(0o644)
    store = open_store(tmp_path / "store.db", FrozenClock())
    assert {"0o600"} == {mode for name, mode in modes(tmp_path).items() if name != other.name}
    await store.close()
    assert 0o644 == stat.S_IMODE(other.stat().st_mode)


async def test_a_corrupt_store_that_is_set_aside_is_private(tmp_path: Path) -> None:
    """The renamed files of a corrupt store, and the new store, can be read by their owner only."""
    (tmp_path / "store.db").write_bytes(b"not a database, but long enough to be one" * 100)
    (tmp_path / "store.db").chmod(0o666)
    await open_store(tmp_path / "store.db", FrozenClock()).close()
    assert any(".corrupt-" in name for name in modes(tmp_path))
    assert {"0o600"} == set(modes(tmp_path).values())
