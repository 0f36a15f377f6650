"""The hosts that a request may name: protects against DNS rebinding.

A website can let its own name resolve to the address of the daemon; a browser then sends requests of that website to
the daemon, and lets the website read the responses. Such a request has the name of the website in ``Host``.
"""

import contextlib
import ipaddress
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

_IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_MAX_NAME_LENGTH = 253  # characters of a host name in DNS


def _check_host(value: str) -> str:
    name = value.strip().lower().rstrip(".")
    if _ip_address(name) is not None:
        return name
    pattern = name.removeprefix("*.")
    if not pattern or len(pattern) > _MAX_NAME_LENGTH or not _NAME_CHARACTERS.issuperset(pattern) or ".." in pattern:
        raise ValueError(
            "must be a host name or an IP address without scheme and port, such as streamcanary.monitoring.svc or "
            "*.example.com"
        )
    return name


AllowedHost = Annotated[str, AfterValidator(_check_host)]
"""A host name, ``*.`` and a domain for all names below it, or an IP address; in lower case."""


class AllowedHosts:
    """The hosts by which the server is known: names of loopback, the address it listens on, and ``further`` ones."""

    def __init__(self, bound: str, further: Iterable[AllowedHost] = ()) -> None:
        self._names = {"localhost", bound.lower().rstrip("."), *further}
        self._domains = tuple(name[1:] for name in self._names if name.startswith("*."))
        self._addresses = {address for name in self._names if (address := _ip_address(name)) is not None}

    def allows(self, host: str, local_address: str | None) -> bool:
        """Return whether ``host``, the header, may be used on a connection to ``local_address``; any port may.

        The address that the client has connected to is allowed, for a server that listens on all addresses.
        """
        name = host_name(host)
        if is_loopback(name) or name in self._names or (name and name.endswith(self._domains)):
            return True
        address = _ip_address(name)
        return address is not None and (address in self._addresses or address == _ip_address(local_address or ""))


def host_name(host: str) -> str:
    """Return the name or address in a ``Host`` header, in lower case, without port; empty if it is not valid."""
    name, bracket, port = host.strip().rpartition("]") if host.strip().startswith("[") else host.strip().partition(":")
    if bracket == "]":
        name, port = name[1:], port.removeprefix(":")
    return name.lower().rstrip(".") if not port or (port.isascii() and port.isdigit()) else ""


def is_loopback(name: str) -> bool:
    """Return whether ``name`` is ``localhost`` or an address of loopback."""
    address = _ip_address(name)
    return name == "localhost" if address is None else address.is_loopback


def _ip_address(name: str) -> _IpAddress | None:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return mapped or address
    return None
