"""Programs that a check runs, and the failure of a check."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL = 5  # lines of output that a failure quotes


class CheckFailed(Exception):
    """A check has failed; the message is one sentence for the terminal."""


def progress(text: str) -> None:
    """Print a line on stderr at once."""
    sys.stderr.write(f"release-check: {text}\n")
    sys.stderr.flush()


def run(
    command: Sequence[str | Path],
    failure: str,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    seconds: float = 300.0,
) -> str:
    """Run a program and return its stdout; by default in the environment of this process.

    Raises:
        CheckFailed: with ``failure`` as its beginning, if the program exits with another code than 0, takes more than
            ``seconds``, or cannot be started.
    """
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(  # noqa: S603 - every command is spelled out in tools/release/
            arguments,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"{failure}: it takes more than {seconds:.0f} s") from None
    except OSError as error:
        raise CheckFailed(f"{failure}: {error.strerror}") from None
    if done.returncode:
        raise CheckFailed(f"{failure}: exit code {done.returncode}{_tail(done.stdout + done.stderr)}")
    return done.stdout


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "".join(f"\n    {line}" for line in lines[-_TAIL:])
