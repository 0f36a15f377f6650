from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import DiagnosisFinished
from streamcanary.alerting.notify.message import render_alert
from streamcanary.alerting.notify.templates import TEMPLATE_FIELDS, render_template
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from support.alerting.builders import NOON, THREE_FAILURES_RULE, EngineHarness, a_fault, a_run, alerts, bad, good

RATIO = {"detector": {"type": "ratio", "over": "10 runs", "threshold": "50%", "min_samples": 5}}


def seen_by(*runs: Any, **rule: Any) -> Evidence:
    """Let runs happen under a rule, and return the evidence of what they opened."""
    world = EngineHarness(alerts(rules={"Rule": rule or RATIO}))
    world.observe(*runs)
    (incident,) = world.open_incidents
    return incident.evidence


def tried(*faults: FaultKind | None, **changes: Any) -> Any:
    """Build a run of an attempt for each of ``faults``; it fails if the last one did, unless ``changes`` differ."""

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


def test_a_page_counts_before_and_after_retries() -> None:
    """Five runs: in four of them the first attempt failed, and three of them no retry could save."""
    stalled, busy = FaultKind.STALLED, FaultKind.OVERLOADED
    evidence = seen_by(good, tried(busy, None), tried(busy, stalled), tried(stalled), tried(busy, busy))
    assert (evidence.bad, evidence.total, evidence.first_attempts) == (3, 5, 4)
    assert (evidence.faults, evidence.blames) == ({"stalled": 2, "overloaded": 1}, {"provider": 3})
    assert evidence.since == NOON + 2 * 30 + 1
    assert evidence.message == "it is overloaded"


def test_a_rule_about_first_attempts_names_their_faults() -> None:
    """The retries have saved each of these runs."""
    rescued = tried(FaultKind.RATE_LIMITED, None)
    evidence = seen_by(*[rescued] * 3, measure="first_attempts", detector={"type": "consecutive", "failures": 3})
    assert (evidence.faults, evidence.message) == ({"rate_limited": 3}, "it is rate_limited")


def test_a_page_has_at_most_five_ids_of_a_sort() -> None:
    """The newest last."""
    evidence = seen_by(*[tried(FaultKind.STALLED, FaultKind.STALLED)] * 6, **RATIO)
    assert evidence.request_ids == ("req-2-2", "req-3-1", "req-3-2", "req-4-1", "req-4-2")
    assert evidence.trace_ids == tuple(f"{number:032x}" for number in range(5))


def test_the_ids_on_a_page_are_those_of_what_failed() -> None:
    """The answer of a fallback, or of the retry that helped, is nothing to look for at the provider."""
    stalled = FaultKind.STALLED
    over = seen_by(*[tried(stalled, None, kind=OutcomeKind.FAILED_OVER, fault=a_fault(stalled))] * 6, **RATIO)
    assert ("req-0-1", "req-1-1", "req-2-1", "req-3-1", "req-4-1") == over.request_ids
    first = {"measure": "first_attempts", "detector": {"type": "consecutive", "failures": 3}}
    assert ("req-0-1", "req-1-1", "req-2-1") == seen_by(*[tried(stalled, None)] * 3, **first).request_ids


def test_an_answer_that_is_itself_what_was_bad_is_among_the_ids() -> None:
    """It was not as expected, or slow."""
    wrong = tried(None, kind=OutcomeKind.FAILED, fault=a_fault(FaultKind.UNEXPECTED_ANSWER))
    once = {"detector": {"type": "consecutive", "failures": 1}}
    assert ("req-0-1",) == seen_by(wrong, **once).request_ids
    assert ("req-0-1",) == seen_by(tried(None, kind=OutcomeKind.SLOW), measure="slow", **once).request_ids


def test_a_page_counts_the_runs_that_a_fallback_answered() -> None:
    """Users are served, or nobody is: these are different pages."""
    stalled = FaultKind.STALLED
    over = tried(stalled, None, kind=OutcomeKind.FAILED_OVER, fault=a_fault(stalled))
    evidence = seen_by(good, over, tried(stalled), over, over)
    assert (4, 3) == (evidence.bad, evidence.rescued)
    assert 0 == seen_by(*[tried(stalled)] * 5).rescued


def test_a_long_outage_keeps_its_beginning_and_its_counts() -> None:
    """However many runs there are, and however the faults take turns."""
    world = EngineHarness(alerts(rules={"Rule": RATIO}))
    world.observe(*[tried(FaultKind.STALLED), tried(FaultKind.OVERLOADED)] * 20, *[tried(FaultKind.RATE_LIMITED)] * 200)
    evidence = world.state.detectors[world.open_incidents[0].key].update_evidence(world.open_incidents[0]).evidence
    assert NOON + 1 == evidence.since
    assert {"rate_limited": 200, "stalled": 20, "overloaded": 20} == evidence.faults
    assert (240, 240) == (evidence.bad, evidence.first_attempts)
    assert all(len(row.value or b"") < 4000 for row in world.rows)


