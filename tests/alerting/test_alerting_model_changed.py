"""The built-in rule ``ModelChanged``."""

from typing import Any

from streamcanary.model.outcome import Attempt, OutcomeKind
from support.alerting.builders import EngineHarness, a_fault, a_run, alerts, bad, skipped

CHANGES: dict[str, Any] = {"ModelChanged": {"enabled": True}}


def firing_rules(harness: EngineHarness) -> list[str]:
    """Return the names of the firing rules."""
    return [incident.rule for incident in harness.open_incidents]


def answered(model: str, **changes: Any) -> Any:
    """Return a function that builds a run that ``model`` answered."""
    return lambda number: a_run(number, model=model, **changes)


def test_model_changed_is_off_by_default() -> None:
    """A change of the model opens no incident unless the rule is enabled, and it is a ticket then."""
    for rules, firing in (({}, []), (CHANGES, [("ModelChanged", "ticket")])):
        harness = EngineHarness(alerts(rules=rules))
        harness.observe(answered("a"), answered("b"))
        assert firing == [(incident.rule, incident.labels["severity"]) for incident in harness.open_incidents]


def test_model_changed_fires_at_the_change_and_resolves_after_ten_answers_of_one_model() -> None:
    """The alert names both models; the tenth answer in a row of the new one resolves it, as the change is no news."""
    harness = EngineHarness(alerts(rules=CHANGES))
    harness.observe(answered("a"), answered("a"), answered("b"))
    (incident,) = harness.open_incidents
    assert "b answers, and a answered the run before" == incident.evidence.message
    harness.observe(*[answered("b")] * 9)
    assert ["ModelChanged"] == firing_rules(harness)
    harness.observe(answered("b"))
    assert [] == firing_rules(harness)


def test_model_changed_survives_a_restart() -> None:
    """A change while the daemon was not running is found, because the model is stored with the canary."""
    harness = EngineHarness(alerts(rules=CHANGES))
    harness.observe(answered("a"))
    harness.crash()
    harness.observe(answered("b"))
    assert ["ModelChanged"] == firing_rules(harness)


def test_an_answer_to_a_request_for_another_model_is_no_change() -> None:
    """After a restart with another ``model`` of the canary, its answer is not compared with the one before."""
    harness = EngineHarness(alerts(rules=CHANGES))

    def attempt(route: str) -> tuple[Attempt, ...]:
        return (Attempt(number=1, route=route, started=0.0, duration=1.0),)

    harness.observe(answered("a", attempts=attempt("ask-a")))
    harness.crash()
    harness.observe(answered("b", attempts=attempt("ask-b")))
    assert [] == firing_rules(harness)
    harness.crash()
    harness.observe(answered("c", attempts=attempt("ask-b")))
    assert ["ModelChanged"] == firing_rules(harness)


def test_runs_without_an_answer_of_the_primary_do_not_change_the_model() -> None:
    """A failure, a fallback and a skipped run neither fire nor are forgotten over."""
    harness = EngineHarness(alerts(rules=CHANGES))
    fallback = answered("c", kind=OutcomeKind.FAILED_OVER, fault=a_fault(), degraded="fallback")
    harness.observe(answered("a"), bad, fallback, skipped, answered("a"))
    assert [] == firing_rules(harness)
    harness.observe(bad, answered("b"))
    assert ["ModelChanged"] == firing_rules(harness)


def test_a_provider_that_alternates_between_models_notifies_once() -> None:
    """While the model changes at each run, the alert keeps firing: one notification, no flapping."""
    harness = EngineHarness(alerts(rules=CHANGES))
    for number in range(40):
        harness.observe(answered("ab"[number % 2]))
    assert [("trigger", "ModelChanged")] == harness.deliver_all()
