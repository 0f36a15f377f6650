"""A program out of a Debian package: the one that is installed, or the package's, unpacked without being root."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cache

_WITHIN = 300.0  # seconds for each step: refreshing the package lists, and downloading


def find(package: str, program: str, installed: Sequence[str]) -> Path | None:
    """Return the program if one of the names in ``installed`` is on PATH, or it has been unpacked before."""
    for name in installed:
        if path := shutil.which(name):
            return Path(path)
    unpacked = cache.folder() / _name(package) / "usr" / "bin" / program
    return unpacked if unpacked.is_file() else None


def fetch(package: str, program: str, what: str) -> Path:
    """Return ``usr/bin/<program>`` of ``package``, downloaded unless it has been before. ``what`` names it to people.

    The version is the one of the Debian release: APT verifies that it is the archive's.

    Raises:
        cache.Unavailable: if this is no Debian, or the download fails or takes too long.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise cache.Unavailable(f"install {what}: there is none on PATH, and no apt-get to download Debian's with")
    kept = cache.keep(_name(package), lambda folder: _unpack(folder, package, program), patience=3 * _WITHIN)
    return kept / "usr" / "bin" / program


def _name(package: str) -> str:
    return f"{package}-debian"


def _unpack(folder: Path, package: str, program: str) -> None:
    try:
        _download(folder, package, [])
    except cache.Unavailable:
        # The package lists are missing or out of date. Refreshing the system's takes root; anyone can have their own.
        private = [] if os.geteuid() == 0 else _private_lists(folder)
        cache.run(["apt-get", *private, "update", "-q"], cwd=folder, within=_WITHIN)
        _download(folder, package, private)
    [archive] = folder.glob(f"{package}_*.deb")
    cache.run(["dpkg-deb", "-x", str(archive), str(folder)], cwd=folder, within=_WITHIN)
    archive.unlink()
    shutil.rmtree(folder / "apt", ignore_errors=True)
    if not (folder / "usr" / "bin" / program).is_file():
        raise cache.Unavailable(f"Debian's package {package} holds no usr/bin/{program}")


def _download(folder: Path, package: str, options: list[str]) -> None:
    cache.run(["apt-get", *options, "download", "-q", package], cwd=folder, within=_WITHIN)


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
