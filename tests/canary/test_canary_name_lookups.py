"""Lookups of names: one at a time for each, and none waits for another."""

import asyncio
import errno
import os
import resource
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from streamcanary.transport.name_lookups import NameLookups


class Resolver:
    """Answers at once, except for names of the zone ``dead``, which are answered when the test ends."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.end = threading.Event()

    def getaddrinfo(self, host: str, *_: Any) -> list[Any]:
        self.calls[host] += 1
        if host.endswith(".dead"):
            self.end.wait(30)
        return [host]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.end.set()


async def look_up(host: str) -> Any:
    return await asyncio.get_running_loop().getaddrinfo(host, 443)


async def give_up_on(host: str) -> None:
    """Wait for a lookup for a short time, as a connect timeout does."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(look_up(host), 0.05)


async def test_calls_to_one_host_share_a_lookup(resolver: Resolver) -> None:
    """A host whose name server is dead has one lookup, however many calls give up on it; other hosts are resolved."""
    with NameLookups(max_pending=3):
        await asyncio.gather(*(give_up_on("a.dead") for _ in range(200)))
        await asyncio.gather(*(give_up_on("a.dead") for _ in range(200)))
        assert ["b.example"] == await look_up("b.example")
        assert ["b.example"] == await look_up("b.example")
        assert {"a.dead": 1, "b.example": 2} == resolver.calls
        resolver.end.set()
        assert ["a.dead"] == await look_up("a.dead")


async def test_lookup_without_a_thread_fails_at_once(resolver: Resolver) -> None:
    """With too many names that are not answered, a further one fails as a shortage of this process, without a wait."""
    with NameLookups(max_pending=2):
        await asyncio.gather(give_up_on("a.dead"), give_up_on("b.dead"))
        with pytest.raises(OSError, match="2 name lookups have not been answered") as caught:
            await look_up("c.example")
        assert errno.ENOBUFS == caught.value.errno
        resolver.end.set()


async def test_lookup_without_a_file_descriptor_is_no_dns_error() -> None:
    """A lookup that fails because no file can be opened says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with NameLookups():
        assert await look_up("localhost")
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            with pytest.raises(OSError) as caught:
                await look_up("no-such-name.invalid")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (errno.EMFILE, False) == (caught.value.errno, isinstance(caught.value, socket.gaierror))


async def test_loop_has_its_own_lookups_afterwards() -> None:
    """Leaving the lookups gives the event loop its own method back."""
    with NameLookups():
        assert "getaddrinfo" in vars(asyncio.get_running_loop())
    assert "getaddrinfo" not in vars(asyncio.get_running_loop())
