"""The TCP ports on which a process listens."""

import contextlib
from pathlib import Path

_LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which process ``pid`` listens, as the kernel has them."""
    proc = Path(f"/proc/{pid}")
    sockets = set()
    for descriptor in (proc / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            sockets.add(str(descriptor.readlink()))
    found = set()
    for line in ((proc / "net/tcp").read_text() + (proc / "net/tcp6").read_text()).splitlines():
        address, state, inode = (*line.split()[1:4:2], line.split()[9])
        if state == _LISTENING and f"socket:[{inode}]" in sockets:
            found.add(int(address.rpartition(":")[2], 16))
    return found
