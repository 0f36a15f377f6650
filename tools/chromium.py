"""Chromium from Debian's packages, with all libraries and fonts that it needs, unpacked into the cache.

Nothing is installed, and no root rights are needed. The libraries are those of the Debian release, whatever the machine
has installed; only the C library is the machine's, as its loader is.
"""

import os
import shutil
from pathlib import Path

import cache
import progress

_PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-liberation")
_NOT_UNPACKED = ("libc6_", "perl", "systemd_", "dpkg_", "usrmerge_")
_FOLDER, _PROGRAM = "chromium-debian", "chromium"
_STEP_TIMEOUT = 600.0  # seconds for each step: refreshing the package lists, downloading 220 MB, unpacking a package

_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>sans-serif</family><prefer><family>Liberation Sans</family></prefer></alias>
  <alias><family>system-ui</family><prefer><family>Liberation Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""
_SCRIPT = """\
#!/bin/sh
folder=$(dirname "$(readlink -f "$0")")
libraries="$folder/usr/lib/$(uname -m)-linux-gnu"
export LD_LIBRARY_PATH="$libraries:$libraries/pulseaudio:$folder/lib/$(uname -m)-linux-gnu"
sed "s|{folder}|$folder|" "$folder/fonts.template" > "$folder/.fonts.$$" && mv "$folder/.fonts.$$" "$folder/fonts.conf"
export FONTCONFIG_FILE="$folder/fonts.conf"
exec "$folder/usr/lib/chromium/chromium" "$@"
"""


class Chromium:
    """The browser, started by a script that sets the paths of its libraries and fonts."""

    def find(self) -> Path | None:
        """Return the browser if it is in the cache."""
        return cache.find(_FOLDER, _PROGRAM)

    def fetch(self) -> Path:
        """Return the browser; the packages are downloaded if need be, and APT verifies them.

        Raises:
            cache.Unavailable: if the system is not Debian, or the download fails or takes too long.
        """
        if found := self.find():
            return found
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise cache.Unavailable("`apt-get` is not on PATH")
        return cache.keep(_FOLDER, _PROGRAM, _unpack, lock_timeout=3 * _STEP_TIMEOUT)


def _unpack(folder: Path) -> None:
    apt = folder / "apt"
    with progress.step("downloading Chromium and its libraries from Debian"):
        _download(folder, apt)
    with progress.step("unpacking Chromium and its libraries"):
        for archive in sorted((apt / "cache" / "archives").glob("*.deb")):
            if not archive.name.startswith(_NOT_UNPACKED):
                cache.run(["dpkg-deb", "-x", str(archive), str(folder)], cwd=folder, within=_STEP_TIMEOUT)
    shutil.rmtree(apt)
    (folder / "fonts.template").write_text(_FONTS)
    script = folder / _PROGRAM
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    cache.check_runs(script)


def _download(folder: Path, apt: Path) -> None:
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
    cache.run([*command, "update"], cwd=folder, within=_STEP_TIMEOUT)
    cache.run([*command, "--download-only", "install", *_PACKAGES], cwd=folder, within=_STEP_TIMEOUT)


PROGRAM = Chromium()
