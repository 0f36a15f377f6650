"""What a page says is as it is when it is told, not as it was when the alert fired."""

from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import EngineHarness, a_fault, a_run, alerts, bad, good
from support.alerting.groups import advance


def limited(number: int):
    """Build a run that ended with 429."""
    return a_run(number, OutcomeKind.FAILED, a_fault(FaultKind.RATE_LIMITED))


def test_a_repetition_says_what_is_wrong_by_then() -> None:
    """K of n since the first failure, the faults since then, and the last message."""
    world = EngineHarness(alerts(repeat_interval="10m"))
    world.observe(bad, bad, bad)
    page = world.deliver()
    world.observe(*[limited] * 20, good, limited)
    advance(world, 600)
    again = world.deliver()
    assert page is not None
    assert again is not None
    first, then = page.members[0].evidence, again.members[0].evidence
    assert (3, 3, {"stalled": 3}, {"provider": 3}) == (first.bad, first.total, first.faults, first.blames)
    assert (24, 25, {"stalled": 3, "rate_limited": 21}, {"provider": 3, "quota": 21}) == (
        then.bad,
        then.total,
        then.faults,
        then.blames,
    )
    assert (first.since, limited(0).fault.message) == (then.since, then.message)


def test_a_resolve_says_how_much_failed_in_all() -> None:
    """The good runs that ended it among them."""
    world = EngineHarness(alerts())
    world.observe(bad, bad, bad)
    world.deliver()
    world.observe(*[limited] * 7, good, good, good)
    end = world.deliver()
    assert end is not None
    assert ("resolve", 10, 13) == (end.action, end.members[0].evidence.bad, end.members[0].evidence.total)


def test_the_next_outage_counts_from_its_own_beginning() -> None:
    """Nothing of the last one is in it."""
    world = EngineHarness(alerts())
    world.observe(bad, bad, bad, good, good, good)
    world.deliver_all()
    world.observe(limited, limited, limited)
    page = world.deliver()
    assert page is not None
    evidence = page.members[0].evidence
    assert (3, 3, {"rate_limited": 3}) == (evidence.bad, evidence.total, evidence.faults)


def test_what_was_counted_outlives_a_restart() -> None:
    """It is in the store."""
    world = EngineHarness(alerts(repeat_interval="10m"))
    world.observe(bad, bad, bad, bad)
    world.deliver()
    world.crash()
    world.observe(bad)
    advance(world, 600)
    again = world.deliver()
    assert again is not None
    assert (5, 5) == (again.members[0].evidence.bad, again.members[0].evidence.total)
