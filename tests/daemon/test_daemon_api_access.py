"""A real daemon: SIGHUP, commands with a token, and clients that hold connections."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from support.http_client import loopback_client
from support.programs.daemon import Daemon, run_command

TOKEN = "0123456789abcdef"
CONFIG: dict[str, Any] = {
    "targets": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
    "canaries": {"chat": {"target": "local", "model": "sim-ok", "every": "1s", "retry": {"max_attempts": 1}}},
}


async def url(daemon: Daemon) -> str:
    """Return the address of the daemon's API."""
    return f"http://127.0.0.1:{(await daemon.wait_for_log('web server started'))['port']}"


async def test_a_hangup_leaves_the_daemon_running(tmp_path: Path) -> None:
    """Each SIGHUP loads the configuration, which is unchanged; runs go on, and SIGTERM ends the daemon as usual."""
    async with Daemon(tmp_path, CONFIG) as daemon:
        for count in (1, 2):
            os.kill(daemon.pid, signal.SIGHUP)
            await daemon.wait_for_log("configuration unchanged", count)
        runs = len(daemon.log_lines("run finished"))
        await daemon.wait_for_log("run finished", runs + 1)
        await daemon.wait_until_ready()
        assert 0 == (await daemon.terminate()).code


@pytest.mark.parametrize("is_file", [True, False])
async def test_commands_send_the_token_for_reads_and_changes(tmp_path: Path, is_file: bool) -> None:
    """``alerts``, ``silence`` and ``unsilence`` take the token from a file or from the environment."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    async with Daemon(tmp_path, CONFIG | {"web": {"port": 0, "token_file": str(token_file)}}) as daemon:
        at = ("--url", await url(daemon))
        sent: dict[str, Any] = {} if is_file else {"STREAMCANARY_TOKEN": TOKEN}
        options = (*at, "--token-file", token_file) if is_file else at
        made = await run_command("silence", 'canary="chat"', "--for", "1h", *options, **sent)
        shown = await run_command("alerts", *options, **sent)
        ended = await run_command("unsilence", made.stdout.strip(), *options, **sent)
        assert (0, 0, 0) == (made.code, shown.code, ended.code)
        assert f"SILENCE {made.stdout.strip()}" in shown.stdout
        for verb in (("alerts",), ("silence", "a=b", "--for", "1h"), ("unsilence", "x")):
            refused = await run_command(*verb, *at)
            assert (1, "") == (refused.code, refused.stdout)
            assert "HTTP 401: the daemon needs its token; set --token-file or the variable" in refused.stderr


async def test_livez_answers_beside_200_silent_connections(tmp_path: Path) -> None:
    """Connections that send nothing do not keep the kubelet from ``/livez``, with the address of a pod as host."""
    async with Daemon(tmp_path, CONFIG) as daemon:
        address = await url(daemon)
        silent = [socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) for _ in range(200)]
        try:
            async with loopback_client() as http:
                for path in ("/livez", "/readyz"):
                    answer = await http.get(address + path, headers={"Host": "10.244.1.17:9465"})
                    assert 200 == answer.status_code
                assert 421 == (await http.get(f"{address}/api/v1/incidents", headers={"Host": "a.example"})).status_code
        finally:
            for connection in silent:
                connection.close()
