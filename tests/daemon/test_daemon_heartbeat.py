"""The heartbeat of the daemon stops while a part makes no progress, and resumes afterwards.

The clock of the daemon can jump ahead, so that the test does not wait for a quarter of an hour.
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
    """A daemon whose clock can jump ahead."""

    launch_arguments = (str(Path(__file__).with_name("program_daemon_clock_jump.py")),)

    def jump_clock(self) -> None:
        """Move the clock sixteen minutes ahead."""
        os.kill(self.pid, signal.SIGUSR1)


class MonitoredDaemon:
    """A daemon with a heartbeat, and the monitor that receives it."""

    def __init__(self, daemon: ClockJumpDaemon, monitor: FakeReceiver) -> None:
        self.daemon = daemon
        self.monitor = monitor

    async def wait_until_withheld(self, check: str) -> dict[str, Any]:
        """Move the clock ahead; return the log line once the heartbeat is withheld because of ``check``.

        After a jump other checks can fail for a moment too. No heartbeat is sent while it is withheld.
        """
        await self.monitor.wait_for_deliveries(
            len(self.monitor.deliveries) + 2
        )  # the checks have seen what is pending, and since when
        since = len(self.daemon.log_lines("heartbeat withheld"))
        self.daemon.jump_clock()
        await self.daemon.wait_for_log("heartbeat withheld", since + 1)
        beats = len(self.monitor.deliveries)
        line = await self.daemon.wait_for_log("heartbeat withheld", checks=check)
        assert beats == len(self.monitor.deliveries)
        return line

    async def wait_until_resumed(self) -> None:
        """Wait until the heartbeat is sent again."""
        await self.daemon.wait_for_log("heartbeat restored")
        await self.monitor.wait_for_deliveries(len(self.monitor.deliveries) + 2)


@contextlib.asynccontextmanager
async def monitored_daemon(
    folder: Path, provider: FakeProvider, receivers: dict[str, Any], **canary: Any
) -> AsyncIterator[MonitoredDaemon]:
    """Run a daemon with one canary and a heartbeat each second until the block ends; two were received."""
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


def webhook_section(hook: FakeReceiver) -> dict[str, Any]:
    """Return a `receivers` section with a webhook."""
    return {"hook": {"type": "webhook", "url": hook.url, "secret": SECRET}}


async def test_the_heartbeat_stops_while_no_run_ends(tmp_path: Path) -> None:
    """The only canary hangs; the run ends when the provider closes the connection."""
    slow = {"every": "120s", "timeouts": {"stall": "90s", "total": "90s"}}
    async with FakeProvider("stall") as provider, monitored_daemon(tmp_path, provider, {}, **slow) as monitored:
        await monitored.wait_until_withheld("runs")
        provider.close_connections()
        await monitored.wait_until_resumed()


async def test_the_heartbeat_stops_while_nothing_is_evaluated(tmp_path: Path) -> None:
    """The store accepts no write and reports no error."""
    async with FakeProvider() as provider, monitored_daemon(tmp_path, provider, {}) as monitored:
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            await monitored.wait_until_withheld("evaluation")
            store.execute("ROLLBACK")
        await monitored.wait_until_resumed()


async def test_the_heartbeat_stops_while_a_receiver_accepts_no_notification(tmp_path: Path) -> None:
    """Delivery is retried until the receiver accepts."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(always=BUSY) as hook,
        monitored_daemon(tmp_path, provider, webhook_section(hook)) as monitored,
    ):
        await hook.wait_for_deliveries(1)
        line = await monitored.wait_until_withheld("outbox")
        assert line["error"].endswith("(HTTP 503)")
        hook.always = Reply()
        await monitored.wait_until_resumed()


async def test_the_heartbeat_stops_while_every_receiver_refuses(tmp_path: Path) -> None:
    """The only receiver refuses, until it accepts a repeated notification."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(always=Reply(403)) as hook,
        monitored_daemon(tmp_path, provider, webhook_section(hook)) as monitored,
    ):
        await hook.wait_for_deliveries(1)
        line = await monitored.wait_until_withheld("pages")
        assert "refused by hook (HTTP 403" in line["error"]
        hook.always = Reply()
        monitored.daemon.jump_clock()
        await monitored.wait_until_resumed()


async def test_the_heartbeat_stops_while_alertmanager_accepts_nothing(tmp_path: Path) -> None:
    """An alert is active, and Alertmanager is unavailable until it returns."""
    async with FakeProvider("cut") as provider, FakeReceiver(always=BUSY) as peer:
        prom = {"prom": {"type": "alertmanager", "urls": [peer.url]}}
        async with monitored_daemon(tmp_path, provider, prom) as monitored:
            await peer.wait_for_deliveries(1)
            line = await monitored.wait_until_withheld("levels")
            assert "no address of receiver prom has accepted alerts for 16m" in line["error"]
            peer.always = Reply()
            await monitored.wait_until_resumed()


async def test_the_heartbeat_continues_after_an_hour_of_sleep(tmp_path: Path) -> None:
    """A notification is pending and one alert was notified; the heartbeat resumes by itself."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(BUSY) as hook,
        monitored_daemon(tmp_path, provider, webhook_section(hook)) as monitored,
    ):
        await hook.wait_for_deliveries(1)
        for _ in range(4):
            monitored.daemon.jump_clock()
        await hook.wait_for_deliveries(2)
        await monitored.monitor.wait_for_deliveries(len(monitored.monitor.deliveries) + 5)
        withheld = monitored.daemon.log_lines("heartbeat withheld")
        assert [] == [line for line in withheld if line["checks"].startswith("outbox")]
