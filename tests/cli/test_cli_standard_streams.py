"""Standard streams that are closed, full, or left by their reader: a sentence if it can be said, and no traceback."""

import asyncio
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.alerting.builders import webhook_config
from support.programs.daemon import write_config
from support.servers.provider import FakeProvider

CANARY = {"target": "local", "model": "sim-ok", "every": "30s"}


class Ended(NamedTuple):
    """What a verb left behind under a shell's redirections."""

    code: int
    stdout: str
    stderr: str


async def redirected(redirections: str, *arguments: object) -> Ended:
    """Run a verb as ``streamcanary … redirections``."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f'exec "$@" {redirections}', "sh"),
        *(sys.executable, "-m", "streamcanary", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


def config(folder: Path, base_url: str = "http://127.0.0.1:9/v1", **more: Any) -> Path:
    """Write a configuration with one canary that an alert watches."""
    target = {"base_url": base_url, "api_key": "none"}
    alerts = {"rules": {"Failing": {"blame": ["config", "network"]}}, "receivers": {"hook": webhook_config()}}
    sections = {"targets": {"local": target}, "canaries": {"chat": CANARY}, "alerts": alerts}
    return write_config(folder, sections | more)


@pytest.mark.parametrize(
    ("redirections", "why"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
@pytest.mark.parametrize("arguments", [("check",), ("probe",), ("probe", "--json"), ("probe", "--diagnose")])
async def test_what_cannot_be_written_is_told(
    tmp_path: Path, arguments: tuple[str, ...], redirections: str, why: str
) -> None:
    """Exit code 1: whoever asked for the output has not got it."""
    async with FakeProvider() as provider:
        said = await redirected(redirections, *arguments, "-c", config(tmp_path, provider.base_url))
    assert Ended(1, "", f"streamcanary: cannot write to stdout: {why}\n") == said


async def test_where_nothing_can_be_said_there_is_still_a_code(tmp_path: Path) -> None:
    """All three streams closed: 1 for output that is lost, 2 for a bad configuration, 0 where none was to come."""
    closed = "<&- >&- 2>&-"
    assert Ended(1, "", "") == await redirected(closed, "check", "-c", config(tmp_path))
    assert Ended(2, "", "") == await redirected(closed, "check", "-c", tmp_path / "missing.yaml")
    assert Ended(2, "", "") == await redirected(closed, "run", "-c", tmp_path / "missing.yaml")
    assert Ended(2, "", "") == await redirected("2>/dev/full", "run", "-c", tmp_path / "missing.yaml")


async def test_help_that_cannot_be_written_is_told() -> None:
    """What argparse prints is no exception."""
    assert Ended(1, "", "streamcanary: cannot write to stdout: No space left on device\n") == await redirected(
        ">/dev/full", "--help"
    )


async def test_a_reader_that_leaves_ends_it_in_silence(tmp_path: Path) -> None:
    """As with every other program before ``head``: it asks no further, and has nothing to say."""
    async with FakeProvider() as provider:
        path = config(tmp_path, provider.base_url, canaries={str(number): CANARY for number in range(200)})
        said = await redirected("| head -n 1", "probe", "--json", "-c", path)
        asked = provider.request_count("sim-ok")
    assert "" == said.stderr
    assert 1 == len(said.stdout.splitlines())
    assert asked < 200


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
async def test_the_daemon_runs_without_a_stderr(tmp_path: Path, redirections: str) -> None:
    """Nobody hears its logs; canaries run, the store is written, and it ends with 0."""
    async with FakeProvider() as provider:
        path = config(tmp_path, provider.base_url)
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "streamcanary", "run"),
            *("-c", str(path)),
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(30):
                while not provider.request_count("sim-ok"):
                    await asyncio.sleep(0.02)
                process.terminate()
                code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert 0 == code
    assert b"SQLite format 3\x00" == (tmp_path / "store.db").read_bytes()[:16]
