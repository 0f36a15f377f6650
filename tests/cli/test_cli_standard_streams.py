"""Standard streams that are closed, full or without a reader: a message if possible, and no traceback."""

import asyncio
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.alerting.builders import webhook_config
from support.programs.daemon import write_config
from support.servers.provider import FakeProvider

CANARY = {"target": "local", "model": "sim-ok", "every": "30s"}


class ProcessResult(NamedTuple):
    """The exit code and output of a verb."""

    code: int
    stdout: str
    stderr: str


async def run_redirected(redirections: str, *arguments: object) -> ProcessResult:
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
    return ProcessResult(process.returncode, stdout.decode(), stderr.decode())


def config(folder: Path, base_url: str = "http://127.0.0.1:9/v1", **more: Any) -> Path:
    """Write a configuration with one canary and a rule for it."""
    target = {"base_url": base_url, "api_key": "none"}
    alerts = {"rules": {"Failing": {"blame": ["config", "network"]}}, "receivers": {"hook": webhook_config()}}
    sections = {"targets": {"local": target}, "canaries": {"chat": CANARY}, "alerts": alerts}
    return write_config(folder, sections | more)


@pytest.mark.parametrize(
    ("redirections", "reason"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
@pytest.mark.parametrize("arguments", [("check",), ("probe",), ("probe", "--json"), ("probe", "--diagnose")])
async def test_a_write_error_on_stdout_is_exit_code_1(
    tmp_path: Path, arguments: tuple[str, ...], redirections: str, reason: str
) -> None:
    """A write error prints the reason to stderr and exits with 1."""
    async with FakeProvider() as provider:
        result = await run_redirected(redirections, *arguments, "-c", config(tmp_path, provider.base_url))
    assert ProcessResult(1, "", f"streamcanary: cannot write to stdout: {reason}\n") == result


async def test_exit_codes_do_not_depend_on_the_streams(tmp_path: Path) -> None:
    """With all streams closed, lost output is exit code 1 and an invalid configuration is exit code 2."""
    closed = "<&- >&- 2>&-"
    assert ProcessResult(1, "", "") == await run_redirected(closed, "check", "-c", config(tmp_path))
    assert ProcessResult(2, "", "") == await run_redirected(closed, "check", "-c", tmp_path / "missing.yaml")
    assert ProcessResult(2, "", "") == await run_redirected(closed, "run", "-c", tmp_path / "missing.yaml")
    assert ProcessResult(2, "", "") == await run_redirected("2>/dev/full", "run", "-c", tmp_path / "missing.yaml")


async def test_a_write_error_of_help_is_exit_code_1() -> None:
    """The output of argparse has the same error handling."""
    assert ProcessResult(
        1, "", "streamcanary: cannot write to stdout: No space left on device\n"
    ) == await run_redirected(">/dev/full", "--help")


async def test_a_closed_pipe_ends_the_process_without_a_message(tmp_path: Path) -> None:
    """``probe`` before ``head`` sends no further request and prints no message."""
    async with FakeProvider() as provider:
        path = config(tmp_path, provider.base_url, canaries={str(number): CANARY for number in range(200)})
        result = await run_redirected("| head -n 1", "probe", "--json", "-c", path)
        request_count = provider.request_count("sim-ok")
    assert "" == result.stderr
    assert 1 == len(result.stdout.splitlines())
    assert request_count < 200


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
async def test_the_daemon_runs_without_a_stderr(tmp_path: Path, redirections: str) -> None:
    """The daemon runs canaries, writes its store and exits with 0, although its logs are lost."""
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
