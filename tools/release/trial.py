"""Install the wheel into an empty environment, and run ``streamcanary demo --once`` from there."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .command import CheckFailed, progress, run

_DEMO_SECONDS = 180.0


def trial(wheel: Path, lock: Path, version: str, folder: Path) -> None:
    """Install ``wheel`` and the dependencies of ``lock`` below ``folder``, and run the program.

    pip takes its settings from the environment of this process; the program gets an empty home and working directory.

    Raises:
        CheckFailed: if a step fails.
    """
    environment, home, work = (folder / name for name in ("venv", "home", "work"))
    for each in (home, work):
        each.mkdir(parents=True)
    progress("installing the wheel and requirements.lock into an empty environment")
    run([sys.executable, "-m", "venv", environment], "an empty environment cannot be made", cwd=folder)
    pip: list[str | Path] = [environment / "bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    run([*pip, "--require-hashes", "-r", lock], "requirements.lock cannot be installed", cwd=work, seconds=900.0)
    run([*pip, "--no-deps", "--no-index", wheel], f"{wheel.name} cannot be installed", cwd=work)
    run([environment / "bin/python", "-m", "pip", "check"], "requirements.lock does not fit the wheel", cwd=work)

    program = environment / "bin/streamcanary"
    isolated = {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8"}
    answer = run([program, "--version"], "`streamcanary --version` fails", cwd=work, env=isolated).strip()
    if answer != f"streamcanary {version}":
        raise CheckFailed(f"`streamcanary --version` prints {answer!r}, not 'streamcanary {version}'")
    progress("running `streamcanary demo --once` (about a minute)")
    output = run(
        [program, "demo", "--once"],
        "`streamcanary demo --once` fails",
        cwd=work,
        env=isolated,
        seconds=_DEMO_SECONDS,
    )
    if problem := demo_problem(output):
        raise CheckFailed(f"`streamcanary demo --once` {problem}")
    if left := sorted(path.name for each in (home, work) for path in each.iterdir()):
        raise CheckFailed(f"`streamcanary demo --once` writes to its home or working directory: {', '.join(left)}")


def demo_problem(output: str) -> str | None:
    """Return what is wrong with the output of ``demo --once``, or ``None``.

    Its last line is a JSON object. At least one run failed, at least one alert fired, and each was resolved.
    """
    lines = output.splitlines()
    try:
        summary: Any = json.loads(lines[-1]) if lines else None
    except ValueError:
        summary = None
    if not isinstance(summary, Mapping):
        return "prints no JSON summary on its last line"
    runs, failed, fired, resolved = (summary.get(key) for key in ("runs", "failed", "alerts_fired", "alerts_resolved"))
    if not (runs and failed and fired and fired == resolved):
        return f"reports {runs} runs, {failed} failed, {fired} alerts fired, {resolved} resolved; each must be resolved"
    return None
