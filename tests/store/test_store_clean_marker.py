"""The note that tells the next process whether the store has everything."""

from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.spend import Spend
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from support.store.builders import open_store

ROWS = [RowChange("notifications", "a", b"1")]


def note(path: Path) -> Path:
    """Return the note of the store at ``path``."""
    return path.with_name(f"{path.name}.saved")


async def let_it_fail(store: Store) -> None:
    """Have a commit fail as on a full disk."""
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StoreFailing, match="disk is full"):
        await store.commit([RowChange("notifications", "large", bytes(1_000_000))], [])


async def test_a_store_that_has_everything_says_so(path: Path) -> None:
    """From the first commit on, to whoever opens it next, and to a person who looks."""
    store = open_store(path)
    assert not note(path).exists()
    await store.commit(ROWS, [])
    assert note(path).read_text().startswith("The store beside this file is complete.")
    assert store.may_be_incomplete is False
    await store.close()
    again = open_store(path)
    assert again.may_be_incomplete is False
    await again.close()


async def test_what_could_not_be_saved_is_known_to_the_next_process_until_it_commits(path: Path) -> None:
    """It was known before the failure was told, so that a kill at any moment after that changes nothing."""
    store = open_store(path)
    await store.commit(ROWS, [])
    await let_it_fail(store)
    assert note(path).read_bytes() == b""
    assert store.may_be_incomplete is False  # this process has it all in memory
    await store.close()
    for _ in range(2):
        again = open_store(path)
        assert again.may_be_incomplete is True
        await again.save_spend({"2026-02-02": Spend(requests=1)})  # somebody else's
        assert again.may_be_incomplete is True
        await again.close()
    last = open_store(path)
    await last.commit(ROWS, [])
    assert (last.may_be_incomplete, note(path).read_bytes() != b"") == (False, True)
    await last.close()


async def test_a_commit_that_succeeds_takes_it_back(store: Store, path: Path) -> None:
    """Alerting commits all that it has not committed yet."""
    await let_it_fail(store)
    await store.commit(ROWS, [])
    assert note(path).read_bytes() != b""


async def test_a_note_that_cannot_be_written_costs_no_commit(store: Store, path: Path) -> None:
    """It then promises nothing."""
    note(path).mkdir()
    await store.commit(ROWS, [])
    await let_it_fail(store)
    await store.commit(ROWS, [])
    assert (await store.load_rows())["notifications"] == {"a": b"1"}


async def test_a_store_that_another_daemon_has_is_not_spoken_for(store: Store, path: Path, tmp_path: Path) -> None:
    """The note is the other's, too."""
    await store.commit(ROWS, [])
    Path(f"{path}.lock").unlink()
    other = open_store(path)
    with pytest.raises(StoreFailing, match="in use by another"):
        await store.commit(ROWS, [])
    assert note(path).read_bytes() != b""
    await other.close()


async def test_each_who_has_state_in_memory_hears_of_a_loss_once(store: Store, path: Path) -> None:
    """Whoever else wrote first: here it is a probe for ``/readyz``."""
    spend = {"2026-02-02": Spend(requests=1)}
    await store.commit(ROWS, [])
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    assert (await store.probe(), await store.probe()) == (False, True)
    for write in (lambda: store.commit(ROWS, []), lambda: store.save_spend(spend)):
        with pytest.raises(StoreLost, match="was lost; the file that is there now is used instead"):
            await write()
        await write()
    assert (await store.load_rows())["notifications"] == {"a": b"1"}
