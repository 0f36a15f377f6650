"""Parsing of fault specifications in model names, and selection of faults."""

import pytest

from streamcanary.simulator import Simulator
from streamcanary.simulator.faults.fault_spec import FaultSelector, FaultSpec, UnknownFault
from support.servers.simulator import FAST_TIMINGS, fetch_raw


def faults(text: str, count: int, selector: FaultSelector | None = None) -> list[str]:
    """Return the faults of the first ``count`` requests of ``text``."""
    selector, spec = selector or FaultSelector(), FaultSpec.parse(text)
    return [selector.next_fault(text, spec) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("cut", FaultSpec(fault="cut")),
        ("500@2", FaultSpec(fault="500", first_requests=2)),
        ("cut%30", FaultSpec(fault="cut", percent=30)),
        ("cut%2.5~7", FaultSpec(fault="cut", percent=2.5, seed=7)),
        ("429-retry-after%50~1@9", FaultSpec(fault="429-retry-after", percent=50, seed=1, first_requests=9)),
    ],
)
def test_fault_spec_is_parsed(text: str, spec: FaultSpec) -> None:
    """A specification is a fault with an optional percentage, seed and number of requests."""
    assert FaultSpec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a fault: ''; write one like cut, 500@2, cut%30 or cut%30~7"),
        ("cut@", "not a fault: 'cut@'; write one like cut, 500@2, cut%30 or cut%30~7"),
        ("cut@-1", "not a fault: 'cut@-1'; write one like cut, 500@2, cut%30 or cut%30~7"),
        ("cut~7", "not a fault: 'cut~7'; write one like cut, 500@2, cut%30 or cut%30~7"),
        ("cut%101", "a probability is at most 100 per cent, not 101"),
        ("sing", "no fault is called 'sing'; there are: ok, slow-first-token, "),
    ],
)
def test_invalid_fault_spec_is_rejected(text: str, message: str) -> None:
    """An invalid specification is rejected with valid examples."""
    with pytest.raises(UnknownFault) as raised:
        FaultSpec.parse(text)
    assert str(raised.value).startswith(message)


def test_first_requests_get_the_fault() -> None:
    """``@2`` means two faults, and then ok."""
    assert faults("500@2", 5) == ["500", "500", "ok", "ok", "ok"]


def test_requests_are_counted_per_spec() -> None:
    """``sim-500@1`` and ``sim-500@2`` are counted separately."""
    selector = FaultSelector()
    assert [faults("500@1", 2, selector), faults("500@2", 3, selector)] == [["500", "ok"], ["500", "500", "ok"]]


def test_same_seed_gives_the_same_sequence() -> None:
    """The same seed gives the same sequence after every start; the default seed is 0."""
    assert faults("cut%30", 50) == faults("cut%30", 50) == faults("cut%30~0", 50)


def test_different_seed_gives_a_different_sequence() -> None:
    """A different seed gives a different sequence."""
    assert faults("cut%30~7", 50) != faults("cut%30", 50)


@pytest.mark.parametrize(("percent", "least", "most"), [(0, 0, 0), (30, 250, 350), (100, 1000, 1000)])
def test_percentage_is_respected(percent: int, least: int, most: int) -> None:
    """About the given percentage of a thousand requests gets the fault."""
    assert least <= faults(f"cut%{percent}", 1000).count("cut") <= most


def test_percentage_and_count_combine() -> None:
    """``%100@3`` applies the percentage to the first three requests only."""
    assert faults("cut%100@3", 5) == ["cut", "cut", "cut", "ok", "ok"]


def test_counters_are_bounded() -> None:
    """After a thousand other specifications, the first is counted from zero again."""
    selector = FaultSelector()
    assert faults("500@1", 2, selector) == ["500", "ok"]
    for number in range(2, 1002):
        faults(f"500@{number}", 1, selector)
    assert faults("500@1", 2, selector) == ["500", "ok"]


async def test_server_produces_the_selected_fault() -> None:
    """The server responds with the selected fault, and records it."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        statuses = [(await fetch_raw(simulator, "sim-500@2")).status for _ in range(3)]
        assert statuses == [500, 500, 200]
        assert [request.fault for request in simulator.requests] == ["500", "500", "ok"]
