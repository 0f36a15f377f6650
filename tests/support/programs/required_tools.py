"""Finds the external programs of tests, which ``tools/fetch.py`` builds or downloads."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

_FETCH = Path(__file__).parents[3] / "tools" / "fetch.py"


def require_tool(tool: str) -> Path:
    """Return the path of a program of ``tools/fetch.py``, or of the Python of ``litellm`` or ``llama``.

    The program is the one that the environment variable ``STREAMCANARY_TEST_<TOOL>`` names, or the one in the cache of
    ``tools/fetch.py``; a program on PATH is never used. Where it is missing, the calling test is skipped with the
    reason; with ``CI=true`` it fails. Nothing is downloaded or built here, since a test has neither the time nor the
    network for it.
    """
    path, reason = _find_tool(tool)
    if path is not None:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"this test needs {reason}", pytrace=False)
    pytest.skip(f"needs {reason}")


@functools.cache
def _find_tool(tool: str) -> tuple[Path | None, str]:
    command = [sys.executable, "-B", str(_FETCH), "--find", tool]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (Path(found.stdout.strip()), "") if found.returncode == 0 else (None, found.stderr.strip())
