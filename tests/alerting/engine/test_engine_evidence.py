"""Test the evidence of incidents and how templates render it."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import DiagnosisFinished
from streamcanary.alerting.notify.annotation_templates import TEMPLATE_FIELDS, render_template
from streamcanary.alerting.notify.message import render_alert
from streamcanary.alerting.notify.page_links import LinkSettings
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, EngineHarness, a_fault, a_run, alerts, bad, good

RATIO = {"detector": {"type": "ratio", "over": "10 runs", "threshold": "50%", "min_samples": 5}}


def evidence_of(*runs: Any, **rule: Any) -> Evidence:
    """Run ``runs`` under a rule, and return the evidence of the incident that they open."""
    harness = EngineHarness(alerts(rules={"Rule": rule or RATIO}))
    harness.observe(*runs)
    (incident,) = harness.open_incidents
    return incident.evidence


def run_with_attempts(*faults: FaultKind | None, **changes: Any) -> Any:
    """Build a run with one attempt for each of ``faults``; it fails if the last one did, unless ``changes`` differ."""

    def run(number: int) -> Outcome:
        attempts = tuple(
            Attempt(
                number=place,
                route="primary",
                started=NOON + 30 * number,
                duration=0.1,
                fault=None if kind is None else a_fault(kind),
                request_id=f"req-{number}-{place}",
            )
            for place, kind in enumerate(faults, 1)
        )
        last = attempts[-1].fault
        kind = OutcomeKind.OK if last is None else OutcomeKind.FAILED
        return a_run(number, **{"kind": kind, "fault": last, "attempts": attempts, **changes})

    return run


def test_evidence_counts_before_and_after_retries() -> None:
    """Evidence counts runs whose first attempt failed (4 of 5) and runs that failed after all retries (3 of 5)."""
    stalled, busy = FaultKind.STALLED, FaultKind.OVERLOADED
    evidence = evidence_of(
        good,
        run_with_attempts(busy, None),
        run_with_attempts(busy, stalled),
        run_with_attempts(stalled),
        run_with_attempts(busy, busy),
    )
    assert (evidence.bad, evidence.total, evidence.first_attempts) == (3, 5, 4)
    assert (evidence.faults, evidence.blames) == ({"stalled": 2, "overloaded": 1}, {"provider": 3})
    assert evidence.since == NOON + 2 * 30 + 1
    assert evidence.message == "it is overloaded"


def test_first_attempts_rule_has_the_faults_of_first_attempts() -> None:
    """A ``first_attempts`` rule reports the faults of first attempts, although the retries succeeded."""
    rescued = run_with_attempts(FaultKind.RATE_LIMITED, None)
    evidence = evidence_of(*[rescued] * 3, measure="first_attempts", detector={"type": "consecutive", "failures": 3})
    assert (evidence.faults, evidence.message) == ({"rate_limited": 3}, "it is rate_limited")


def test_evidence_has_at_most_five_ids_of_each_kind() -> None:
    """Evidence has at most five request IDs and five trace IDs, the newest last."""
    evidence = evidence_of(*[run_with_attempts(FaultKind.STALLED, FaultKind.STALLED)] * 6, **RATIO)
    assert evidence.request_ids == ("req-2-2", "req-3-1", "req-3-2", "req-4-1", "req-4-2")
    assert evidence.trace_ids == tuple(f"{number:032x}" for number in range(5))


def test_evidence_has_the_ids_of_failed_attempts() -> None:
    """Request IDs are those of failed attempts, not of the fallback or retry that succeeded."""
    stalled = FaultKind.STALLED
    over = evidence_of(
        *[run_with_attempts(stalled, None, kind=OutcomeKind.FAILED_OVER, fault=a_fault(stalled))] * 6, **RATIO
    )
    assert ("req-0-1", "req-1-1", "req-2-1", "req-3-1", "req-4-1") == over.request_ids
    first = {"measure": "first_attempts", "detector": {"type": "consecutive", "failures": 3}}
    assert ("req-0-1", "req-1-1", "req-2-1") == evidence_of(
        *[run_with_attempts(stalled, None)] * 3, **first
    ).request_ids


def test_evidence_has_the_id_of_an_unexpected_or_slow_answer() -> None:
    """Request IDs include an answer that is itself the bad sample: unexpected or slow."""
    wrong = run_with_attempts(None, kind=OutcomeKind.FAILED, fault=a_fault(FaultKind.UNEXPECTED_ANSWER))
    once = {"detector": {"type": "consecutive", "failures": 1}}
    assert ("req-0-1",) == evidence_of(wrong, **once).request_ids
    assert ("req-0-1",) == evidence_of(
        run_with_attempts(None, kind=OutcomeKind.SLOW), measure="slow", **once
    ).request_ids


def test_evidence_counts_runs_answered_by_a_fallback() -> None:
    """Evidence counts the runs that a fallback answered, which separates a degraded service from a failed one."""
    stalled = FaultKind.STALLED
    over = run_with_attempts(stalled, None, kind=OutcomeKind.FAILED_OVER, fault=a_fault(stalled))
    evidence = evidence_of(good, over, run_with_attempts(stalled), over, over)
    assert (4, 3) == (evidence.bad, evidence.rescued)
    assert 0 == evidence_of(*[run_with_attempts(stalled)] * 5).rescued


def test_evidence_of_a_long_outage_keeps_its_start_and_counts() -> None:
    """Evidence keeps the start and all fault counts of an outage of any length, and its rows stay under 4000 bytes."""
    harness = EngineHarness(alerts(rules={"Rule": RATIO}))
    harness.observe(
        *[run_with_attempts(FaultKind.STALLED), run_with_attempts(FaultKind.OVERLOADED)] * 20,
        *[run_with_attempts(FaultKind.RATE_LIMITED)] * 200,
    )
    evidence = (
        harness.state.detectors[harness.open_incidents[0].key].update_evidence(harness.open_incidents[0]).evidence
    )
    assert NOON + 1 == evidence.since
    assert {"rate_limited": 200, "stalled": 20, "overloaded": 20} == evidence.faults
    assert (240, 240) == (evidence.bad, evidence.first_attempts)
    assert all(len(row.value or b"") < 4000 for row in harness.rows)


def test_second_outage_has_no_ids_of_the_first() -> None:
    """Trace IDs of failures before a recovery are not in the evidence of the next outage."""
    three = {"detector": {"type": "consecutive", "failures": 3}}
    evidence = evidence_of(bad, bad, good, good, *[bad] * 3, **three)
    assert evidence.trace_ids == tuple(f"{number:032x}" for number in (4, 5, 6))


def test_evidence_message_states_the_measured_time_and_limit() -> None:
    """The message states the measured time and its limit when there is no fault message."""
    slow = {"detector": {"type": "consecutive", "failures": 1}}
    late = a_run(time_to_first_token=4.2)
    assert evidence_of(late, measure="first_token", limit="2s", **slow).message == "first_token 4.2s, limit 2s"
    late = a_run(kind=OutcomeKind.SLOW, time_to_first_token=4.2)
    assert evidence_of(late, measure="slow", **slow).message == "slow: first token 4.2s, whole run 1s"


@pytest.mark.parametrize(
    ("detector", "runs", "reason"),
    [
        (RATIO["detector"], [bad] * 5 + [good] * 14, "recovered: 8 of the last 10 runs were good"),
        ({"type": "consecutive", "failures": 3}, [bad] * 3 + [good] * 3, "recovered: the last 3 runs were good"),
        (
            {"type": "consecutive", "failures": 2, "resolve_after": 1},
            [bad, bad, good],
            "recovered: the last run was good",
        ),
    ],
)
def test_resolve_reason_states_the_good_runs(detector: Any, runs: list[Any], reason: str) -> None:
    """The resolve reason states the good runs; the annotations stay those of the trigger."""
    harness = EngineHarness(alerts(rules={"Rule": {**THREE_FAILURES_RULE, "detector": detector}}))
    harness.observe(*runs)
    (incident,) = harness.state.incidents.values()
    alert = render_alert(incident, harness.now).to_dict()
    assert reason == alert["reason"]
    opened = f"chat: {incident.evidence.bad} of the last {incident.evidence.total} runs failed"
    assert {"summary": opened} == alert["annotations"]


def test_hostile_text_is_bounded_and_sanitized() -> None:
    """A message of 1 MB with a key, control characters and half a surrogate pair is stored bounded and sanitized."""
    text = "sk-12345678abcdef \x1b[31m \ud83d " + "x" * 1_000_000
    fault = make_fault(FaultKind.STREAM_ERROR, Phase.STREAM, text)
    attempt = Attempt(number=1, route="primary", started=NOON, duration=0.1, fault=fault, request_id=text)
    run = a_run(kind=OutcomeKind.FAILED, fault=fault, attempts=(attempt,))
    harness = EngineHarness(alerts(rules={"Rule": {"detector": {"type": "consecutive", "failures": 1}}}))
    harness.observe(run)
    (incident,) = harness.open_incidents
    assert incident.evidence.message.startswith("[redacted]  [31m ? x")
    assert len(incident.evidence.message) == 300
    assert all(len(row.value or b"") < 4000 for row in harness.rows)
    harness.crash()
    assert harness.open_incidents == [incident]


def test_rows_of_a_long_outage_stay_small() -> None:
    """Rows of an outage of any length stay under 4000 bytes."""
    harness = EngineHarness(alerts(rules={"Rule": RATIO}))
    harness.observe(*[run_with_attempts(FaultKind.STALLED, FaultKind.OVERLOADED)] * 200)
    assert max(len(row.value or b"") for row in harness.rows) < 4000


def test_template_is_rendered() -> None:
    """A template renders doubled braces as braces, unknown fields as empty, and at most 2000 characters."""
    assert render_template("{{{canary}}}: {bad}{nothing}", {"canary": "chat", "bad": "3"}) == "{chat}: 3"
    assert render_template("{", {}) == "{"
    assert len(render_template("{canary}" * 200, {"canary": "x" * 100})) == 2000


def test_template_values_cannot_add_lines() -> None:
    """A value cannot add a line to the rendered text, and only values are redacted."""
    values = {"message": "x\r\nRunbook: http://evil?token=s3cretvalue\u2028y"}
    filled = render_template("First {message}\nSecond\thttps://wiki.example/?key=OPS-1", values)
    assert "First x Runbook: http://evil?token=[redacted] y\nSecond\thttps://wiki.example/?key=OPS-1" == filled


def test_every_template_field_renders_a_value() -> None:
    """Every documented template field renders a value."""
    mini = msgspec.structs.replace(CHAT, name="mini")
    annotations = {name: f"{{{name}}}" for name in TEMPLATE_FIELDS}
    config = alerts(rules={"Rule": {**RATIO, "annotations": annotations, "per": "target"}})
    harness = EngineHarness(config, CHAT, mini)
    stalled = FaultKind.STALLED
    failed = run_with_attempts(stalled, None, kind=OutcomeKind.FAILED_OVER, fault=a_fault(stalled))
    harness.observe(failed, failed, msgspec.structs.replace(good(), canary="mini"), failed, failed, failed)
    harness.step(DiagnosisFinished("chat", "tls: the certificate has expired"))
    (incident,) = harness.open_incidents
    alert = render_alert(
        incident, incident.opened + 90, LinkSettings("https://traces.example/{trace_id}", "https://canary.example")
    )
    assert [name for name, text in alert.annotations.items() if not text] == []
    assert alert.annotations["duration"] == "1m30s"
    assert alert.annotations["faults"] == "stalled 4"
    assert msgspec.json.encode(alert.to_dict())
