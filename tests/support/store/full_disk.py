"""Runs a test program on a disk that the program itself can fill, and returns its observations."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.store.builders import CHILD_ENVIRONMENT

_MOUNT_AND_RUN = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


class FillableDisk:
    """The disk of ``path``, which is filled with the method ``how``.

    With ``limit`` the kernel limits every file of this process to ``most`` bytes; with ``fill`` a file uses all free
    space; with ``protect`` the file system is remounted read-only, which needs a separate small file system.
    """

    def __init__(self, path: Path, how: str, most: int = 65_536) -> None:
        self._ballast = path.with_name("ballast")
        self._how = how
        self._most = most

    def fill(self) -> None:
        """Fill the disk."""
        if self._how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._most, resource.RLIM_INFINITY))
            return
        if self._how == "protect":
            self._remount("ro")
            return
        with self._ballast.open("wb", buffering=0) as file:
            for size in (65_536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def make_room(self) -> None:
        """Free the space again."""
        if self._how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        elif self._how == "protect":
            self._remount("rw")
        else:
            self._ballast.unlink()

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self._ballast.parent)], check=True)


def run_with_file_size_limit(program: Path, path: Path) -> dict[str, Any]:
    """Run ``program`` on a store at ``path`` where the system call fails (EFBIG), and return its observations."""
    return _run(sys.executable, str(program), str(path), "limit")


def run_on_full_disk(program: Path, path: Path, *more: str, how: str = "fill", size: str = "512k") -> dict[str, Any]:
    """Run it on a file system of ``size`` that can be full (ENOSPC), in a private mount namespace.

    With ``how="protect"`` the file system is made read-only instead (EROFS). The program gets ``more`` arguments.
    """
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode != 0:
        pytest.skip("no private mount namespaces here (unshare --user --mount)")
    mounted = [*unshare, "sh", "-c", _MOUNT_AND_RUN, "sh", size, str(path.parent)]
    return _run(*mounted, sys.executable, str(program), str(path), how, *more)


def _run(*command: str) -> dict[str, Any]:
    environ = {**CHILD_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
