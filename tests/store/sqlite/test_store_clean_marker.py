"""The clean marker, which shows the next process whether the store is complete."""

from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.spend import Spend
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from support.store.builders import open_store

ROWS = [RowChange("notifications", "a", b"1")]


def marker(path: Path) -> Path:
    """Return the path of the clean marker of the store at ``path``."""
    return path.with_name(f"{path.name}.saved")


async def fail_a_commit(store: Store) -> None:
    """Make a commit fail as on a full disk."""
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StoreFailing, match="disk is full"):
        await store.commit([RowChange("notifications", "large", bytes(1_000_000))], [])


async def test_a_complete_store_has_a_clean_marker(path: Path) -> None:
    """The marker states from the first commit on that the store is complete, to programs and people."""
    store = open_store(path)
    assert not marker(path).exists()
    await store.commit(ROWS, [])
    assert marker(path).read_text().startswith("The store beside this file is complete.")
    assert store.may_be_incomplete is False
    await store.close()
    again = open_store(path)
    assert again.may_be_incomplete is False
    await again.close()


async def test_the_next_process_sees_an_unclean_marker_until_it_commits(path: Path) -> None:
    """A failed commit empties the marker before it is reported, so that a later kill loses no information."""
    store = open_store(path)
    await store.commit(ROWS, [])
    await fail_a_commit(store)
    assert marker(path).read_bytes() == b""
    assert store.may_be_incomplete is False  # this process has it all in memory
    await store.close()
    for _ in range(2):
        again = open_store(path)
        assert again.may_be_incomplete is True
        await again.save_spend({"2026-02-02": Spend(requests=1)})  # not a commit of alerting
        assert again.may_be_incomplete is True
        await again.close()
    last = open_store(path)
    await last.commit(ROWS, [])
    assert (last.may_be_incomplete, marker(path).read_bytes() != b"") == (False, True)
    await last.close()


async def test_a_successful_commit_restores_the_clean_marker(store: Store, path: Path) -> None:
    """A successful commit contains all earlier changes of alerting, so the store is complete again."""
    await fail_a_commit(store)
    await store.commit(ROWS, [])
    assert marker(path).read_bytes() != b""


async def test_a_clean_marker_that_cannot_be_written_fails_no_commit(store: Store, path: Path) -> None:
    """Commits succeed without the marker."""
    marker(path).mkdir()
    await store.commit(ROWS, [])
    await fail_a_commit(store)
    await store.commit(ROWS, [])
    assert (await store.load_rows())["notifications"] == {"a": b"1"}


async def test_the_clean_marker_of_another_daemon_is_not_changed(store: Store, path: Path, tmp_path: Path) -> None:
    """A daemon that lost the lock does not write to the marker of the new holder."""
    await store.commit(ROWS, [])
    Path(f"{path}.lock").unlink()
    other = open_store(path)
    with pytest.raises(StoreFailing, match="in use by another"):
        await store.commit(ROWS, [])
    assert marker(path).read_bytes() != b""
    await other.close()


async def test_each_caller_with_state_in_memory_gets_store_lost_once(store: Store, path: Path) -> None:
    """Each caller gets StoreLost once, even if another write (here a probe for ``/readyz``) met the loss first."""
    spend = {"2026-02-02": Spend(requests=1)}
    await store.commit(ROWS, [])
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    assert (await store.probe(), await store.probe()) == (False, True)
    for write in (lambda: store.commit(ROWS, []), lambda: store.save_spend(spend)):
        with pytest.raises(StoreLost, match="was lost; the one that is there now is used instead"):
            await write()
        await write()
    assert (await store.load_rows())["notifications"] == {"a": b"1"}
