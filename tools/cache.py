"""The cache of the programs that the tests run: outside the repository, one folder for each version."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import progress

_CHECK_TIMEOUT = 60.0  # seconds for `program --version`


class Unavailable(Exception):
    """The program is not available on this machine; the message has the reason."""


def folder() -> Path:
    """Return ``$XDG_CACHE_HOME/streamcanary``, by default ``~/.cache/streamcanary``."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "streamcanary"


def find(name: str, program: str) -> Path | None:
    """Return the file ``program`` of the folder ``name`` in the cache, if it exists, is executable and is not empty."""
    path = folder() / name / program
    return path if path.is_file() and path.stat().st_size and os.access(path, os.X_OK) else None


def keep(name: str, program: str, make: Callable[[Path], None], *, lock_timeout: float) -> Path:
    """Return the file ``program`` of the folder ``name`` in the cache; without it, ``make`` fills the folder again.

    The folder appears complete or not at all. Of several processes that ask at once, one fills it and the others wait
    for at most ``lock_timeout`` seconds.

    Raises:
        Unavailable: if ``make`` raises it, the folder cannot be written, or another process holds the lock longer.
    """
    cached = folder() / name
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with _lock(cached.with_name(f"{name}.lock"), lock_timeout):
            if not find(name, program):
                draft = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cached.parent))
                try:
                    make(draft)
                    shutil.rmtree(cached, ignore_errors=True)  # its program is damaged
                    draft.rename(cached)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise Unavailable(f"cannot use the cache folder {cached.parent}: {error.strerror or error}") from None
    return cached / program


@contextmanager
def _lock(path: Path, lock_timeout: float) -> Iterator[None]:
    """Hold a lock on ``path``. The kernel releases it when its holder dies, so a crash needs no cleanup."""
    with path.open("w") as file:
        with progress.step(f"waiting for another process that fills {path.stem}"):
            _acquire(file, path, lock_timeout)
        yield


def _acquire(file: TextIO, path: Path, lock_timeout: float) -> None:
    deadline = time.monotonic() + lock_timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"another process has held {path} for more than {lock_timeout:.0f} s") from None
            time.sleep(0.2)
        else:
            return


def run(command: list[str], *, cwd: Path, within: float, env: dict[str, str] | None = None) -> str:
    """Run ``command`` and return its output; it and its children are killed after ``within`` seconds.

    Raises:
        Unavailable: if it cannot be started, fails, or takes too long; with the last lines of its output.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the commands are constants in tools/
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"cannot run {command[0]}: {error.strerror}") from None
    try:
        output, _ = process.communicate(timeout=max(within, 1))
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unavailable(f"`{' '.join(command[:3])} …` took more than {within:.0f} s") from None
        raise
    if process.returncode != 0:
        last = " / ".join(line.strip() for line in output.strip().splitlines()[-3:])
        raise Unavailable(f"`{' '.join(command[:3])} …` failed with {process.returncode}: {last[:600]}")
    return output


def check_runs(program: Path, *arguments: str) -> None:
    """Check that a program that was just built or unpacked can be started.

    Raises:
        Unavailable: if it is missing, or ``program ARGUMENTS`` fails, by default ``program --version``.
    """
    run([str(program), *(arguments or ("--version",))], cwd=program.parent, within=_CHECK_TIMEOUT)
