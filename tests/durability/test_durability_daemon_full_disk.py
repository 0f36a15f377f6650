"""The daemon on a disk that is really full: it starts, notifies from memory, and resolves those notifications."""

from pathlib import Path
from typing import Any

import pytest

from support.store.full_disk import run_on_full_disk

PROGRAM = Path(__file__).with_name("program_daemon_full_disk.py")


def run_scenario(folder: Path, scenario: str) -> dict[str, Any]:
    """Run ``scenario`` with the store on a small file system of its own."""
    path = folder / "disk" / "store.db"
    path.parent.mkdir()
    return run_on_full_disk(PROGRAM, path, scenario, size="4m")


@pytest.mark.timeout(120)
def test_the_first_start_is_on_a_full_disk(tmp_path: Path) -> None:
    """The daemon notifies from memory and is not ready; once there is space, everything is stored."""
    seen = run_scenario(tmp_path, "first_start")
    status, answer = seen["readyz"]
    reason = f"{tmp_path}/disk/store.db is not writable"
    assert (503, {"config": "ok", "scheduler": "ok", "store": reason}) == (status, answer["checks"])
    assert [
        ["alert.fired", "StoreFailing"],
        ["alert.fired", "Down"],
        ["alert.resolved", "StoreFailing"],
        ["alert.resolved", "Down"],
    ] == seen["told"]
    assert 2 == seen["keys"]


@pytest.mark.timeout(120)
def test_a_daemon_killed_while_the_disk_is_full_starts_again_and_notifies(tmp_path: Path) -> None:
    """Earlier notifications are resolved as soon as the store can be read."""
    seen = run_scenario(tmp_path, "killed_while_full")
    assert [["alert.fired", "Down"], ["alert.fired", "StoreFailing"]] == seen["told"][:2]
    assert [["alert.resolved", "Down"], ["alert.resolved", "StoreFailing"]] == sorted(seen["told"][-2:])
    assert 2 == seen["keys"]


@pytest.mark.timeout(120)
def test_a_notification_sent_from_memory_only_is_resolved_after_a_restart(tmp_path: Path) -> None:
    """The daemon was killed before the notification was stored; it is resolved exactly once."""
    seen = run_scenario(tmp_path, "notified_from_memory_only")
    assert [["alert.fired", "StoreFailing"], ["alert.fired", "Down"]] == seen["told"][:2]
    possible = ["BudgetExhausted", "CanaryEgressDown", "Down", "ReloadFailed", "StoreFailing"]
    assert [["alert.resolved", alert] for alert in possible] == sorted(seen["told"][2:])
    assert (5, []) == (seen["keys"], seen["told_after_a_restart"])
