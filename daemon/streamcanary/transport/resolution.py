"""Resolves host names, as a step of its own that the trace of a request shows.

Its events are ``dns.resolve_host.started`` and ``.complete`` or ``.failed``.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from streamcanary.transport.happy_eyeballs import interleave


@lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Return whether ``host`` is an IP address, which needs no resolution."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


Emit = Callable[[str, dict[str, Any]], Awaitable[None] | None]
"""Takes the name of an event, and its details; what it returns is awaited, unless it is ``None``."""


async def emit_event(emit: Emit, name: str, info: dict[str, Any]) -> None:
    """Pass an event to ``emit``."""
    if (waiting := emit(name, info)) is not None:
        await waiting


async def resolve(host: str, port: int, emit: Emit) -> list[str]:
    """Return the addresses of ``host`` in the order in which they are tried; ``emit`` takes the events.

    Raises:
        OSError: if there are none.
    """
    await emit_event(emit, "dns.resolve_host.started", {"host": host, "port": port})
    try:
        # As bytes, so that the name is not encoded again: an internationalized one has its ASCII form already.
        found = await asyncio.get_running_loop().getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        await emit_event(emit, "dns.resolve_host.failed", {"exception": error})
        raise
    addresses = interleave([(family, str(address[0])) for family, _, _, _, address in found])
    await emit_event(emit, "dns.resolve_host.complete", {"return_value": addresses})
    return addresses
