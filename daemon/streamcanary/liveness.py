"""The command of a liveness probe: ``streamcanary-liveness FILE``, or ``python -m streamcanary.liveness FILE``.

Compares the time of the last change of ``web.liveness_file``, which a daemon renews every few seconds, with now. It
needs no port, and imports almost nothing: a kubelet starts it every half a minute in every pod.

Exit codes: 0 the daemon is alive, 1 it is not, 2 invalid arguments. It prints one line with the reason.
"""

import os
import sys
import time
from collections.abc import Sequence

DEFAULT_MAX_AGE = 60.0
"""Seconds since the last change of the file after which the daemon is not alive."""

_USAGE = """\
usage: streamcanary-liveness FILE [--max-age TIME]

Exit with 0 if FILE, the web.liveness_file of a daemon, was changed within TIME (30s, 2m; default: 60s), else with 1."""
_UNITS = {"s": 1.0, "m": 60.0}


def main(argv: Sequence[str] | None = None) -> int:
    """Print whether the daemon is alive, and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["-h"], ["--help"]):
        print(_USAGE)  # noqa: T201 - a command line prints
        return 0
    try:
        path, max_age = _parse(arguments)
    except ValueError as error:
        print(f"streamcanary-liveness: {error}\n{_USAGE}", file=sys.stderr)  # noqa: T201
        return 2
    if problem := liveness_problem(path, max_age, time.time()):
        print(f"not alive: {problem}")  # noqa: T201
        return 1
    print("alive")  # noqa: T201
    return 0


def liveness_problem(path: str, max_age: float, now: float) -> str | None:
    """Return why the daemon that renews the file ``path`` is not alive at ``now``; ``None`` if it is.

    ``max_age`` is in seconds, ``now`` in seconds since the epoch. A time in the future counts like one in the past: a
    daemon that is alive corrects it soon after a clock step.
    """
    try:
        changed = os.stat(path).st_mtime  # noqa: PTH116 - pathlib takes longer to import than the rest of this command
    except (OSError, ValueError) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}"
    age = now - changed
    if abs(age) <= max_age:
        return None
    when = f"{age:.0f} s ago" if age > 0 else f"{-age:.0f} s in the future"
    return f"{path} was renewed {when}; the limit is {max_age:g} s"


def _parse(arguments: list[str]) -> tuple[str, float]:
    """Return file and maximum age.

    Raises:
        ValueError: if the arguments are invalid.
    """
    paths, max_age = [], DEFAULT_MAX_AGE
    rest = iter(arguments)
    for argument in rest:
        if argument == "--max-age" or argument.startswith("--max-age="):
            max_age = _parse_seconds(argument[10:] if "=" in argument else next(rest, ""))
        elif argument.startswith("-"):
            raise ValueError(f"unknown option {argument}")
        else:
            paths.append(argument)
    if len(paths) != 1 or not paths[0]:
        raise ValueError("needs one FILE")
    return paths[0], max_age


def _parse_seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"--max-age {text!r} is not a time; write one such as 60s or 2m")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
