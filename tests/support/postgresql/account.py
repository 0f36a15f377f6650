"""The operating system account of the PostgreSQL server in tests, which refuses to run as root."""

import os
import pwd
import shutil
from pathlib import Path
from typing import Any

_ACCOUNTS = ("postgres", "nobody")  # the first that exists


def server_account() -> pwd.struct_passwd | None:
    """Return the account that runs the server, or ``None`` for the user of the tests.

    Raises:
        RuntimeError: if the tests run as root, and the machine has no other account for a server.
    """
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(_ACCOUNTS)}")


def popen_options(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return the options of ``subprocess`` that run a command as ``account``."""
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def readable_copy(source: Path, target: Path) -> None:
    """Make a copy of a folder that every account can read; its files are hard links where that is possible."""
    shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)
    target.chmod(0o755)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system
        shutil.copy2(source, target, follow_symlinks=False)
