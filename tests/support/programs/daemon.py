"""The command line as a child process: the running daemon, and commands that exit by themselves."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx2

from support.http_client import loopback_client
from support.programs.program import poll_until

_START_WITHIN = 60.0
_END_WITHIN = 30.0
_OWN_VARIABLES = ("OTEL_", "STREAMCANARY_", "OPENAI_")  # variables that change what the program does


class ProcessExit(NamedTuple):
    """The exit code of a process, and the seconds from SIGTERM to its exit."""

    code: int
    seconds: float


class CommandResult(NamedTuple):
    """The exit code and output of a command."""

    code: int
    stdout: str
    stderr: str


class Daemon:
    """``async with Daemon(folder, config) as daemon``: is ready when the block begins, and runs until it ends.

    ``config`` is the configuration, as data or as YAML. Data gets a store in ``folder`` and a free port for health by
    default. A daemon can be restarted in the same folder; :attr:`log` contains the lines of all starts.
    """

    launch_arguments: tuple[str, ...] = ("-m", "streamcanary")
    """The arguments of the Python interpreter."""

    run_arguments: tuple[str, ...] = ()
    """Further arguments of the verb ``run``."""

    def __init__(self, folder: Path, config: dict[str, Any] | str, **environ: str) -> None:
        self.config = write_config(folder, config)
        self.folder = folder
        self._environ = environ
        self._stderr = folder / "stderr"
        self._stdout = folder / "stdout"
        self._process: asyncio.subprocess.Process | None = None
        self._begin = 0  # the offset of the last start in the log

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.wait_until_ready()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.kill()

    def launch_command(self) -> list[str]:
        """Return the command line up to the verb."""
        return [sys.executable, *self.launch_arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment: that of the machine, without variables that change what the program does."""
        return _environment(self._environ)

    async def start(self) -> None:
        """Start the process without waiting until it is ready."""
        assert self._process is None or self._process.returncode is not None, "the daemon is already running"
        self._begin = len(self.stderr)
        with self._stderr.open("ab") as stderr, self._stdout.open("ab") as stdout:
            self._process = await asyncio.create_subprocess_exec(
                *(*self.launch_command(), "run", "-c", str(self.config), *self.run_arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self.environment(),
            )

    async def wait_until_ready(self, within: float = _START_WITHIN) -> None:
        """Wait until ``/readyz`` returns 200."""
        address = await self.wait_for_log("web server started", within=within)
        url = f"http://127.0.0.1:{address['port']}/readyz"

        async def ask() -> bool | None:
            async with loopback_client() as client:
                with contextlib.suppress(httpx2.HTTPError):
                    return (await client.get(url)).status_code == 200 or None
            return None

        await poll_until(ask, within, lambda: f"not ready:\n{self.stderr}")

    def send_sigterm(self) -> None:
        """Send SIGTERM."""
        self._running.send_signal(signal.SIGTERM)

    async def terminate(self, within: float = _END_WITHIN) -> ProcessExit:
        """Send SIGTERM, and wait for the exit."""
        begun = time.monotonic()
        self.send_sigterm()
        code = await self.wait_for_exit(within)
        return ProcessExit(code, time.monotonic() - begun)

    async def kill(self) -> None:
        """Send SIGKILL; do nothing if the process has exited."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def wait_for_exit(self, within: float = _END_WITHIN) -> int:
        """Wait until the process exits, and return its exit code."""
        try:
            async with asyncio.timeout(within):
                return await self._running.wait()
        except TimeoutError:
            raise AssertionError(f"the daemon has not exited after {within:g} s:\n{self.stderr[-4000:]}") from None

    async def wait_for_log(
        self, message: str, count: int = 1, *, within: float = 60.0, **fields: object
    ) -> dict[str, Any]:
        """Return the ``count``-th line since the last start that begins with ``message`` and has these ``fields``."""

        async def find_line() -> dict[str, Any] | None:
            lines = self.log_lines(message, **fields)
            if len(lines) < count and self._running.returncode is not None:
                raise AssertionError(
                    f"the daemon exited with {self._running.returncode} and did not log {message!r}:\n{self.stderr}"
                )
            return lines[count - 1] if len(lines) >= count else None

        return await poll_until(
            find_line, within, lambda: f"the daemon did not log {message!r} {count} times:\n{self.stderr[-6000:]}"
        )

    def log_lines(self, message: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines since the last start whose message begins with ``message``, with these ``fields``."""
        return [
            line
            for line in _decode(self.stderr[self._begin :])
            if line["message"].startswith(message) and all(line.get(name) == value for name, value in fields.items())
        ]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    @property
    def stderr(self) -> str:
        """The stderr of all starts."""
        return self._stderr.read_text() if self._stderr.exists() else ""

    @property
    def stdout(self) -> str:
        """The stdout of all starts."""
        return self._stdout.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log lines of all starts; a line that is not a JSON object fails the test."""
        return _decode(self.stderr)

    @property
    def logged_problems(self) -> list[str]:
        """The warnings and errors of all starts, except run results and missed runs, which a slow machine causes."""
        expected = ("run finished", "canary runs missed")
        return [
            line["message"] for line in self.log if line["level"] != "info" and not line["message"].startswith(expected)
        ]

    def has_mapped_file(self, name: str) -> bool:
        """Return whether the process has loaded a library whose path contains ``name``."""
        return name in Path(f"/proc/{self.pid}/maps").read_text()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run ``sql`` on the store and return the rows; the daemon need not run."""
        with contextlib.closing(sqlite3.connect(self.folder / "store.db", timeout=10)) as store:
            return store.execute(sql).fetchall()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "the daemon was not started"
        return self._process


async def run_command(*arguments: object, within: float = 60.0, **environ: str) -> CommandResult:
    """Run ``streamcanary`` with ``arguments`` until it exits."""
    process = await asyncio.create_subprocess_exec(
        *_command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(environ),
    )
    try:
        async with asyncio.timeout(within):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return CommandResult(process.returncode, stdout.decode(), stderr.decode())


def write_config(folder: Path, config: dict[str, Any] | str) -> Path:
    """Write ``config`` to ``folder`` and return its path; data gets a store there and a free port by default."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "streamcanary.yaml"
    if isinstance(config, dict):
        config = json.dumps({"store": {"path": "store.db"}, "web": {"port": 0}, **config})  # JSON is YAML
    path.write_text(config)
    return path


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "streamcanary", *map(str, arguments)]


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)} | more


def _decode(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]  # the last line may be incomplete
