"""Chromium from Debian's packages, with all libraries and fonts that it needs, unpacked into the cache.

Nothing is installed, and no root rights are needed.
"""

from pathlib import Path

import cache
import debian_closure

_PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-liberation")
_FOLDER, _PROGRAM = "chromium-debian", "chromium"

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
        return cache.keep(_FOLDER, _PROGRAM, _unpack, lock_timeout=3 * debian_closure.STEP_TIMEOUT)


def _unpack(folder: Path) -> None:
    debian_closure.unpack(folder, "Chromium", _PACKAGES)
    (folder / "fonts.template").write_text(_FONTS)
    script = folder / _PROGRAM
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    cache.check_runs(script)


PROGRAM = Chromium()
