"""Test that a notification carries the evidence at the time of sending, not at the time the alert fired."""

from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import EngineHarness, a_fault, a_run, alerts, bad, good
from support.alerting.groups import advance


def rate_limited(number: int):
    """Build a run that ended with HTTP 429."""
    return a_run(number, OutcomeKind.FAILED, a_fault(FaultKind.RATE_LIMITED))


def test_repeat_notification_has_current_evidence() -> None:
    """A repeat notification has the counts and faults since the first failure and the latest message."""
    harness = EngineHarness(alerts(repeat_interval="10m"))
    harness.observe(bad, bad, bad)
    trigger = harness.deliver()
    harness.observe(*[rate_limited] * 20, good, rate_limited)
    advance(harness, 600)
    again = harness.deliver()
    assert trigger is not None
    assert again is not None
    first, then = trigger.members[0].evidence, again.members[0].evidence
    assert (3, 3, {"stalled": 3}, {"provider": 3}) == (first.bad, first.total, first.faults, first.blames)
    assert (24, 25, {"stalled": 3, "rate_limited": 21}, {"provider": 3, "quota": 21}) == (
        then.bad,
        then.total,
        then.faults,
        then.blames,
    )
    assert (first.since, rate_limited(0).fault.message) == (then.since, then.message)


def test_resolve_has_the_counts_of_the_whole_outage() -> None:
    """A resolve counts all runs of the outage, including the good runs that resolved it."""
    harness = EngineHarness(alerts())
    harness.observe(bad, bad, bad)
    harness.deliver()
    harness.observe(*[rate_limited] * 7, good, good, good)
    resolve = harness.deliver()
    assert resolve is not None
    assert ("resolve", 10, 13) == (resolve.action, resolve.members[0].evidence.bad, resolve.members[0].evidence.total)


def test_evidence_of_the_next_outage_starts_from_zero() -> None:
    """The evidence of a new outage contains nothing of the previous outage."""
    harness = EngineHarness(alerts())
    harness.observe(bad, bad, bad, good, good, good)
    harness.deliver_all()
    harness.observe(rate_limited, rate_limited, rate_limited)
    trigger = harness.deliver()
    assert trigger is not None
    evidence = trigger.members[0].evidence
    assert (3, 3, {"rate_limited": 3}) == (evidence.bad, evidence.total, evidence.faults)


def test_evidence_survives_a_restart() -> None:
    """Evidence counts are stored and continue after a restart."""
    harness = EngineHarness(alerts(repeat_interval="10m"))
    harness.observe(bad, bad, bad, bad)
    harness.deliver()
    harness.crash()
    harness.observe(bad)
    advance(harness, 600)
    again = harness.deliver()
    assert again is not None
    assert (5, 5) == (again.members[0].evidence.bad, again.members[0].evidence.total)
