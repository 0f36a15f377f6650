"""``BehindSchedule``: the daemon is too slow to make all runs on time."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import RunFinished, Started, Tick
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import EngineHarness, a_run, alerts


def harness_of(**rules: Any) -> EngineHarness:
    harness = EngineHarness(alerts(rules=rules))
    harness.step(Started())
    return harness


def end_run(
    harness: EngineHarness, *, behind: bool, late: float = 0.0, kind: OutcomeKind = OutcomeKind.OK, **changes: Any
) -> None:
    """Let a run end, three seconds after the last input."""
    harness.now += 3
    outcome = a_run(int(harness.now * 10), kind, **changes)
    times = {"scheduled": harness.now - late - 0.5, "started": harness.now - 0.5, "duration": 0.5}
    harness.step(RunFinished(msgspec.structs.replace(outcome, behind_schedule=behind, **times)))


def shed(harness: EngineHarness, **changes: Any) -> None:
    """Let a run be skipped because the daemon is behind schedule."""
    end_run(harness, behind=True, late=2.5, kind=OutcomeKind.SKIPPED, reason="behind_schedule", **changes)


def open_rules(harness: EngineHarness) -> list[str]:
    return sorted(incident.rule for incident in harness.open_incidents)


def test_alert_fires_with_what_was_late() -> None:
    """A run of a daemon that is behind fires the alert; the message says which run was how late, and was skipped."""
    harness = harness_of()
    shed(harness)
    [incident] = harness.open_incidents
    assert ("BehindSchedule", "schedule", "page") == (incident.rule, incident.subject, incident.labels["severity"])
    assert "a run of chat was 2.5 s late, and was skipped" == incident.evidence.message
    assert [("trigger", "BehindSchedule")] == harness.deliver_all()


def test_alert_resolves_after_two_minutes_on_time() -> None:
    """It resolves with the first run on time that ends two minutes after the last that was behind, and not before."""
    harness = harness_of()
    shed(harness)
    harness.deliver_all()
    behind_since = harness.now
    while harness.now + 3 < behind_since + 120:
        end_run(harness, behind=False)
    assert ["BehindSchedule"] == open_rules(harness)
    end_run(harness, behind=False)
    assert [] == open_rules(harness)
    assert [("resolve", "BehindSchedule")] == harness.deliver_all()


def test_replica_on_time_does_not_resolve_the_alert_of_another() -> None:
    """While one replica is behind, the runs of another one do not resolve the alert, which names the first."""
    harness = harness_of()
    for _ in range(100):
        shed(harness, replica="pod-1")
        end_run(harness, behind=False, replica="pod-2")
    [incident] = harness.open_incidents
    assert True is incident.evidence.message.startswith("replica pod-1: ")
    assert 1 == len([each for each in harness.state.incidents.values() if each.rule == "BehindSchedule"])


def test_alert_stays_open_after_a_restart_until_runs_are_on_time() -> None:
    """After a restart it is open until the daemon has made runs on time for two minutes."""
    harness = harness_of()
    shed(harness)
    harness.now += 300
    harness.step(Started())
    end_run(harness, behind=False)
    assert ["BehindSchedule"] == open_rules(harness)
    for _ in range(24):
        harness.now += 5
        harness.step(Tick())
    end_run(harness, behind=False)
    assert [] == open_rules(harness)


def test_no_run_that_is_skipped_resolves_it() -> None:
    """Runs that are skipped for another reason do not show that the daemon keeps up."""
    harness = harness_of()
    shed(harness)
    harness.now += 600
    end_run(harness, behind=False, kind=OutcomeKind.SKIPPED, reason="overlap")
    assert ["BehindSchedule"] == open_rules(harness)


def test_runs_that_are_skipped_are_no_samples() -> None:
    """Whatever is skipped because the daemon is slow fires no alert about a provider."""
    detector = {"type": "consecutive", "failures": 1}
    harness = harness_of(Errors={"measure": "errors", "detector": detector})
    for _ in range(50):
        shed(harness)
    assert ["BehindSchedule"] == open_rules(harness)


def test_missing_results_are_muted() -> None:
    """``NoData`` of canaries whose runs are skipped is muted, once ``BehindSchedule`` was notified."""
    harness = harness_of(NoData={})
    shed(harness)
    assert [("trigger", "BehindSchedule")] == harness.deliver_all()
    for _ in range(60):
        harness.now += 5
        harness.step(Tick())
        shed(harness)
    assert ["BehindSchedule", "NoData"] == open_rules(harness)
    assert [] == harness.deliver_all()


def test_rule_can_be_disabled() -> None:
    """``enabled: false`` disables it, as any built-in rule."""
    harness = harness_of(BehindSchedule={"enabled": False})
    shed(harness)
    assert [] == harness.deliver_all()
