"""Signals to a process that is still importing."""

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from support.programs.daemon import write_config
from support.programs.program import poll_until

UNREACHABLE_CONFIG: dict[str, Any] = {
    "targets": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
    "canaries": {"chat": {"target": "local", "model": "sim-ok", "every": "30s"}},
}
PROGRESS = re.compile(r"serving http://| *\d+\.\ds  ")  # of `simulate` and of `demo`
DELAYS = [0.0, 0.05, 0.3, 0.6]  # seconds: while importing, and while starting


async def run_and_signal(
    number: signal.Signals, delay: float, *arguments: object, then: signal.Signals | None = None
) -> tuple[int | None, str]:
    """Run a verb, send signal ``number`` ``delay`` seconds after its imports begin, and return its code and stderr.

    ``then`` is a second signal, sent a moment later.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamcanary", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )

    async def has_started() -> bool | None:
        return is_importing(process.pid) or process.returncode is not None or None

    try:
        await poll_until(has_started, 30, lambda: "the process does not begin to import")
        await asyncio.sleep(delay)
        process.send_signal(number)
        if then is not None:
            await asyncio.sleep(0.1)
            process.send_signal(then)
        async with asyncio.timeout(30):
            _, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, stderr.decode()


def is_importing(pid: int) -> bool:
    """Return whether the process has begun to import the modules of a verb."""
    return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_daemon_can_be_stopped_from_the_first_moment(
    tmp_path: Path, number: signal.Signals, delay: float
) -> None:
    """An early signal ends the daemon with exit code 0 and no traceback, also as the first process of a container."""
    config = write_config(tmp_path, UNREACHABLE_CONFIG)
    code, stderr = await run_and_signal(number, delay, "run", "-c", config, "--log-level", "error")
    assert (0, "") == (code, stderr)


@pytest.mark.parametrize("delay", [0.0, 0.6])
async def test_an_early_hangup_does_not_end_the_daemon(tmp_path: Path, delay: float) -> None:
    """SIGHUP while the daemon starts has no effect; SIGTERM then ends it with exit code 0."""
    config = write_config(tmp_path, UNREACHABLE_CONFIG)
    arguments = ("run", "-c", config, "--log-level", "error")
    assert (0, "") == await run_and_signal(signal.SIGHUP, delay, *arguments, then=signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("simulate", "--port", "0"), 0), (("demo",), 0), (("demo", "--once"), 1)],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_other_long_running_verbs_can_be_stopped(
    number: signal.Signals, arguments: tuple[str, ...], code: int
) -> None:
    """``simulate`` and ``demo`` exit with 0, and ``demo --once`` with 1, because no alert has resolved.

    SIGHUP, when their terminal is closed, ends them like SIGTERM. There is no output but that of a quick start.
    """
    actual, stderr = await run_and_signal(number, 0.05, *arguments)
    assert (code, []) == (actual, [line for line in stderr.splitlines() if not PROGRESS.match(line)])


@pytest.mark.parametrize("verb", ["check", "probe"])
async def test_an_interrupted_verb_prints_no_message(tmp_path: Path, verb: str) -> None:
    """An interrupt during an import gives exit code 130 and no output."""
    canaries = {
        f"chat-{number}": UNREACHABLE_CONFIG["canaries"]["chat"] for number in range(500)
    }  # takes a while to read
    config = write_config(tmp_path, UNREACHABLE_CONFIG | {"canaries": canaries})
    assert (130, "") == await run_and_signal(signal.SIGINT, 0.02, verb, "-c", config)
