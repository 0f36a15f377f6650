"""Alerting with a real store whose disk is full, or whose file is deleted, during an outage."""

from pathlib import Path
from typing import Any

import pytest

from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.store.database import Store
from support.alerting.builders import bad
from support.alerting.service import OUTAGE, RECOVERY, enqueue_outcomes, running_service, wait_until, webhooks_config
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver
from support.store.full_disk import run_on_full_disk, run_with_file_size_limit

PROGRAM = Path(__file__).with_name("program_service_full_disk.py")
FIRED, RESOLVED = "alert.fired", "alert.resolved"


def check(observed: dict[str, Any]) -> None:
    """Assert that notifications were sent from memory, and that all state is stored once the disk has free space."""
    full, repaired, recovered = observed["full"], observed["repaired"], observed["recovered"]
    assert (full["writable"], full["open"], full["notifications"], full["runs"]) == (False, [], [], [])
    trigger, failing = sorted(full["received"])
    assert (trigger[:2], failing[:2]) == (["Errors", FIRED], ["StoreFailing", FIRED])

    assert repaired["received"][2:] == [["StoreFailing", RESOLVED, repaired["received"][2][2]]]
    assert (repaired["writable"], repaired["open"], repaired["notifications"]) == (True, ["Errors"], [trigger[2]])
    assert repaired["runs"] == ["run-0", "run-1", "run-2", "run-3"]

    assert recovered["received"][3:] == [["Errors", RESOLVED, recovered["received"][3][2]]]
    assert (recovered["writable"], recovered["open"], recovered["notifications"]) == (True, [], [])
    assert len({id for _, _, id in recovered["received"]}) == 4  # noqa: A001 - the name of the field


def test_alert_fires_while_files_cannot_grow(tmp_path: Path) -> None:
    """An alert fires while writes fail with EFBIG, which behaves like a full disk."""
    check(run_with_file_size_limit(PROGRAM, tmp_path / "canary.db"))


def test_alert_fires_while_the_disk_is_full(tmp_path: Path) -> None:
    """An alert fires while a small file system is full (ENOSPC)."""
    path = tmp_path / "canary.db"
    check(run_on_full_disk(PROGRAM, path))


@pytest.mark.parametrize("missing", ["", "-wal"])
async def test_store_deleted_during_an_alert_is_written_again(store: Store, missing: str) -> None:
    """The state in memory is written into a new store; the trigger is not repeated, and one resolve follows."""
    clock = ManualClock()
    files = (
        Path(store.location).parent.glob(f"{Path(store.location).name}*")
        if not missing
        else [Path(f"{store.location}{missing}")]
    )
    async with FakeReceiver() as hook:
        async with running_service(store, webhooks_config(hook=hook), clock) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            await alerting.drain(5)
            (incident,) = alerting.open_incidents
            previous = alerting.state
            for file in files:
                file.unlink()
            enqueue_outcomes(alerting, [bad(3)])
            await hook.wait_for_deliveries(2)
            clock.advance(5)
            alerting.wake()
            await hook.wait_for_deliveries(3)
            await alerting.drain(5)
            assert alerting.open_incidents == (incident,)
            new, unread = read_state(await store.load_rows())
            assert (new.rows(), unread) == (alerting.state.rows(), [])
            assert [new.notifications[id] for id in previous.notifications] == list(previous.notifications.values())  # noqa: A001 - as the field
            assert Path(store.location).exists()
        async with running_service(store, webhooks_config(hook=hook), clock) as alerting:
            await wait_until(lambda: alerting.open_incidents)
            enqueue_outcomes(alerting, RECOVERY)
            await hook.wait_for_deliveries(4)
            await alerting.drain(5)
            assert alerting.open_incidents == ()
    assert [(delivery.json["labels"]["alert"], delivery.json["type"]) for delivery in hook.deliveries] == [
        ("Errors", FIRED),
        ("StoreFailing", FIRED),
        ("StoreFailing", RESOLVED),
        ("Errors", RESOLVED),
    ]
    assert (await store.load_rows())["notifications"] == {}
