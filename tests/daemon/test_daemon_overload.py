"""A daemon that is too slow for its canaries skips a part of their runs, says so, and blames no provider.

Its event loop has a neighbour that blocks it most of the time. Times of load shedding are short, for the test.
"""

import os
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcanary.model.outcome import Outcome
from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver

CANARIES = [f"canary-{number}" for number in range(12)]


class OverloadedDaemon(Daemon):
    """A daemon whose event loop is busy between two signals."""

    launch_arguments = (str(Path(__file__).with_name("program_daemon_overloaded.py")),)


def config_of(provider: FakeProvider, hook: FakeReceiver) -> dict[str, Any]:
    detector = {"type": "consecutive", "failures": 1}
    canary = {"target": "sim", "model": MODEL, "every": "1s", "timeouts": {"total": "900ms"}}
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none"}},
        "canaries": dict.fromkeys(CANARIES, canary),
        "alerts": {
            "group_wait": 0,
            "group_interval": "1s",
            "rules": {
                "Errors": {"measure": "errors", "detector": detector},
                "Slow": {"measure": "first_token", "limit": "800ms", "detector": detector},
            },
            "receivers": {"hook": {"type": "webhook", "url": hook.url, "secret": SECRET}},
        },
    }


def recorded_runs(folder: Path) -> list[Outcome]:
    """Return the runs in the store, in the order of their ends."""
    with closing(sqlite3.connect(f"file:{folder / 'store.db'}?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT outcome FROM runs ORDER BY id").fetchall()
    return [msgspec.json.decode(text, type=Outcome) for (text,) in rows]


async def all_have_skipped(folder: Path) -> bool | None:
    """Return true once each canary has skipped a run; ``None`` before."""
    skipped = {run.canary for run in recorded_runs(folder) if run.reason == "behind_schedule"}
    return skipped == set(CANARIES) or None


@pytest.mark.timeout(120)
async def test_an_overloaded_daemon_skips_runs_and_says_so(tmp_path: Path) -> None:
    """It skips runs of all canaries alike, fails none, notifies of it, and makes all runs once it can again."""
    async with (
        FakeProvider() as provider,
        FakeReceiver() as hook,
        OverloadedDaemon(tmp_path, config_of(provider, hook), PYTHONPATH=os.pathsep.join(sys.path)) as daemon,
    ):
        os.kill(daemon.pid, signal.SIGUSR1)
        line = await daemon.wait_for_log("behind schedule")
        assert True is (line["share"] > 0 and line["missed_runs"] >= 1)
        await hook.wait_for_deliveries(1, within=40)
        await poll_until(lambda: all_have_skipped(tmp_path), 30.0, lambda: "not all canaries have skipped a run")
        os.kill(daemon.pid, signal.SIGUSR2)
        await daemon.wait_for_log("on schedule again")
        await hook.wait_for_deliveries(2, within=40)
        async with loopback_client() as http:
            port = (await daemon.wait_for_log("web server started"))["port"]
            metrics = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        await daemon.terminate()
    notified = [(each.json["type"], [alert["alert"] for alert in each.json["alerts"]]) for each in hook.deliveries]
    assert [("alert.fired", ["BehindSchedule"]), ("alert.resolved", ["BehindSchedule"])] == notified
    assert 1 == len(daemon.log_lines("behind schedule"))
    assert [] == daemon.log_lines("run finished", reason="behind_schedule")
    runs = recorded_runs(tmp_path)
    kinds = Counter(run.kind.value for run in runs)
    assert {"failed", "failed_over", "slow"}.isdisjoint(kinds), kinds
    shed = Counter(run.canary for run in runs if (run.reason or "").startswith("behind_schedule"))
    assert set(CANARIES) == set(shed)
    last = max(index for index, run in enumerate(runs) if run.reason == "behind_schedule")
    assert set(CANARIES) == {run.canary for run in runs[:last] if run.kind.value != "skipped"}
    assert "streamcanary_schedule_shed 0" in metrics or "streamcanary_schedule_shed_ratio 0" in metrics
