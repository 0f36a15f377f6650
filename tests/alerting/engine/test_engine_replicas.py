"""Test the decisions of the engine about runs that several replicas make, each with its own network and clock."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import ConfigRejected, OwnersChanged, RunFinished, Started, Tick
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import BudgetState, OutcomeKind
from support.alerting.builders import NOON, EngineHarness, a_fault, a_run, alerts

UNREACHABLE = FaultKind.CONNECT_FAILED
A, B = (Canary(name=name, target=name, provider=name, interval=30.0, host=name) for name in ("a", "b"))
A2 = Canary(name="a2", target="a", provider="a", interval=30.0, host="a")


def run(harness: EngineHarness, canary: Canary, replica: str, kind: FaultKind | None = None, **changes: Any) -> None:
    """Process a run of ``canary`` by ``replica``, three seconds after the last input."""
    harness.now += 3
    at = changes.pop("at", harness.now - 1)
    outcome = a_run(int(harness.now * 10), *((OutcomeKind.FAILED, a_fault(kind)) if kind else ()))
    names = {"canary": canary.name, "target": canary.target, "provider": canary.provider}
    values = {"started": at, "replica": replica, "duration": 0.5, **names, **changes}
    harness.step(RunFinished(msgspec.structs.replace(outcome, **values)))


def skip(harness: EngineHarness, canary: Canary, replica: str) -> None:
    """Process a run that ``replica`` has skipped because the budget is spent."""
    harness.now += 3
    outcome = a_run(int(harness.now * 10), OutcomeKind.SKIPPED, reason="budget", budget=BudgetState.EXHAUSTED)
    values = {"canary": canary.name, "started": harness.now, "replica": replica}
    harness.step(RunFinished(msgspec.structs.replace(outcome, **values)))


def open_rules(harness: EngineHarness) -> list[str]:
    """Return the rules of the open incidents, sorted."""
    return sorted(incident.rule for incident in harness.open_incidents)


# ---- CanaryEgressDown


def test_replica_without_egress_is_reported_as_such_and_not_as_an_outage_of_providers() -> None:
    """A replica that reaches no host fires ``CanaryEgressDown``, although another one reaches the same hosts."""
    other = Canary(name="b2", target="b", provider="b", interval=30.0, host="b")
    harness = EngineHarness(alerts(), A, B, A2, other)
    for _ in range(2):
        for canary in (A, B):
            run(harness, canary, "pod-1", UNREACHABLE)
        for canary in (A2, other):
            run(harness, canary, "pod-2")
    [incident] = harness.open_incidents
    assert ("CanaryEgressDown", ("pod-1",)) == (incident.rule, incident.evidence.replicas)
    message = "from replica pod-1, the host a is unreachable, and other replicas reach it; canaries: a"
    assert message == incident.evidence.message  # its canary of the other host has failed once
    assert [("trigger", "CanaryEgressDown")] == harness.deliver_all()
    for _ in range(3):
        run(harness, A, "pod-1", UNREACHABLE)
        run(harness, A2, "pod-2")
    assert (["CanaryEgressDown", "Errors"], []) == (open_rules(harness), harness.deliver_all())


def test_outage_that_a_replica_with_egress_sees_is_notified_beside_egress_down() -> None:
    """``CanaryEgressDown`` of one replica does not mute what another one sees; the alert names the replica."""
    harness = EngineHarness(alerts(), A, B, A2)
    for _ in range(2):
        for canary in (A, B):
            run(harness, canary, "pod-1", UNREACHABLE)
    harness.deliver_all()
    for _ in range(3):
        run(harness, A2, "pod-2", FaultKind.STALLED)
    notification = harness.deliver()
    assert notification is not None
    [member] = notification.members
    assert ("Errors", "a2", ("pod-2",)) == (member.rule, member.canary, member.evidence.replicas)


def test_outage_that_two_replicas_have_seen_is_not_inhibited_by_the_egress_of_one() -> None:
    """A canary that moves to a replica with egress and still fails has an outage of its own."""
    harness = EngineHarness(alerts(), A, B, A2)
    for _ in range(2):
        for canary in (A, B):
            run(harness, canary, "pod-1", UNREACHABLE)
    harness.deliver_all()
    run(harness, A, "pod-2", FaultKind.STALLED)
    assert [("trigger", "Errors")] == harness.deliver_all()


def test_single_host_that_other_replicas_reach_shows_that_egress_is_down() -> None:
    """With canaries of one host only, a replica is without egress if another one has reached the host since."""
    harness = EngineHarness(alerts(rules={}), A, A2)
    for _ in range(3):
        run(harness, A, "pod-1", UNREACHABLE)
        run(harness, A2, "pod-2", UNREACHABLE)
    assert [] == open_rules(harness)  # no replica reaches it: an outage of the provider
    run(harness, A2, "pod-2")
    run(harness, A, "pod-1", UNREACHABLE)
    [incident] = harness.open_incidents
    message = "from replica pod-1, the host a is unreachable, and other replicas reach it; canaries: a"
    assert ("CanaryEgressDown", message) == (incident.rule, incident.evidence.message)


def test_egress_down_resolves_when_the_replica_reaches_a_host() -> None:
    """A run of another replica does not resolve ``CanaryEgressDown``; one of that replica does."""
    harness = EngineHarness(alerts(rules={}), A, B, A2)
    for _ in range(2):
        for canary in (A, B):
            run(harness, canary, "pod-1", UNREACHABLE)
    for _ in range(3):
        run(harness, A2, "pod-2")
    assert ["CanaryEgressDown"] == open_rules(harness)
    run(harness, B, "pod-1")
    assert [] == open_rules(harness)


def test_egress_down_resolves_when_others_run_all_canaries_of_the_replica() -> None:
    """``CanaryEgressDown`` of a replica that has ended resolves once its canaries have moved to others."""
    harness = EngineHarness(alerts(rules={}), A, B)
    for _ in range(2):
        for canary in (A, B):
            run(harness, canary, "pod-1", UNREACHABLE)
    run(harness, A, "pod-2")
    assert ["CanaryEgressDown"] == open_rules(harness)
    run(harness, B, "pod-2")
    assert [] == open_rules(harness)


def test_egress_down_of_two_replicas_resolves_with_the_second() -> None:
    """``CanaryEgressDown`` names all replicas without egress, and resolves when none is left."""
    canaries = [
        Canary(name=f"{host}{number}", target=host, provider=host, interval=30.0, host=host)
        for number in (1, 2)
        for host in "ab"
    ]
    harness = EngineHarness(alerts(rules={}), *canaries)
    for _ in range(2):
        for number, canary in enumerate(canaries):
            run(harness, canary, f"pod-{number // 2}", UNREACHABLE)
    [incident] = harness.open_incidents
    assert ("pod-0", "pod-1") == incident.evidence.replicas
    assert "from replica pod-0, 2 hosts are unreachable: a, b; canaries: a1, b1" == incident.evidence.message
    run(harness, canaries[0], "pod-0")
    [incident] = harness.open_incidents
    assert ("pod-1",) == incident.evidence.replicas
    run(harness, canaries[2], "pod-1")
    assert [] == open_rules(harness)


def test_unreachable_runs_of_two_replicas_are_counted_apart() -> None:
    """One failure by each of two replicas is a glitch of each, not two failures in a row."""
    harness = EngineHarness(alerts(rules={}), A, B)
    for replica in ("pod-1", "pod-2"):
        for canary in (A, B):
            run(harness, canary, replica, UNREACHABLE)
    assert [] == open_rules(harness)


# ---- BudgetExhausted


def test_replica_that_notices_the_spent_budget_late_does_not_resolve_it() -> None:
    """A run of a replica that has not noticed yet that the budget is spent does not resolve ``BudgetExhausted``."""
    harness = EngineHarness(alerts(rules={}), A, B)
    skip(harness, A, "pod-1")
    run(harness, B, "pod-2", budget=BudgetState.WITHIN)
    assert ["BudgetExhausted"] == open_rules(harness)
    harness.now += 10
    run(harness, B, "pod-2", budget=BudgetState.WITHIN)
    assert [] == open_rules(harness)
    skip(harness, A, "pod-1")  # its day ends some seconds later
    assert [] == open_rules(harness)
    harness.now += 10
    skip(harness, A, "pod-1")
    assert ["BudgetExhausted"] == open_rules(harness)


# ---- NoData


def no_data_harness() -> EngineHarness:
    """Build a harness with ``NoData`` for a canary that runs every 30 seconds, and one run."""
    harness = EngineHarness(alerts(rules={"NoData": {}}), A)
    harness.step(Started())
    run(harness, A, "pod-1")
    return harness


def seconds_until_no_data(harness: EngineHarness, tick: Tick, limit: int = 600) -> float:
    """Tick every five seconds until ``NoData`` fires; return the seconds since the last run."""
    started = harness.now
    while not harness.open_incidents and harness.now < started + limit:
        harness.now += 5
        harness.step(tick)
    return harness.now - started


def test_no_data_waits_for_runs_that_reach_the_database_late() -> None:
    """``NoData`` fires later by the time by which runs may be evaluated late."""
    assert 20 == seconds_until_no_data(no_data_harness(), Tick(20.0)) - seconds_until_no_data(no_data_harness(), Tick())


def test_no_data_counts_anew_when_another_replica_makes_the_runs() -> None:
    """Runs are not missing that nobody was there to make; those of the new owner are."""
    harness = no_data_harness()
    for _ in range(17):
        harness.now += 5
        harness.step(Tick())
    assert [] == open_rules(harness)
    harness.step(OwnersChanged(frozenset({A.identity})))
    assert 100 < seconds_until_no_data(harness, Tick()) < 160


def test_takeover_does_not_miss_what_the_predecessor_has_seen() -> None:
    """After a takeover ``NoData`` counts from the takeover on."""
    harness = no_data_harness()
    harness.now += 3600
    harness.crash()
    harness.step(Started())
    harness.step(Tick(20.0))
    assert [] == open_rules(harness)


# ---- ReloadFailed


@pytest.mark.parametrize(("is_applied", "expected"), [(True, []), (False, ["ReloadFailed"])])
def test_reload_failed_is_about_the_file_of_the_owner(is_applied: bool, expected: list[str]) -> None:
    """A successor resolves ``ReloadFailed`` of its predecessor, unless its own file is rejected, too."""
    harness = EngineHarness(alerts(rules={}), A)
    harness.step(ConfigRejected("line 3: unknown key"))
    harness.crash()
    harness.step(Started(is_config_applied=is_applied))
    assert expected == open_rules(harness)


# ---- clocks


@pytest.mark.parametrize("skew", [-5.0, 5.0])
def test_owner_whose_clock_differs_opens_and_resolves_once(skew: float) -> None:
    """A successor whose clock differs by seconds sends one resolve, which is not earlier than the opening."""
    harness = EngineHarness(alerts(), A)
    for _ in range(3):
        run(harness, A, "pod-1", FaultKind.STALLED)
    assert [("trigger", "Errors")] == harness.deliver_all()
    harness.now += skew
    harness.crash()
    harness.step(Started())
    for number in range(3):
        harness.now += 1
        run(harness, A, "pod-2", at=harness.now + skew, duration=0.5 if number else 0.1)
    assert [("resolve", "Errors")] == harness.deliver_all()
    [incident] = harness.state.incidents.values()
    assert incident.resolved is not None
    assert incident.opened <= incident.resolved


def test_notifications_of_two_owners_have_different_ids_though_the_clock_of_the_second_is_behind() -> None:
    """Two outages have their own ids, although the second owner's clock shows the time of the first outage."""
    harness = EngineHarness(alerts(), A)
    ids = set()
    for _ in range(2):
        harness.now = NOON
        harness.crash()
        harness.step(Started())
        for kind in (FaultKind.STALLED, None):
            for _ in range(3):
                run(harness, A, "pod-1", kind)
            notification = harness.deliver()
            assert notification is not None
            ids.add(notification.id)
    assert 4 == len(ids)


def test_egress_outage_of_thousands_of_canaries_is_found_at_once() -> None:
    """With many canaries, not each run examines all of them; an outage is found within a few runs all the same."""
    hosts = [
        Canary(name=f"c{number}", target="t", provider="t", interval=30.0, host=f"host-{number % 3}")
        for number in range(3000)
    ]
    harness = EngineHarness(alerts(rules={}), *hosts)
    state, now = harness.state, harness.now
    for number in range(60):
        canary = hosts[number % 30]
        at = now - 60 + number
        outcome = a_run(number, OutcomeKind.FAILED, a_fault(UNREACHABLE), started=at, duration=0.5)
        outcome = msgspec.structs.replace(outcome, canary=canary.name, run_id=f"run-{number:08}")
        state, _ = harness.engine.step(state, RunFinished(outcome), now)
    assert ["CanaryEgressDown"] == [incident.rule for incident in state.incidents.values()]
