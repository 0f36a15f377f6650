"""Alertmanager: the one that is installed, or the one from Debian's package, unpacked without being root."""

import os
import shutil
from pathlib import Path

import cache

PACKAGE = "prometheus-alertmanager"
_PROGRAMS = (PACKAGE, "alertmanager")
_WITHIN = 300.0  # seconds for each step: refreshing the package lists, and downloading


def find() -> Path | None:
    """Return the program if it is on PATH or has been unpacked before."""
    for name in _PROGRAMS:
        if installed := shutil.which(name):
            return Path(installed)
    unpacked = cache.folder() / _name() / "usr" / "bin" / PACKAGE
    return unpacked if unpacked.is_file() else None


def fetch() -> Path:
    """Return the program, downloaded if need be.

    Raises:
        cache.Unavailable: if it is not installed and this is no Debian, or the download fails or takes too long.
    """
    if found := find():
        return found
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise cache.Unavailable("install Alertmanager: there is none on PATH, and no apt-get to download Debian's with")
    kept = cache.keep(_name(), _unpack, patience=3 * _WITHIN)
    return kept / "usr" / "bin" / PACKAGE


def _name() -> str:
    return f"{PACKAGE}-debian"


def _unpack(folder: Path) -> None:
    try:
        _download(folder, [])
    except cache.Unavailable:
        # The package lists are missing or out of date. Refreshing the system's takes root; anyone can have their own.
        private = [] if os.geteuid() == 0 else _private_lists(folder)
        cache.run(["apt-get", *private, "update", "-q"], cwd=folder, within=_WITHIN)
        _download(folder, private)
    [package] = folder.glob(f"{PACKAGE}_*.deb")
    cache.run(["dpkg-deb", "-x", str(package), str(folder)], cwd=folder, within=_WITHIN)
    package.unlink()
    shutil.rmtree(folder / "apt", ignore_errors=True)
    if not (folder / "usr" / "bin" / PACKAGE).is_file():
        raise cache.Unavailable(f"Debian's package {PACKAGE} holds no usr/bin/{PACKAGE}")


def _download(folder: Path, options: list[str]) -> None:
    cache.run(["apt-get", *options, "download", "-q", PACKAGE], cwd=folder, within=_WITHIN)


def _private_lists(folder: Path) -> list[str]:
    state, archives = folder / "apt" / "state", folder / "apt" / "cache"
    for path in (state / "lists" / "partial", archives / "archives" / "partial"):
        path.mkdir(parents=True)
    return [
        "-o",
        f"Dir::State={state}",
        "-o",
        "Dir::State::status=/var/lib/dpkg/status",
        "-o",
        f"Dir::Cache={archives}",
    ]
