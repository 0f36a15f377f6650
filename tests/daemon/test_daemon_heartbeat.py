"""The heartbeat of a whole daemon: it stops with each part that stands still, and goes on with it.

The daemon runs by a clock that is sent ahead, so that a quarter of an hour takes no longer than it needs to notice.
"""

import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support.programs.daemon import Daemon
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver, Reply

BUSY = Reply(503)


class ClockJumpDaemon(Daemon):
    """A daemon whose clock can be sent ahead."""

    launch_arguments = (str(Path(__file__).with_name("program_daemon_clock_jump.py")),)

    def jump_clock(self) -> None:
        """Have sixteen minutes passed."""
        os.kill(self.pid, signal.SIGUSR1)


class MonitoredDaemon:
    """A daemon with a heart, and the monitor that it beats to."""

    def __init__(self, daemon: ClockJumpDaemon, monitor: FakeReceiver) -> None:
        self.daemon = daemon
        self.monitor = monitor

    async def stops(self, vital: str) -> dict[str, Any]:
        """Let sixteen minutes pass; return what the log says once it is ``vital`` that the heart stands still for.

        Other parts do so, too, for a moment after such a leap. It has not beaten since it stopped.
        """
        await self.monitor.wait_for_deliveries(
            len(self.monitor.deliveries) + 2
        )  # it has been seen what waits, and since when
        since = len(self.daemon.log_lines("the heartbeat"))
        self.daemon.jump_clock()
        await self.daemon.wait_for_log("the heartbeat is withheld", since + 1)
        beats = len(self.monitor.deliveries)
        line = await self.daemon.wait_for_log(f"the heartbeat is withheld: {vital}: ")
        assert beats == len(self.monitor.deliveries)
        return line

    async def beats(self) -> None:
        """Wait until the heart beats again."""
        await self.daemon.wait_for_log("the heartbeat goes out again")
        await self.monitor.wait_for_deliveries(len(self.monitor.deliveries) + 2)


@contextlib.asynccontextmanager
async def a_patient(
    folder: Path, provider: FakeProvider, receivers: dict[str, Any], **canary: Any
) -> AsyncIterator[MonitoredDaemon]:
    """Run a daemon with one canary, whose heart beats each second, until the block ends; it has beaten twice."""
    often = {"every": "500ms", "timeouts": {"total": "490ms"}}
    rule = {"match": ['canary="chat"'], "detector": {"type": "consecutive", "failures": 2, "resolve_after": 2}}
    config = {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {"chat": {"target": "sim", "model": MODEL, "retry": {"max_attempts": 1}, **often, **canary}},
        "alerts": {
            "group_wait": 0,
            "repeat_interval": "10m",
            "rules": {"NoData": {"enabled": False}, "TargetRejected": {"enabled": False}, "Down": rule},
            "receivers": receivers,
        },
    }
    async with FakeReceiver() as monitor:
        config["heartbeat"] = {"url": f"{monitor.url}/beat", "every": "1s"}
        async with ClockJumpDaemon(folder, config, PYTHONPATH=os.pathsep.join(sys.path)) as daemon:
            await monitor.wait_for_deliveries(2)
            yield MonitoredDaemon(daemon, monitor)


def a_hook(hook: FakeReceiver) -> dict[str, Any]:
    """Write the section of receivers with a webhook."""
    return {"hook": {"type": "webhook", "url": hook.url, "secret": SECRET}}


async def test_the_heart_stops_while_no_run_ends(tmp_path: Path) -> None:
    """The one canary hangs; when the provider hangs up, that is the end of a run."""
    slow = {"every": "120s", "timeouts": {"stall": "90s", "total": "90s"}}
    async with FakeProvider("stall") as provider, a_patient(tmp_path, provider, {}, **slow) as patient:
        await patient.stops("runs")
        provider.close_connections()
        await patient.beats()


async def test_the_heart_stops_while_nothing_is_evaluated(tmp_path: Path) -> None:
    """The store takes no write, and does not say that it fails."""
    async with FakeProvider() as provider, a_patient(tmp_path, provider, {}) as patient:
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            await patient.stops("evaluation")
            store.execute("ROLLBACK")
        await patient.beats()


async def test_the_heart_stops_while_a_receiver_takes_no_notice(tmp_path: Path) -> None:
    """It is asked again and again, until it does."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(always=BUSY) as hook,
        a_patient(tmp_path, provider, a_hook(hook)) as patient,
    ):
        await hook.wait_for_deliveries(1)
        line = await patient.stops("outbox")
        assert line["message"].endswith("(HTTP 503)")
        hook.always = Reply()
        await patient.beats()


async def test_the_heart_stops_while_everybody_refuses_a_page(tmp_path: Path) -> None:
    """The key was revoked, and there is nobody else to tell; until a repetition is taken."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(always=Reply(403)) as hook,
        a_patient(tmp_path, provider, a_hook(hook)) as patient,
    ):
        await hook.wait_for_deliveries(1)
        line = await patient.stops("pages")
        assert "it was refused by hook (HTTP 403" in line["message"]
        hook.always = Reply()
        patient.daemon.jump_clock()
        await patient.beats()


async def test_the_heart_stops_while_an_alertmanager_takes_nothing(tmp_path: Path) -> None:
    """There is an alert to tell it of; until it is back."""
    async with FakeProvider("cut") as provider, FakeReceiver(always=BUSY) as peer:
        prom = {"prom": {"type": "alertmanager", "urls": [peer.url]}}
        async with a_patient(tmp_path, provider, prom) as patient:
            await peer.wait_for_deliveries(1)
            line = await patient.stops("levels")
            assert "prom has taken nothing for 16m" in line["message"]
            peer.always = Reply()
            await patient.beats()


async def test_the_heart_beats_on_after_an_hour_of_sleep(tmp_path: Path) -> None:
    """With a page on its way and one alert told; nobody has to wake it."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(BUSY) as hook,
        a_patient(tmp_path, provider, a_hook(hook)) as patient,
    ):
        await hook.wait_for_deliveries(1)
        for _ in range(4):
            patient.daemon.jump_clock()
        await hook.wait_for_deliveries(2)
        await patient.monitor.wait_for_deliveries(len(patient.monitor.deliveries) + 5)
        assert [] == patient.daemon.log_lines("the heartbeat is withheld: outbox: ")
