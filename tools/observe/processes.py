"""Child processes: started, waited for until ready, and ended in the reverse order."""

import asyncio
import contextlib
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

_READY_WITHIN = 60.0
_END_WITHIN = 15.0
_POLL = 0.1
_PAUSE_AFTER, _PAUSE, _PAUSE_EVERY = 20.0, 6.0, 60.0  # seconds


class StartFailed(Exception):
    """A program did not start; the message has its last lines."""


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], folder: Path, *, ready: str | None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``command`` until the block ends; the block begins once the address ``ready`` answers 200.

    The output goes to ``folder/NAME.log``. The program is not in the process group of the terminal, so that Ctrl-C
    ends it in order, and not at the same time as its clients. It gets SIGTERM, and SIGKILL 15 s later.

    Raises:
        StartFailed: if the program exits, or does not become ready within 60 s.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
    try:
        await _wait_until_ready(name, process, ready, log)
        yield process
    finally:
        await _end(process)


async def pause_repeatedly(process: asyncio.subprocess.Process) -> None:
    """Stop ``process`` with SIGSTOP for six seconds of each minute, and continue it, until cancelled."""
    while True:
        await asyncio.sleep(_PAUSE_AFTER)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(_PAUSE)
        finally:
            process.send_signal(signal.SIGCONT)
        await asyncio.sleep(_PAUSE_EVERY - _PAUSE_AFTER - _PAUSE)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel ``task``, and wait for its end."""
    task.cancel()
    await asyncio.wait({task})


async def _wait_until_ready(name: str, process: asyncio.subprocess.Process, ready: str | None, log: Path) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                if process.returncode is not None:
                    raise StartFailed(f"{name} exited with {process.returncode}: {_last_lines(log)}")
                if ready is None or await asyncio.to_thread(_answers, ready):
                    return
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise StartFailed(f"{name} was not ready within {_READY_WITHIN:.0f} s: {_last_lines(log)}") from None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_WITHIN):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: no proxy of the environment
    try:
        with opener.open(address, timeout=2) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def _last_lines(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-5:])[-1000:]


def choose_port(usual: int, taken: set[int]) -> int:
    """Return ``usual`` if it is free on loopback, else another free port; it is added to ``taken``."""
    for port in (usual, 0):
        if port in taken:
            continue
        try:
            with socket.create_server(("127.0.0.1", port)) as server:
                chosen: int = server.getsockname()[1]
        except OSError:
            continue
        if chosen not in taken:
            taken.add(chosen)
            return chosen
    raise StartFailed("no port on loopback is free")
