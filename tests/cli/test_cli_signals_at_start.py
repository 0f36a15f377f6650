"""What a signal does to a verb that has only just been started, and is still importing."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from support.programs.daemon import write_config
from support.programs.program import poll_until

NOWHERE: dict[str, Any] = {
    "targets": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
    "canaries": {"chat": {"target": "local", "model": "sim-ok", "every": "30s"}},
}
DELAYS = [0.0, 0.05, 0.3, 0.6]  # seconds: while importing, and while starting


async def signalled(number: signal.Signals, delay: float, *arguments: object) -> tuple[int | None, str]:
    """Run a verb, send it ``number`` ``delay`` seconds after it begins to import, and return its code and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamcanary", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )

    async def look() -> bool | None:
        return imports(process.pid) or process.returncode is not None or None

    try:
        await poll_until(look, 30, lambda: "never began to import")
        await asyncio.sleep(delay)
        process.send_signal(number)
        async with asyncio.timeout(30):
            _, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, stderr.decode()


def imports(pid: int) -> bool:
    """Tell whether the process has begun to import what a verb needs."""
    return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_daemon_can_be_stopped_from_the_first_moment(
    tmp_path: Path, number: signal.Signals, delay: float
) -> None:
    """Exit code 0 and no traceback, however early; the first process of a container would else not even be told."""
    config = write_config(tmp_path, NOWHERE)
    code, stderr = await signalled(number, delay, "run", "-c", config, "--log-level", "error")
    assert (0, "") == (code, stderr)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("simulate", "--port", "0"), 0), (("demo",), 0), (("demo", "--once"), 1)],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_so_can_the_other_verbs_that_go_on(number: signal.Signals, arguments: tuple[str, ...], code: int) -> None:
    """``demo --once`` is 1, as no alert has fired and been resolved."""
    assert (code, "") == await signalled(number, 0.05, *arguments)


@pytest.mark.parametrize("verb", ["check", "probe"])
async def test_a_verb_that_is_interrupted_says_no_more(tmp_path: Path, verb: str) -> None:
    """Exit code 130, in the middle of an import."""
    canaries = {f"chat-{number}": NOWHERE["canaries"]["chat"] for number in range(500)}  # takes a while to read
    config = write_config(tmp_path, NOWHERE | {"canaries": canaries})
    assert (130, "") == await signalled(signal.SIGINT, 0.02, verb, "-c", config)
