"""The programs that some tests run; ``tools/fetch.py`` builds or downloads them."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

_FETCH = Path(__file__).parents[3] / "tools" / "fetch.py"


def require_tool(tool: str) -> Path:
    """Return the path of ``otelcol``, ``alertmanager`` or ``promtool``.

    It is the one in the cache of ``tools/fetch.py``, or the one that the environment variable
    ``STREAMCANARY_TEST_<TOOL>`` names, and never one that happens to be on PATH. Where it is missing the calling test
    is skipped, and says why; with ``CI=true`` it fails. Nothing is downloaded or built here: a test has neither the
    time nor the network for it.
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
