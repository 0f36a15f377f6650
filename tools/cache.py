"""Where the programs that only the tests need are kept: outside the repository, one folder a version."""

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


class Unavailable(Exception):
    """The program cannot be had here; the text says why."""


def folder() -> Path:
    """Return ``$XDG_CACHE_HOME/streamcanary``, by default ``~/.cache/streamcanary``."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "streamcanary"


def keep(name: str, make: Callable[[Path], None], *, patience: float) -> Path:
    """Return the folder ``name`` in the cache; ``make`` fills it the first time.

    It appears whole or not at all. Of several processes that ask at once, one makes it and the others wait,
    for at most ``patience`` seconds.

    Raises:
        Unavailable: if ``make`` says so, the folder cannot be written, or another process holds the lock for too long.
    """
    kept = folder() / name
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _lock(kept.with_name(f"{name}.lock"), patience):
            if not kept.is_dir():
                draft = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=kept.parent))
                try:
                    make(draft)
                    draft.rename(kept)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise Unavailable(f"cannot use the cache folder {kept.parent}: {error.strerror or error}") from None
    return kept


@contextmanager
def _lock(path: Path, patience: float) -> Iterator[None]:
    """Hold ``path`` locked. The kernel lets go of it when the holder dies, so a crash leaves nothing to tidy."""
    give_up = time.monotonic() + patience
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise Unavailable(f"another process holds {path} for more than {patience:.0f}s") from None
                time.sleep(0.2)
        yield


def run(command: list[str], *, cwd: Path, within: float, env: dict[str, str] | None = None) -> None:
    """Run ``command`` to its end; it and its children are killed after ``within`` seconds.

    Raises:
        Unavailable: if it cannot be started, fails, or takes too long; with the last lines that it printed.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - every command is spelled out in tools/
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
            raise Unavailable(f"`{' '.join(command[:3])} …` took more than {within:.0f}s") from None
        raise
    if process.returncode != 0:
        last = " / ".join(line.strip() for line in output.strip().splitlines()[-3:])
        raise Unavailable(f"`{' '.join(command[:3])} …` failed with {process.returncode}: {last[:600]}")