def test_a_second_outage_is_not_shown_with_the_ids_of_the_first() -> None:
    """What was over and done with is forgotten."""
    three = {"detector": {"type": "consecutive", "failures": 3}}
    evidence = seen_by(bad, bad, good, good, *[bad] * 3, **three)
    assert evidence.trace_ids == tuple(f"{number:032x}" for number in (4, 5, 6))


def test_a_time_over_its_limit_is_said_in_words() -> None:
    """There is no fault that could be quoted."""
    slow = {"detector": {"type": "consecutive", "failures": 1}}
    late = a_run(time_to_first_token=4.2)
    assert seen_by(late, measure="first_token", limit="2s", **slow).message == "first_token 4.2s, limit 2s"
    late = a_run(kind=OutcomeKind.SLOW, time_to_first_token=4.2)
    assert seen_by(late, measure="slow", **slow).message == "slow: first token 4.2s, whole run 1s"


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
def test_the_end_of_an_outage_says_how_it_was_seen(detector: Any, runs: list[Any], reason: str) -> None:
    """The annotations are those of its opening, as receivers know it by them; the reason speaks of its end."""
    world = EngineHarness(alerts(rules={"Rule": {**THREE_FAILURES_RULE, "detector": detector}}))
    world.observe(*runs)
    (incident,) = world.state.incidents.values()
    page = render_alert(incident, world.now).to_dict()
    assert reason == page["reason"]
    opened = f"chat: {incident.evidence.bad} of the last {incident.evidence.total} runs failed"
    assert {"summary": opened} == page["annotations"]


def test_hostile_text_is_bounded_and_clean() -> None:
    """A megabyte, a key, control characters and half a surrogate pair: none of it is stored, and nothing breaks."""
    text = "sk-12345678abcdef \x1b[31m \ud83d " + "x" * 1_000_000
    fault = make_fault(FaultKind.STREAM_ERROR, Phase.STREAM, text)
    attempt = Attempt(number=1, route="primary", started=NOON, duration=0.1, fault=fault, request_id=text)
    run = a_run(kind=OutcomeKind.FAILED, fault=fault, attempts=(attempt,))
    world = EngineHarness(alerts(rules={"Rule": {"detector": {"type": "consecutive", "failures": 1}}}))
    world.observe(run)
    (incident,) = world.open_incidents
    assert incident.evidence.message.startswith("[redacted]  [31m ? x")
    assert len(incident.evidence.message) == 300
    assert all(len(row.value or b"") < 4000 for row in world.rows)
    world.crash()
    assert world.open_incidents == [incident]


def test_the_rows_of_a_long_outage_stay_small() -> None:
    """However long it lasts."""
    world = EngineHarness(alerts(rules={"Rule": RATIO}))
    world.observe(*[tried(FaultKind.STALLED, FaultKind.OVERLOADED)] * 200)
    assert max(len(row.value or b"") for row in world.rows) < 4000


def test_a_template_is_filled_in() -> None:
    """Plain braces are doubled; a field that is not known is empty, and the page goes out."""
    assert render_template("{{{canary}}}: {bad}{nothing}", {"canary": "chat", "bad": "3"}) == "{chat}: 3"
    assert render_template("{", {}) == "{"
    assert len(render_template("{canary}" * 200, {"canary": "x" * 100})) == 2000


def test_only_the_template_has_lines_of_its_own() -> None:
    """A value could add one that seems to be ours; and what looks like a key in our own address is none."""
    values = {"message": "x\r\nRunbook: http://evil?token=s3cretvalue\u2028y"}
    filled = render_template("First {message}\nSecond\thttps://wiki.example/?key=OPS-1", values)
    assert "First x Runbook: http://evil?token=[redacted] y\nSecond\thttps://wiki.example/?key=OPS-1" == filled


def test_every_field_of_a_template_stands_for_something() -> None:
    """What is documented is rendered."""
    world = EngineHarness(
        alerts(rules={"Rule": {**RATIO, "annotations": {name: f"{{{name}}}" for name in TEMPLATE_FIELDS}}})
    )
    stalled = FaultKind.STALLED
    world.observe(*[tried(stalled, None, kind=OutcomeKind.FAILED_OVER, fault=a_fault(stalled))] * 5)
    world.step(DiagnosisFinished("chat", "tls: the certificate has expired"))
    (incident,) = world.open_incidents
    page = render_alert(incident, incident.opened + 90, "https://traces.example/{trace_id}")
    assert [name for name, text in page.annotations.items() if not text] == []
    assert page.annotations["duration"] == "1m30s"
    assert page.annotations["faults"] == "stalled 5"
    assert msgspec.json.encode(page.to_dict())
