"""PostgreSQL from Debian's packages, server and client, with the libraries that they need, unpacked into the cache.

Nothing is installed, and no root rights are needed. The version is that of the machine's Debian release.
"""

import shutil
from pathlib import Path

import cache
import debian_closure

_PACKAGES = ("postgresql", "postgresql-client")
# The compiler of queries, what compiles locales, and what sets up an installed server.
_NOT_NEEDED = ("libllvm*", "libz3-*", "locales*", "lib*perl*", "openssl", "passwd", "adduser", "debconf", "tar")
_NOT_USED = (
    "bin",
    "sbin",
    "etc",
    "var",
    "usr/*bin",
    "usr/share/[!p]*",
    "usr/share/p[!o]*",
    "usr/lib/postgresql/*/lib/bitcode",
)
_JIT = "usr/lib/postgresql/*/lib/llvmjit.so"  # without this file the server does not try to load the compiler
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "psql", "pg_dump")
_FOLDER, _PROGRAM = "postgresql-debian", "programs/postgres"

_SCRIPT = """\
#!/bin/sh
folder=$(dirname "$(dirname "$(readlink -f "$0")")")
architecture=$(uname -m)-linux-gnu
export LD_LIBRARY_PATH="$folder/usr/lib/$architecture:$folder/lib/$architecture"
exec "$folder/usr/lib/postgresql/{version}/bin/{name}" "$@"
"""


class PostgreSQL:
    """The server ``postgres``; ``initdb``, ``pg_ctl``, ``psql`` and ``pg_dump`` are in the same folder.

    Each is a script that sets the path of the libraries. The folder may be moved as a whole.
    """

    def find(self) -> Path | None:
        """Return the server if it is in the cache."""
        return cache.find(_FOLDER, _PROGRAM)

    def fetch(self) -> Path:
        """Return the server; the packages are downloaded if need be, about 45 MB, and APT verifies them.

        Raises:
            cache.Unavailable: if the system is not Debian, or the download fails or takes too long.
        """
        if found := self.find():
            return found
        return cache.keep(_FOLDER, _PROGRAM, _unpack, lock_timeout=3 * debian_closure.STEP_TIMEOUT)


def _unpack(folder: Path) -> None:
    debian_closure.unpack(folder, "PostgreSQL", _PACKAGES, without=_NOT_NEEDED)
    for path in (path for pattern in _NOT_USED for path in folder.glob(pattern)):
        shutil.rmtree(path)
    for path in folder.glob(_JIT):
        path.unlink()
    [installation] = folder.glob("usr/lib/postgresql/*")

    (folder / "programs").mkdir()
    for name in _PROGRAMS:
        script = folder / "programs" / name
        script.write_text(_SCRIPT.format(version=installation.name, name=name))
        script.chmod(0o755)
        cache.check_runs(script)


PROGRAM = PostgreSQL()
