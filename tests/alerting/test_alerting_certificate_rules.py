"""The built-in rules about certificates: a ticket 14 days before one expires, a page 3 days before."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.alerting.engine.inputs import RunFinished, Started
from streamcanary.alerting.forecast.rule_forecasts import detector_warnings, rule_forecasts
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome
from streamcanary.simulator import Simulator
from support.alerting.builders import CHAT, EngineHarness, alerts, bad, good
from support.clock import OffsetClock
from support.servers.certificates import CHAIN, END_OF_CHAIN, LOOPBACK, ROOT, server_tls_context
from support.servers.simulator import FAST_TIMINGS

DAY = 86400.0
TICKET, PAGE = "CertificateExpiring", "CertificateExpiringSoon"
RULES: dict[str, Any] = {TICKET: {}, PAGE: {}}


def start_engine(rules: dict[str, Any] = RULES, **sections: Any) -> EngineHarness:
    """Return a started engine with the rules about certificates."""
    harness = EngineHarness(alerts(rules=rules, **sections))
    harness.step(Started())
    harness.deliver_all()
    return harness


def finish_run(harness: EngineHarness, outcome: Outcome, days_left: float | None) -> None:
    """Apply a run that ends now, in which the first certificate has ``days_left``."""
    harness.now += 30
    expiry = None if days_left is None else harness.now + days_left * DAY
    outcome = msgspec.structs.replace(outcome, started=harness.now - 1, duration=1.0, certificate_expiry=expiry)
    harness.step(RunFinished(outcome))


def firing(harness: EngineHarness) -> dict[str, str]:
    """Return the severities of the firing alerts, by rule."""
    return {incident.rule: incident.labels["severity"] for incident in harness.open_incidents}


@pytest.mark.parametrize(
    ("days_left", "expected"),
    [
        (14.01, {}),
        (13.99, {TICKET: "ticket"}),
        (3.01, {TICKET: "ticket"}),
        (2.99, {TICKET: "ticket", PAGE: "page"}),
        (-1.0, {TICKET: "ticket", PAGE: "page"}),
        (None, {}),
    ],
)
def test_severity_by_the_days_that_are_left(days_left: float | None, expected: dict[str, str]) -> None:
    """One run is enough: under 14 days there is a ticket, under 3 days also a page."""
    harness = start_engine()
    finish_run(harness, good(), days_left)
    assert expected == firing(harness)


@pytest.mark.parametrize(
    ("days_left", "summary"),
    [
        (13.4, "A certificate of openai expires on 2027-01-28, in 13 days"),
        (1.5, "A certificate of openai expires on 2027-01-16, in 36 hours"),
        (-2.0, "A certificate of openai expired on 2027-01-13"),
    ],
)
def test_notification_says_when_the_certificate_expires(days_left: float, summary: str) -> None:
    """The title of the notification has the date, and the time that is left."""
    harness = start_engine({TICKET: {}})
    finish_run(harness, good(), days_left)
    [incident] = harness.open_incidents
    rendered = incident.annotations["summary"].replace("{target}", "openai")
    assert summary == rendered.replace("{message}", incident.evidence.message)


def test_page_follows_the_ticket() -> None:
    """The ticket is notified first; the page is a notification of its own when nobody has renewed the certificate."""
    harness = start_engine()
    finish_run(harness, good(), 5.0)
    assert [("trigger", TICKET)] == harness.deliver_all()
    finish_run(harness, good(), 2.0)
    assert [("trigger", PAGE)] == harness.deliver_all()


def test_renewed_certificate_resolves_both() -> None:
    """Five runs in a row with the new certificate resolve the alerts; a run that sees none counts for neither."""
    harness = start_engine()
    finish_run(harness, good(), 2.0)
    harness.deliver_all()
    for _ in range(4):
        finish_run(harness, good(), 90.0)
        finish_run(harness, good(), None)
    assert {TICKET, PAGE} == set(firing(harness))
    finish_run(harness, good(), 90.0)
    assert {} == firing(harness)
    assert [("resolve", TICKET), ("resolve", PAGE)] == sorted(harness.deliver_all(), key=lambda sent: len(sent[1]))


def test_one_of_two_servers_with_the_old_certificate_does_not_flap() -> None:
    """While runs see now the new certificate, now the old one, the alert fires once and stays open."""
    harness = start_engine({TICKET: {}})
    sent = []
    for number in range(40):
        finish_run(harness, good(), 2.0 if number % 4 == 0 else 90.0)
        sent += harness.deliver_all()
    assert [("trigger", TICKET)] == sent


@pytest.mark.parametrize("kind", [FaultKind.TLS_FAILED, FaultKind.STALLED])
def test_failed_run_shows_the_certificate_too(kind: FaultKind) -> None:
    """A run that failed shows the certificate as well; the message is about that, not about the fault."""
    harness = start_engine({TICKET: {}})
    finish_run(harness, bad(kind=kind), -2.0)
    [incident] = harness.open_incidents
    assert ("expired on 2027-01-13", {}) == (incident.evidence.message, incident.evidence.faults)


def test_rejected_target_does_not_hide_a_certificate() -> None:
    """``TargetRejected`` inhibits alerts of errors; one about a certificate has another cause."""
    harness = start_engine({TICKET: {}, "TargetRejected": {}})
    for number in range(2):
        finish_run(harness, bad(number, FaultKind.AUTH_FAILED), None)
    assert [("trigger", "TargetRejected")] == harness.deliver_all()
    finish_run(harness, bad(2, FaultKind.AUTH_FAILED), 5.0)
    assert [("trigger", TICKET)] == harness.deliver_all()


def test_days_can_be_overridden() -> None:
    """``limit`` sets the days of a built-in rule, and leaves the rest as it is."""
    harness = start_engine({TICKET: {"limit": "30d", "labels": {"team": "web"}}, PAGE: {"limit": "7d"}})
    finish_run(harness, good(), 20.0)
    assert {TICKET: "ticket"} == firing(harness)
    finish_run(harness, good(), 6.0)
    assert {TICKET: "ticket", PAGE: "page"} == firing(harness)


def test_rule_can_be_disabled() -> None:
    """``enabled: false`` disables a rule."""
    harness = start_engine({TICKET: {"enabled": False}, PAGE: {"enabled": False}})
    finish_run(harness, good(), 1.0)
    assert {} == firing(harness)


def test_measure_of_the_user() -> None:
    """A rule with another name can use the measure, with its own limit."""
    rule = {"measure": "certificate_expiry", "limit": "60d", "detector": {"type": "consecutive", "failures": 2}}
    harness = start_engine({"Renew": {**rule, "labels": {"severity": "info"}}})
    finish_run(harness, good(), 59.0)
    assert {} == firing(harness)
    finish_run(harness, good(), 59.0)
    assert {"Renew": "info"} == firing(harness)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {TICKET: {"measure": "duration", "limit": "2s"}},
            "is certificate_expiry for the built-in CertificateExpiring; use another name for a rule with another one",
        ),
        ({"Renew": {"measure": "certificate_expiry"}}, "measure certificate_expiry needs a limit, such as limit: 14d"),
    ],
)
def test_invalid_rules(rules: dict[str, Any], message: str) -> None:
    """Another measure of a built-in rule, and a rule without a limit, are config errors."""
    with pytest.raises(ValidationError, match=message):
        alerts(rules=rules)


def test_rules_about_certificates_have_no_forecast() -> None:
    """They do not fire by chance, so ``check`` neither forecasts them nor warns of a single failure."""
    rules = {name: rule for name, rule in alerts(rules=RULES).all_rules.items() if name in RULES}
    assert ([], []) == (rule_forecasts(rules, [CHAT], 0.01), detector_warnings(rules, [CHAT]))


def test_prometheus_evaluates_the_gauge() -> None:
    """The exported rule compares the gauge of the expiry with the current time."""
    text = export_rules(alerts(rules={TICKET: {"match": ['tier="prod"']}}), "default", [CHAT])
    assert True is (
        "min by (canary, target, provider, job, namespace) "
        '(streamcanary_tls_certificate_expiry_seconds{canary="chat"}) - time() < 1209600' in text
    )
    assert True is ("A certificate of {{ $labels.target }} expires in {{ $value | humanizeDuration }}" in text)


@pytest.mark.parametrize(
    ("pem", "ca_file", "days_left", "expected"),
    [
        (CHAIN, ROOT, 20.0, set()),
        (CHAIN, ROOT, 10.0, {TICKET}),
        (CHAIN, ROOT, 1.0, {TICKET, PAGE}),
        (CHAIN, LOOPBACK, 1.0, {TICKET, PAGE}),
    ],
)
async def test_canary_of_a_real_endpoint(pem: Any, ca_file: Any, days_left: float, expected: set[str]) -> None:
    """A run against a TLS server fires the rules as the authority in its chain comes to its end; rejected as well."""
    clock = OffsetClock()
    clock.advance(END_OF_CHAIN - days_left * DAY - clock.time())
    harness = start_engine()
    harness.now = clock.time()
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(pem)) as simulator:
        options = {"base_url": simulator.base_url, "api_key": "sk-x", "ca_file": ca_file}
        spec = {"target": "openai", "model": "sim-ok", "retry": {"max_attempts": 1}}
        targets = {"openai": TargetSpec.model_validate(options)}
        async with CanaryRunners(targets, {"chat": CanarySpec.model_validate(spec)}, clock=clock) as runners:
            outcome = await runners.by_name["chat"](clock.time())
    harness.step(RunFinished(outcome))
    assert expected == set(firing(harness))


async def test_certificate_that_comes_to_its_end_on_a_reused_connection() -> None:
    """With ``connection: reuse``, the alerts fire although no handshake happens any more, as those of Prometheus do."""
    clock = OffsetClock()
    clock.advance(END_OF_CHAIN - 20 * DAY - clock.time())
    harness = start_engine()
    harness.now = clock.time()
    fired = []
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(CHAIN)) as simulator:
        targets = {
            "openai": TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "k", "ca_file": ROOT})
        }
        spec = CanarySpec.model_validate({"target": "openai", "model": "sim-ok", "connection": "reuse"})
        async with CanaryRunners(targets, {"chat": spec}, clock=clock) as runners:
            for days in (0, 10, 9):
                clock.advance(days * DAY)
                harness.now = clock.time()
                outcome = await runners.by_name["chat"](clock.time())
                harness.step(RunFinished(outcome))
                fired.append((outcome.attempts[0].connection, set(firing(harness))))
    assert [("new", set()), ("reused", {TICKET}), ("reused", {TICKET, PAGE})] == fired
