"""The daemon on a disk that is really full: it starts, it pages, and what it has told from memory is called off."""

from pathlib import Path
from typing import Any

import pytest

from support.store.full_disk import run_on_full_disk

PROGRAM = Path(__file__).with_name("program_daemon_full_disk.py")


def play(folder: Path, story: str) -> dict[str, Any]:
    """Take the daemon through ``story``, with the store on a small file system of its own."""
    path = folder / "disk" / "store.db"
    path.parent.mkdir()
    return run_on_full_disk(PROGRAM, path, story, size="4m")


@pytest.mark.timeout(120)
def test_the_first_start_is_on_a_full_disk(tmp_path: Path) -> None:
    """It pages from memory, says that it is not ready and why, and with room again remembers all of it."""
    seen = play(tmp_path, "first_start")
    status, answer = seen["readyz"]
    reason = f"{tmp_path}/disk/store.db does not take a write"
    assert (503, {"config": "ok", "scheduler": "ok", "store": reason}) == (status, answer["checks"])
    assert [
        ["alert.fired", "StoreFailing"],
        ["alert.fired", "Down"],
        ["alert.resolved", "StoreFailing"],
        ["alert.resolved", "Down"],
    ] == seen["told"]
    assert 2 == seen["keys"]


@pytest.mark.timeout(120)
def test_a_daemon_that_is_killed_while_the_disk_is_full_comes_back_and_pages(tmp_path: Path) -> None:
    """And ends what it told of before, as soon as it can read of it."""
    seen = play(tmp_path, "killed_while_full")
    assert [["alert.fired", "Down"], ["alert.fired", "StoreFailing"]] == seen["told"][:2]
    assert [["alert.resolved", "Down"], ["alert.resolved", "StoreFailing"]] == sorted(seen["told"][-2:])
    assert 2 == seen["keys"]


@pytest.mark.timeout(120)
def test_a_page_that_went_out_from_memory_alone_is_called_off_after_a_restart(tmp_path: Path) -> None:
    """The daemon was killed before there was room, and its store has never heard of the page; once is enough."""
    seen = play(tmp_path, "forgotten")
    assert [["alert.fired", "StoreFailing"], ["alert.fired", "Down"]] == seen["told"][:2]
    possible = ["BudgetExhausted", "CanaryEgressDown", "Down", "StoreFailing"]
    assert [["alert.resolved", alert] for alert in possible] == sorted(seen["told"][2:])
    assert (4, []) == (seen["keys"], seen["told_after_a_restart"])
