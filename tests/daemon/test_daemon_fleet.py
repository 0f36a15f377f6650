"""A real daemon that is a member of a fleet: its liveness file, its port, and a reload to another number of members."""

import asyncio
import json
import os
import signal
import socket
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from support.programs.daemon import Daemon
from support.programs.listening_ports import listening_ports
from support.programs.program import poll_until
from support.servers.provider import FakeProvider


def config(provider: FakeProvider, **sections: Any) -> dict[str, Any]:
    """Build the configuration of a member; its interval is that of the fleet, 0.5 s, times two."""
    return {
        "fleet": {"replicas": 2, "member": "pod-a"},
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none"}},
        "canaries": {"chat": {"target": "sim", "model": "sim-ok", "every": "500ms", "retry": {"max_attempts": 1}}},
        "store": {"path": "store.db"},
        "web": {"port": 0, "liveness_file": "alive"},
        **sections,
    }


async def until_changed_after(path: Path, moment: float) -> None:
    """Wait until ``path`` exists and was changed after ``moment``, in seconds since the epoch."""

    async def changed() -> bool | None:
        return (path.exists() and path.stat().st_mtime > moment) or None

    await poll_until(changed, 30, lambda: f"{path} is not renewed")


async def alive(folder: Path) -> tuple[int, str]:
    """Run the command of a liveness probe; return its exit code and output."""
    command = (sys.executable, "-I", "-m", "streamcanary.liveness", str(folder / "alive"))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode().strip()


async def test_a_member_runs_as_often_as_its_part_of_the_fleet(tmp_path: Path) -> None:
    """With two members, each runs every other time; after a reload to four, every fourth time, without a restart."""
    async with FakeProvider("ok") as provider:
        async with Daemon(tmp_path, config(provider)) as daemon:
            await daemon.wait_for_log("run finished", 3)
            daemon.config.write_text(json.dumps(config(provider, fleet={"replicas": 4, "member": "pod-a"})))
            os.kill(daemon.pid, signal.SIGHUP)
            reloaded = await daemon.wait_for_log("configuration reloaded")
            assert ["fleet.replicas changed", "canaries.chat changed"] == reloaded["changes"]
            before = len(daemon.log_lines("run finished"))
            await daemon.wait_for_log("run finished", before + 3)
            await daemon.terminate()
        rows = daemon.query("SELECT json_extract(outcome, '$.scheduled') FROM runs ORDER BY 1")
        due = [row[0] for row in rows]
        gaps = [round(later - earlier, 3) for earlier, later in pairwise(due)]
        assert ([1.0, 1.0], [2.0, 2.0]) == (gaps[:2], gaps[-2:])


async def test_the_liveness_command_follows_the_daemon(tmp_path: Path) -> None:
    """The command exits with 0 while the daemon runs, and with 1 when it hangs and when it has stopped."""
    async with FakeProvider("ok") as provider, Daemon(tmp_path, config(provider)) as daemon:
        assert 1 == len(listening_ports(daemon.pid))
        await until_changed_after(tmp_path / "alive", 0.0)
        assert (0, "alive") == await alive(tmp_path)
        os.kill(daemon.pid, signal.SIGSTOP)
        os.utime(tmp_path / "alive", (1.0, 1.0))  # as if it had been stopped for long
        code, said = await alive(tmp_path)
        assert (1, True) == (code, said.startswith(f"not alive: {tmp_path / 'alive'} was renewed "))
        os.kill(daemon.pid, signal.SIGCONT)
        await until_changed_after(tmp_path / "alive", 1.0)
        assert (0, "alive") == await alive(tmp_path)
        assert 0 == (await daemon.terminate()).code
        assert (1, f"not alive: {tmp_path / 'alive'}: No such file or directory") == await alive(tmp_path)


async def test_a_member_without_a_web_server_takes_no_port(tmp_path: Path) -> None:
    """It starts before the application, listens nowhere, runs its canaries, and is alive."""
    async with FakeProvider("ok") as provider:
        daemon = Daemon(tmp_path, config(provider, web={"enabled": False, "liveness_file": "alive"}))
        try:
            await daemon.start()
            await daemon.wait_for_log("run finished", 2)
            assert set() == listening_ports(daemon.pid)
            await until_changed_after(tmp_path / "alive", 0.0)
            assert (0, "alive") == await alive(tmp_path)
            assert 0 == (await daemon.terminate()).code
            assert [] == daemon.log_lines("web server")
        finally:
            await daemon.kill()


async def test_a_port_of_the_application_costs_the_status_page_only(tmp_path: Path) -> None:
    """With its port taken, a member runs its canaries and is alive; it leaves the port alone when that becomes free."""
    async with FakeProvider("ok") as provider:
        with socket.create_server(("127.0.0.1", 0)) as application:
            port = application.getsockname()[1]
            daemon = Daemon(tmp_path, config(provider, web={"port": port, "liveness_file": "alive"}))
            try:
                await daemon.start()
                failed = await daemon.wait_for_log("web server start failed")
                assert set() == listening_ports(daemon.pid)
                assert (port, True) == (failed["port"], "it is not tried again" in failed["hint"])
                await daemon.wait_for_log("run finished", 2)
                assert (0, "alive") == await alive(tmp_path)
                application.close()
                await daemon.wait_for_log("run finished", 5)
                socket.create_server(("127.0.0.1", port)).close()
                assert 0 == (await daemon.terminate()).code
            finally:
                await daemon.kill()
