"""SIGTERM: the daemon exits within ten seconds even if other parts hang, and no state is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import HANG, SECRET, FakeReceiver, Reply

DRAIN = 10.0
"""Seconds that the daemon may take to exit, as documented."""


class SilentServer:
    """A server that accepts connections, reads and never answers."""

    def __init__(self, server: asyncio.Server) -> None:
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.got_data = asyncio.Event()


@asynccontextmanager
async def silent_server() -> AsyncIterator[SilentServer]:
    """Listen on a loopback port until the block ends."""
    handlers: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            while await reader.read(65536):
                listener.got_data.set()
        except (asyncio.CancelledError, ConnectionError):
            pass  # the test or the daemon has ended
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    listener = SilentServer(server)
    try:
        yield listener
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()


class HangingDaemon(Daemon):
    """A daemon in which something hangs, see the program."""

    launch_arguments = (str(Path(__file__).with_name("program_daemon_hanging.py")),)


async def wait_for_hanging_run(provider: FakeProvider, daemon: Daemon) -> None:
    """Wait until the hanging run is in progress: its request was sent, and it has not ended."""

    async def look() -> bool | None:
        return provider.request_count("sim-stall") > 0 or None

    await poll_until(look, 60, lambda: daemon.stderr)
    assert [] == daemon.log_lines("run finished", canary="hanging")


def config(provider: FakeProvider, hook: FakeReceiver, collector: SilentServer | None) -> dict[str, Any]:
    """Return a configuration with a canary that hangs and one whose failure is notified at once."""
    often = {"target": "sim", "every": "2s", "retry": {"max_attempts": 1}}
    long_timeouts = {"headers": "19s", "first_token": "19s", "stall": "19s", "total": "19s"}
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "hanging": {"target": "sim", "model": "sim-stall", "every": "20s", "timeouts": long_timeouts},
            "failing": {**often, "model": MODEL},
        },
        "alerts": {
            "group_wait": 0,
            "rules": {"Down": {"detector": {"type": "consecutive", "failures": 1, "resolve_after": 1000}}},
            "receivers": {"hook": {"type": "webhook", "url": hook.url, "secret": SECRET, "timeout": "60s"}},
        },
        "telemetry": {"otlp": {"endpoint": collector.url, "interval": "1s"}} if collector else {},
    }


async def test_a_run_in_progress_is_cancelled_and_does_not_count_as_a_failure(tmp_path: Path) -> None:
    """A run that hangs at SIGTERM ends without an outcome: no failed run is stored and no alert fires."""
    async with FakeProvider() as provider, FakeReceiver() as hook:
        async with Daemon(tmp_path, config(provider, hook, None)) as daemon:
            await wait_for_hanging_run(provider, daemon)
            ended = await daemon.terminate()
        assert 0 == ended.code
        assert DRAIN > ended.seconds
        assert [] == daemon.log_lines("run finished", canary="hanging")
        assert [] == daemon.query("SELECT kind FROM runs WHERE canary = 'hanging' OR failed")
        assert [] == daemon.query("SELECT * FROM incidents")
        assert [] == hook.deliveries
        assert [] == daemon.logged_problems


async def test_a_hanging_receiver_does_not_delay_the_exit_and_its_notification_is_kept(tmp_path: Path) -> None:
    """The notification in delivery at SIGTERM is sent at the next start, under the same id."""
    async with FakeProvider("500") as provider, FakeReceiver(HANG) as hook:
        async with Daemon(tmp_path, config(provider, hook, None)) as daemon:
            await hook.wait_for_deliveries(1)
            ended = await daemon.terminate()
            assert 0 == ended.code
            assert DRAIN > ended.seconds
            assert [] == hook.accepted
            await daemon.start()
            first, second = await hook.wait_for_deliveries(2, within=60)
        assert first.id == second.id
        assert first.body == second.body
        assert second.signed_with(SECRET)
        assert [("alert.fired", first.id)] == hook.accepted_notifications()


async def test_a_hanging_collector_does_not_delay_the_exit(tmp_path: Path) -> None:
    """Telemetry that cannot be exported is dropped, and the log says so."""
    async with FakeProvider() as provider, FakeReceiver() as hook, silent_server() as collector:
        async with Daemon(tmp_path, config(provider, hook, collector)) as daemon:
            async with asyncio.timeout(60):
                await collector.got_data.wait()
            ended = await daemon.terminate()
        assert 0 == ended.code
        assert DRAIN > ended.seconds
        assert 1 == len(daemon.log_lines("last telemetry export failed", signal="metrics"))


@pytest.mark.parametrize("signals", [1, 2])
async def test_everything_hanging_at_once_does_not_delay_the_exit(tmp_path: Path, signals: int) -> None:
    """With a hanging run, receiver and collector the daemon exits in time; a second signal ends it at once."""
    async with FakeProvider("500") as provider, FakeReceiver(always=HANG) as hook, silent_server() as collector:
        async with Daemon(tmp_path, config(provider, hook, collector)) as daemon:
            await hook.wait_for_deliveries(1, within=60)
            async with asyncio.timeout(60):
                await collector.got_data.wait()
            await wait_for_hanging_run(provider, daemon)
            if signals == 2:
                daemon.send_sigterm()
                await daemon.wait_for_log("daemon stopping")
            ended = await daemon.terminate()
        assert (0 if signals == 1 else 130) == ended.code
        assert DRAIN > ended.seconds
        assert [] == daemon.query("SELECT kind FROM runs WHERE canary = 'hanging'")
        assert {"failing"} == {line["subject"] for line in daemon.log_lines("alert fired")}


async def test_a_notification_due_during_shutdown_is_still_sent(tmp_path: Path) -> None:
    """A notification that is created while the daemon stops is sent before it exits."""
    async with FakeProvider() as provider, FakeReceiver(always=Reply(204)) as hook:
        async with Daemon(tmp_path, config(provider, hook, None)) as daemon:
            await daemon.wait_for_log("run finished", 1, canary="failing", outcome="ok")
            provider.set_fault("500")
            await daemon.wait_for_log("run finished", 1, canary="failing", outcome="failed")
            assert 0 == (await daemon.terminate()).code
        assert ["alert.fired"] == [delivery.json["type"] for delivery in hook.accepted]


@pytest.mark.parametrize(
    ("hanging", "code", "message"),
    [
        ("threads", 0, "shutdown deadline exceeded"),
        ("loop", 1, "shutdown deadline exceeded"),
        ("component", 1, "component did not stop in time"),
    ],
)
async def test_whatever_hangs_the_process_ends_and_its_runs_are_stored(
    tmp_path: Path, hanging: str, code: int, message: str
) -> None:
    """Blocked threads, a blocked event loop or a part that does not stop delay the exit by less than ten seconds."""
    async with FakeProvider() as provider, FakeReceiver() as hook:
        async with HangingDaemon(tmp_path, config(provider, hook, None), HANGING=hanging) as daemon:
            await daemon.wait_for_log("run finished", 1, canary="failing", outcome="ok")

            async def hangs() -> bool | None:
                return "hangs" in daemon.stderr or None

            await poll_until(hangs, 60, lambda: daemon.stderr)
            ended = await daemon.terminate()
        assert code == ended.code
        assert DRAIN > ended.seconds
        assert message in daemon.stderr
        assert 1 <= len(daemon.query("SELECT kind FROM runs WHERE canary = 'failing'"))
