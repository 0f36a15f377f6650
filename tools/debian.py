"""Takes a program from a Debian package, unpacked into the cache without root rights.

This serves programs that need no other file of their package: nothing is installed under ``/usr``.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cache
import progress

_STEP_TIMEOUT = 300.0  # seconds for each step: refreshing the package lists, downloading


@dataclass(frozen=True)
class Program:
    """The program ``usr/bin/<name>`` of ``package``, in the version of the machine's Debian release."""

    package: str
    name: str

    @property
    def _folder(self) -> str:
        return f"{self.package}-debian"

    @property
    def _program(self) -> str:
        return f"usr/bin/{self.name}"

    def find(self) -> Path | None:
        """Return the program if the package has been unpacked."""
        return cache.find(self._folder, self._program)

    def fetch(self) -> Path:
        """Return the program; the package is downloaded if need be, and APT verifies it.

        Raises:
            cache.Unavailable: if the system is not Debian, or the download fails or takes too long.
        """
        if found := self.find():
            return found
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise cache.Unavailable("`apt-get` is not on PATH")
        return cache.keep(self._folder, self._program, self._unpack, lock_timeout=3 * _STEP_TIMEOUT)

    def _unpack(self, folder: Path) -> None:
        with progress.step(f"downloading Debian's package {self.package}"):
            self._download(folder)
        archive = next(folder.glob(f"{self.package}_*.deb"), None)
        if archive is None:
            raise cache.Unavailable(f"`apt-get download {self.package}` succeeded and left no {self.package}_*.deb")
        cache.run(["dpkg-deb", "-x", str(archive), str(folder)], cwd=folder, within=_STEP_TIMEOUT)
        archive.unlink()
        shutil.rmtree(folder / "apt", ignore_errors=True)
        cache.check_runs(folder / self._program)

    def _download(self, folder: Path) -> None:
        download = ["download", "-q", self.package]
        try:
            cache.run(["apt-get", *download], cwd=folder, within=_STEP_TIMEOUT)
        except cache.Unavailable:
            # The package lists are missing or out of date. Only root may refresh the system's: others use private
            # lists.
            options = [] if os.geteuid() == 0 else _private_lists(folder)
            cache.run(["apt-get", *options, "update", "-q"], cwd=folder, within=_STEP_TIMEOUT)
            cache.run(["apt-get", *options, *download], cwd=folder, within=_STEP_TIMEOUT)


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
