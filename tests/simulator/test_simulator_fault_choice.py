"""Which behaviour a model's name asks for, and how often."""

import pytest

from streamcanary.simulator import Simulator
from streamcanary.simulator.faults.fault_spec import FaultSelector, FaultSpec, UnknownFault
from support.servers.simulator import FAST_TIMINGS, fetch_raw


def faults(text: str, count: int, chooser: FaultSelector | None = None) -> list[str]:
    """Return what the first ``count`` requests of ``text`` get."""
    chooser, choice = chooser or FaultSelector(), FaultSpec.parse(text)
    return [chooser.next_fault(text, choice) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("cut", FaultSpec(fault="cut")),
        ("500@2", FaultSpec(fault="500", first_requests=2)),
        ("cut%30", FaultSpec(fault="cut", percent=30)),
        ("cut%2.5~7", FaultSpec(fault="cut", percent=2.5, seed=7)),
        ("429-retry-after%50~1@9", FaultSpec(fault="429-retry-after", percent=50, seed=1, first_requests=9)),
    ],
)
def test_a_name_spells_a_choice(text: str, choice: FaultSpec) -> None:
    """A fault, how likely, from which seed, for how many requests."""
    assert FaultSpec.parse(text) == choice


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
def test_a_name_that_spells_none_is_told_so(text: str, message: str) -> None:
    """And what would be right."""
    with pytest.raises(UnknownFault) as raised:
        FaultSpec.parse(text)
    assert str(raised.value).startswith(message)


def test_the_first_requests_only() -> None:
    """``@2``: two faults, then ok for good."""
    assert faults("500@2", 5) == ["500", "500", "ok", "ok", "ok"]


def test_each_name_is_counted_by_itself() -> None:
    """``sim-500@1`` and ``sim-500@2`` know nothing of each other."""
    chooser = FaultSelector()
    assert [faults("500@1", 2, chooser), faults("500@2", 3, chooser)] == [["500", "ok"], ["500", "500", "ok"]]


def test_the_same_seed_gives_the_same_sequence() -> None:
    """After every start; without a seed, it is 0."""
    assert faults("cut%30", 50) == faults("cut%30", 50) == faults("cut%30~0", 50)


def test_another_seed_gives_another_sequence() -> None:
    """Of the same probability."""
    assert faults("cut%30~7", 50) != faults("cut%30", 50)


@pytest.mark.parametrize(("percent", "least", "most"), [(0, 0, 0), (30, 250, 350), (100, 1000, 1000)])
def test_a_probability_is_kept(percent: int, least: int, most: int) -> None:
    """Of a thousand requests, about as many as it says."""
    assert least <= faults(f"cut%{percent}", 1000).count("cut") <= most


def test_both_at_once() -> None:
    """``%100@3`` dices for the first three alone."""
    assert faults("cut%100@3", 5) == ["cut", "cut", "cut", "ok", "ok"]


def test_names_without_end_are_forgotten() -> None:
    """After a thousand further names, the first is counted anew."""
    chooser = FaultSelector()
    assert faults("500@1", 2, chooser) == ["500", "ok"]
    for number in range(2, 1002):
        faults(f"500@{number}", 1, chooser)
    assert faults("500@1", 2, chooser) == ["500", "ok"]


async def test_the_server_plays_what_was_chosen() -> None:
    """On the wire, and in the record of requests."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        statuses = [(await fetch_raw(simulator, "sim-500@2")).status for _ in range(3)]
        assert statuses == [500, 500, 200]
        assert [request.fault for request in simulator.requests] == ["500", "500", "ok"]
