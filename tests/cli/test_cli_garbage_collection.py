"""Garbage collection of the daemon: what lives as long as it is exempt, so that pauses stay short."""

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest

from streamcanary.cli.commands.running.garbage_collection import (
    collect_former_configuration,
    exempt_existing,
    exempt_repeatedly,
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Let the collector be as before."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


class Kept:
    """An object that the collector tracks."""


def is_visited(kept: object) -> bool:
    """Return whether a full collection visits ``kept``."""
    return any(each is kept for each in gc.get_objects())


def test_what_exists_is_exempt_and_what_comes_later_is_not() -> None:
    """A full collection visits only what was created after the exemption."""
    before = [Kept()]
    exempt_existing()
    after = [Kept()]
    assert (False, True) == (is_visited(before[0]), is_visited(after[0]))


def test_what_a_reload_has_replaced_is_collected() -> None:
    """A cycle that was exempt is collected after a reload."""
    kept = Kept()
    kept.itself = kept  # type: ignore[attr-defined]
    exempt_existing()
    del kept
    gc.collect()
    assert 1 == sum(type(each) is Kept for each in _frozen())
    exempt_existing()
    collect_former_configuration()
    assert 0 == sum(type(each) is Kept for each in _frozen())


def _frozen() -> list[object]:
    """Return the objects that are exempt, which are not any more after that."""
    gc.unfreeze()
    return gc.get_objects()


async def test_garbage_is_not_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle that is no longer used is collected before the next exemption, however old it is."""
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda _, callback: waiting.append(callback))
    exempt_repeatedly(20)
    kept = Kept()
    kept.itself = kept  # type: ignore[attr-defined]
    gc.collect()  # it survives as an old object
    del kept
    waiting.pop()()
    assert 0 == sum(type(each) is Kept for each in _frozen())


@pytest.mark.parametrize(("canaries", "expected"), [(20, 5_000), (10_000, 10_000), (1_000_000, 20_000)])
async def test_collections_are_rarer_with_many_canaries(canaries: int, expected: int) -> None:
    """With more canaries, more objects are created between two collections; a small daemon has a lower bound."""
    exempt_repeatedly(canaries)
    assert expected == gc.get_threshold()[0]


async def test_exemptions_are_repeated_at_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end after about a day: what was in use at each of them is not collected later, so they are few."""
    waiting: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda delay, callback: waiting.append((delay, callback))
    )
    exempt_repeatedly(20)
    delays = []
    while waiting:
        delay, exempt = waiting.pop()
        delays.append(delay)
        kept = [Kept()]
        exempt()
        assert False is is_visited(kept[0])
    assert (5.0, 10.0, 20.0) == tuple(delays[:3])
    assert True is (len(delays) < 20 and sum(delays) > 86_400)
