"""Runs a program in a separate root file system, as on a machine where nothing else is installed."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_PROBE_TIMEOUT = 20.0  # seconds

# Arguments: the new root, the paths to show in it, "--", and the command. Each step replaces the process by the next
# one, so the process id stays, and a signal reaches the program.
_ENTER = """\
set -e
PATH=$PATH:/usr/sbin:/sbin
root=$1
shift
mount -t tmpfs tmpfs "$root"
mkdir "$root/proc" "$root/dev" "$root/etc" "$root/tmp"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mkdir -p "$root$(dirname "$1")"
    if [ -d "$1" ]; then mkdir -p "$root$1"; else : > "$root$1"; fi
    mount --bind "$1" "$root$1"
    shift
done
shift
chroot=$(command -v chroot)
exec env -i PATH=/nonexistent HOME=/nonexistent "$chroot" "$root" "$@"
"""


def isolated(command: Sequence[str], root: Path, *visible: Path) -> list[str]:
    """Return a command line that runs ``command`` in a separate root file system, mounted at ``root``.

    The program sees itself, the shared libraries that the program is linked with, ``visible``, ``/proc`` and
    ``/dev``, each at its usual path, and an environment whose ``PATH`` and ``HOME`` do not exist. The mounts belong to
    the process and end with it.

    Where mount namespaces are not permitted, the program must be statically linked, and runs with that environment in
    the machine's own file system; with ``CI=true`` the test fails, because that does not hide the machine's files.
    """
    program = Path(command[0])
    libraries = shared_libraries(program)
    namespaces = enter_mount_namespace()
    if namespaces is None:
        if os.environ.get("CI") == "true":
            pytest.fail("this test needs mount namespaces: run it as root, or permit user namespaces", pytrace=False)
        assert libraries == [], f"{program} is linked with shared libraries; without mount namespaces it must be static"
        return ["env", "-i", "PATH=/nonexistent", "HOME=/nonexistent", *command]
    root.mkdir(parents=True, exist_ok=True)
    paths = [str(path) for path in (program, *libraries, *visible)]
    return [*namespaces, "sh", "-c", _ENTER, "sh", str(root), *paths, "--", *command]


def shared_libraries(program: Path) -> list[Path]:
    """Return the shared libraries and the loader of ``program``; a static program has none."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=_PROBE_TIMEOUT, check=False)
    if listed.returncode != 0:
        assert "not a dynamic executable" in listed.stdout + listed.stderr, listed
        return []
    return [Path(path) for path in re.findall(r"(?:^|\s)(/\S+)", listed.stdout)]


@functools.cache
def enter_mount_namespace() -> tuple[str, ...] | None:
    """Return the start of a command line that enters a mount namespace, or ``None`` if this user may not."""
    if shutil.which("unshare") is None:
        return None
    for options in (("--mount",), ("--user", "--map-root-user", "--mount")):
        start = ("unshare", *options, "--")
        probe = [*start, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if subprocess.run(probe, capture_output=True, timeout=_PROBE_TIMEOUT, check=False).returncode == 0:
            return start
    return None
