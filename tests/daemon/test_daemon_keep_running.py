"""A real daemon with ``--keep-running``: what would end it at the start does not end its process."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamcanary.liveness import liveness_problem
from support.programs.daemon import Daemon, write_config
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider


class PersistentDaemon(Daemon):
    """A daemon that tries again."""

    run_arguments = ("--keep-running",)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds while the process runs."""

        async def check() -> bool | None:
            assert self._running.returncode is None, self.stderr
            return condition() or None

        await poll_until(check, 60, lambda: self.stderr)


def config(provider: FakeProvider, **target: Any) -> dict[str, Any]:
    """Build a configuration with one canary."""
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", **target}},
        "canaries": {"chat": {"target": "sim", "model": MODEL, "every": "1s"}},
    }


async def test_an_invalid_configuration_is_waited_for(tmp_path: Path) -> None:
    """The reason is on stderr, the process is alive for a probe, and starts once the file is valid."""
    alive = tmp_path / "alive"
    async with FakeProvider() as provider:
        daemon = PersistentDaemon(tmp_path, "canaries: {}", STREAMCANARY_WEB__LIVENESS_FILE=str(alive))
        try:
            await daemon.start()
            await daemon.wait_for(lambda: "not running; trying again when" in daemon.stderr)
            assert "canaries: needs at least one canary" in daemon.stderr
            await daemon.wait_for(alive.exists)
            assert None is liveness_problem(str(alive), 60.0, alive.stat().st_mtime + 5)
            pid = daemon.pid
            write_config(tmp_path, config(provider))
            await daemon.wait_for(lambda: '"run finished"' in daemon.stderr)
            assert (pid, None) == (daemon.pid, daemon._running.returncode)
            assert 0 == (await daemon.terminate()).code
        finally:
            await daemon.kill()


async def test_a_secret_that_is_missing_is_waited_for(tmp_path: Path) -> None:
    """The process stays, with its liveness file, if a file that the configuration names does not exist yet."""
    alive = tmp_path / "alive"
    async with FakeProvider() as provider:
        target = {"api_key": None, "api_key_file": str(tmp_path / "key")}
        daemon = PersistentDaemon(tmp_path, config(provider, **target), STREAMCANARY_WEB__LIVENESS_FILE=str(alive))
        try:
            await daemon.start()
            await daemon.wait_for(lambda: "not running; trying again when" in daemon.stderr)
            assert f"{tmp_path / 'key'}" in daemon.stderr
            await daemon.wait_for(alive.exists)
        finally:
            await daemon.kill()


async def test_a_daemon_that_waits_can_be_stopped(tmp_path: Path) -> None:
    """SIGTERM ends it at once, with code 0."""
    daemon = PersistentDaemon(tmp_path, "canaries: {}")
    try:
        await daemon.start()
        await daemon.wait_for(lambda: "not running; trying again when" in daemon.stderr)
        assert 0 == (await daemon.terminate()).code
    finally:
        await daemon.kill()


async def test_a_signal_during_the_restart_is_not_lost(tmp_path: Path) -> None:
    """SIGTERM that comes while the program replaces itself ends it as soon as it handles signals."""
    path = tmp_path / "streamcanary.yaml"
    path.write_text("canaries: {}")
    program = f"""
import os, signal
from streamcanary.cli import main
from streamcanary.reload import config_file

def restart(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    print("restarting", flush=True)
    execv(*arguments)

print("started", flush=True)
os.execv, execv, config_file.RETRY_INTERVAL = restart, os.execv, 0.0
main.main(["run", "-c", {str(path)!r}, "--keep-running"])
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            stdout, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (0, ["started", "restarting", "started"]) == (process.returncode, stdout.decode().split())


async def test_a_store_that_is_in_use_is_waited_for(tmp_path: Path) -> None:
    """The process stays, with the liveness file of its configuration, while another daemon has the store."""
    alive = tmp_path / "alive"
    async with FakeProvider() as provider:
        settings = config(provider) | {"web": {"port": 0, "liveness_file": str(alive)}}
        async with Daemon(tmp_path, settings) as first:
            daemon = PersistentDaemon(tmp_path / "second", settings | {"store": {"path": str(tmp_path / "store.db")}})
            try:
                await daemon.start()
                await daemon.wait_for(lambda: "not running; trying again when" in daemon.stderr)
                await first.kill()
                alive.unlink(missing_ok=True)
                await daemon.wait_for(alive.exists)
            finally:
                await daemon.kill()
