"""A disk that is really full: a program of its own fills it, a test runs the program and reads what it saw."""

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
    """The disk that ``path`` is on, of which ``how`` says how it gets full.

    With ``limit`` the kernel lets no file of this process grow beyond ``most`` bytes; with ``fill`` a real file takes
    all the room there is, and with ``protect`` nothing can be written at all, which is for a small file system of its
    own.
    """

    def __init__(self, path: Path, how: str, most: int = 65_536) -> None:
        self._ballast = path.with_name("ballast")
        self._how = how
        self._most = most

    def fill(self) -> None:
        """Leave no room."""
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
        """Give the room back."""
        if self._how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        elif self._how == "protect":
            self._remount("rw")
        else:
            self._ballast.unlink()

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self._ballast.parent)], check=True)


def run_with_file_size_limit(program: Path, path: Path) -> dict[str, Any]:
    """Run ``program`` on a store at ``path`` where the system call itself fails (EFBIG), and return what it saw."""
    return _run(sys.executable, str(program), str(path), "limit")


def run_on_full_disk(program: Path, path: Path, *more: str, how: str = "fill", size: str = "512k") -> dict[str, Any]:
    """Run it where there is really no room (ENOSPC): on a file system of ``size``, in a private mount namespace.

    With ``how="protect"`` the file system can be made read-only (EROFS). The program gets ``more`` arguments.
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
