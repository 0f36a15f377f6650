"""Unpacks programs from Debian's packages with all libraries that they need, without installing anything.

The libraries are those of the Debian release, whatever the machine has installed; only the C library is the machine's,
as its loader is. The programs are started with ``LD_LIBRARY_PATH`` set to the folders of the libraries.
"""

import os
import re
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import cache
import progress

STEP_TIMEOUT = 600.0
"""Seconds for each step: refreshing the package lists, downloading, unpacking a package."""

_NEVER = ("libc6", "dpkg", "perl*", "systemd", "usrmerge")


def unpack(folder: Path, title: str, packages: Sequence[str], *, without: Sequence[str] = ()) -> None:
    """Unpack ``packages`` and all that they depend on into ``folder``; APT verifies them.

    ``without`` has patterns of names of packages that are left out, with the syntax of ``fnmatch``.

    Raises:
        cache.Unavailable: if the system is not Debian, or the download fails or takes too long.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise cache.Unavailable("`apt-get` is not on PATH")
    apt = folder / "apt"
    with progress.step(f"downloading {title} and its libraries from Debian"):
        _download(apt, packages, (*_NEVER, *without))
    archives = sorted(apt.glob("*.deb"))
    if not archives:
        raise cache.Unavailable(f"`apt-get download` succeeded and left no package of {title}")
    with progress.step(f"unpacking {title} and its libraries"):
        for archive in archives:
            cache.run(["dpkg-deb", "-x", str(archive), str(folder)], cwd=folder, within=STEP_TIMEOUT)
    shutil.rmtree(apt)


def _download(apt: Path, packages: Sequence[str], without: Sequence[str]) -> None:
    """Download the packages and all that they depend on, as for a machine on which nothing is installed."""
    for path in (apt / "state" / "lists" / "partial", apt / "cache" / "archives" / "partial"):
        path.mkdir(parents=True)
    (apt / "status").touch()
    options = [
        f"Dir::State={apt / 'state'}",
        f"Dir::State::status={apt / 'status'}",
        f"Dir::Cache={apt / 'cache'}",
        "APT::Install-Recommends=false",
        "Debug::NoLocking=1",
    ]
    if os.geteuid() == 0:
        options.append("APT::Sandbox::User=root")  # the user of APT cannot write to the cache of another
    command = ["apt-get", "-q", "-y", *(part for option in options for part in ("-o", option))]
    cache.run([*command, "update"], cwd=apt, within=STEP_TIMEOUT)
    # Each line is 'URL' FILE SIZE HASH, and FILE is NAME_VERSION_ARCHITECTURE.deb.
    listed = cache.run([*command, "--print-uris", "install", *packages], cwd=apt, within=STEP_TIMEOUT)
    closure = re.findall(r"^'\S+' ([a-z0-9.+-]+)_\S+\.deb ", listed, re.MULTILINE)
    wanted = [name for name in closure if not any(fnmatch(name, pattern) for pattern in without)]
    cache.run([*command, "download", *wanted], cwd=apt, within=STEP_TIMEOUT)
