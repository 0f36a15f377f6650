"""Jaeger, which stores traces and answers queries about them: built from source with Go."""

import shutil
import time
from pathlib import Path

import cache
import golang
import progress
from versions import JAEGER, JAEGER_GO

TITLE = "Jaeger"
PACKAGE = "github.com/jaegertracing/jaeger/cmd/jaeger"

_FOLDER = f"jaeger-{JAEGER}"
_BUILD_TIMEOUT = 1800.0  # seconds for all of it: about eight minutes on two idle cores with an empty Go cache
_CHECK_TIMEOUT = 60.0  # seconds for `jaeger version`, as it has no option --version


def find() -> Path | None:
    """Return the program if it has been built."""
    return cache.find(_FOLDER, "jaeger")


def fetch() -> Path:
    """Return the program, built if need be.

    Raises:
        cache.Unavailable: if Go is missing or too old, a module cannot be downloaded, or the build fails or takes too
            long.
    """
    if found := find():
        return found
    golang.require(TITLE, JAEGER_GO)
    return cache.keep(_FOLDER, "jaeger", _build, lock_timeout=_BUILD_TIMEOUT + 60)


def _build(folder: Path) -> None:
    """Compile the program as a tool of a module of its own.

    ``go install`` refuses it, because the module of Jaeger replaces some of its dependencies.
    """
    deadline = time.monotonic() + _BUILD_TIMEOUT
    source = folder / "source"
    source.mkdir()
    for step, command in (
        ("creating a module for", ["mod", "init", "tool"]),
        ("downloading", ["get", "-tool", f"{PACKAGE}@{JAEGER}"]),
        ("compiling", ["build", *golang.BUILD_FLAGS, "-o", str(folder / "jaeger"), PACKAGE]),
    ):
        with progress.step(f"{step} {TITLE} {JAEGER}"):
            golang.run(command, cwd=source, within=deadline - time.monotonic())
    cache.run([str(folder / "jaeger"), "version"], cwd=folder, within=_CHECK_TIMEOUT)
    shutil.rmtree(source)
