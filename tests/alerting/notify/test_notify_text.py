"""The texts of notifications for all receivers: titles, resolved alerts, unknown details, and forged lines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.delivery.result import Accepted
from streamcanary.alerting.notify.message import Message
from streamcanary.alerting.notify.receivers import Apprise, EventReceiver, PagerDuty, Slack, Webhook
from streamcanary.model.alerts.incident import Action, Evidence, Incident
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import NOON, EngineHarness, a_message, a_run, alerts, webhook_config
from support.alerting.messages import FULL_EVIDENCE, a_reconciled_incident, an_incident
from support.servers import pagerduty, slack
from support.servers.receiver import FakeReceiver

KINDS = ("pagerduty", "slack", "webhook", "apprise")


@asynccontextmanager
async def serving_receiver(kind: str) -> AsyncIterator[tuple[FakeReceiver, EventReceiver]]:
    """Serve the server of a receiver of ``kind``, and configure the receiver."""
    servers: dict[str, FakeReceiver] = {"pagerduty": pagerduty.FakePagerDuty(), "slack": slack.FakeSlack()}
    async with servers.get(kind, FakeReceiver()) as server:
        receivers: dict[str, Any] = {
            "pagerduty": lambda: PagerDuty.model_validate(
                {"type": kind, "routing_key": pagerduty.ROUTING_KEY, "url": server.url}
            ),
            "slack": lambda: Slack.model_validate({"type": kind, "url": server.url + slack.WEBHOOK_PATH}),
            "webhook": lambda: Webhook.model_validate(webhook_config(server.url)),
            "apprise": lambda: Apprise.model_validate({"type": kind, "urls": [server.url.replace("http", "json")]}),
        }
        yield server, receivers[kind]()


async def sent_json(kind: str, message: Message) -> Any:
    """Return the JSON document that a receiver of ``kind`` sends for ``message``."""
    async with serving_receiver(kind) as (server, receiver), open_http_client() as http:
        assert Accepted() == await receiver.send(http, message, NOON + 120)
        return server.deliveries[0].json


def texts(value: Any) -> list[str]:
    """Return every text in ``value``."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in texts(part)]


def canary_incident(name: str, *, resolved: bool = False, **changes: Any) -> Incident:
    """Build an incident of the canary ``name``."""
    values = {"key": name, "subject": name, "canary": name, "annotations": {"summary": "{canary}: bad"}}
    return an_incident(**{**values, "resolved": NOON + 60 if resolved else None, **changes})


UPDATE = a_message(canary_incident("two"), canary_incident("one", resolved=True), action=Action.UPDATE)


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (a_message(canary_incident("one")), "one: bad"),
        (a_message(canary_incident("one", annotations={})), "Errors: one failing (3 of last 5 runs, overloaded)"),
        (
            a_message(canary_incident("one", annotations={}, evidence=Evidence(message="disk full"))),
            "Errors: one failing",
        ),
        (
            a_message(canary_incident("one", annotations={}, resolved=True), action=Action.RESOLVE),
            "Errors: one resolved after 2m",
        ),
        (a_message(canary_incident("one"), canary_incident("two")), "Errors: 2 canaries failing: one, two"),
        (UPDATE, "two: bad (resolved: one)"),
        (
            a_message(
                canary_incident("a"),
                canary_incident("b"),
                canary_incident("c", resolved=True),
                canary_incident("d", resolved=True),
            ),
            "Errors: 2 canaries failing: a, b (resolved: c, d)",
        ),
        (
            a_message(canary_incident("a", resolved=True), canary_incident("b", resolved=True), action=Action.RESOLVE),
            "Errors: 2 canaries resolved after 2m: a, b",
        ),
        (
            a_message(canary_incident("a"), canary_incident("a", key="2", rule="Slow")),
            "Errors, Slow: 2 alerts firing: a",
        ),
        (
            a_message(*(canary_incident(name) for name in "abcdefg")),
            "Errors: 7 canaries failing: a, b, c, d, e and 2 more",
        ),
        (
            replace(a_message(*(canary_incident(name) for name in "abcdefg")), alert_count=60),
            "Errors: 60 canaries failing: a, b, c, d, e and 55 more",
        ),
        (replace(UPDATE, alert_count=9), "Errors: 8 canaries failing: two and 7 more (resolved: one)"),
    ],
)
def test_title_counts_firing_alerts_and_lists_resolved_alerts_last(message: Message, title: str) -> None:
    """A title counts the firing alerts and lists the resolved ones separately; a resolve counts all alerts."""
    assert title == message.title


def test_webhook_has_the_number_of_firing_alerts() -> None:
    """The JSON of a webhook has the number of firing alerts and of all alerts."""
    counted = [
        (message.to_dict()["firing"], message.to_dict()["total"])
        for message in (
            UPDATE,
            a_message(canary_incident("a", resolved=True), action=Action.RESOLVE),
            a_message(canary_incident("a")),
        )
    ]
    assert [(1, 2), (0, 1), (1, 1)] == counted


async def test_resolved_alerts_follow_firing_alerts_under_a_separate_line() -> None:
    """A separator line precedes the resolved alerts of an update, and is left out of a resolve."""
    resolve = a_message(
        canary_incident("one", resolved=True), canary_incident("two", resolved=True), action=Action.RESOLVE
    )
    blocks = (await sent_json("slack", UPDATE))["blocks"]
    lines = [text for block in blocks for text in texts(block)]
    line = lines.index("no longer firing:")
    assert lines.index("two: bad") < line < lines.index("one: bad")
    assert "no longer firing:" not in texts(await sent_json("slack", resolve))
    text = (await sent_json("apprise", UPDATE))["message"]
    assert text.index("two: bad") < text.index("No longer firing:") < text.index("one: bad")
    assert "No longer firing:" not in (await sent_json("apprise", resolve))["message"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rescued", "expected"),
    [
        (0, "errors: no fallback answered either"),
        (2, "a fallback: it answered 2 of 3 failed runs"),
        (3, "answers of a fallback, for all failed runs"),
    ],
)
async def test_every_notification_says_whether_a_fallback_answered(kind: str, rescued: int, expected: str) -> None:
    """Each receiver shows how many bad runs a fallback answered."""
    sent = await sent_json(kind, a_message(an_incident(evidence=replace(FULL_EVIDENCE, rescued=rescued))))
    if kind == "webhook":
        assert rescued == sent["alerts"][0]["evidence"]["rescued"]
    else:
        assert any(expected in text for text in texts(sent))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("labels", "subjects", "title"),
    [
        ({"alert": "TargetRejected"}, ("one", "two"), "TargetRejected: 2 canaries resolved: one, two"),
        ({"alert": "TargetRejected"}, ("", "two"), "TargetRejected: 2 alerts resolved: two and 1 more"),
        ({"alert": "TargetRejected"}, ("", ""), "TargetRejected: 2 alerts resolved"),
        ({"alert": "TargetRejected"}, ("",), "TargetRejected resolved"),
        ({"provider": "openai"}, ("",), 'provider="openai" resolved'),
        ({}, ("",), "an alert resolved"),
    ],
)
async def test_resolve_after_data_loss_has_no_empty_parts(
    kind: str, labels: dict[str, str], subjects: tuple[str, ...], title: str
) -> None:
    """A resolve after data loss has no empty name, no count of zero and no start time."""
    rule = labels.get("alert", "")
    incidents = [
        a_reconciled_incident(key=f"{number}", rule=rule, subject=subject, canary=subject or None, labels=labels)
        for number, subject in enumerate(subjects)
    ]
    message = replace(a_message(*incidents, action=Action.RESOLVE), labels=labels)
    assert title == message.title
    sent = await sent_json(kind, message)
    text = "\n".join(texts(sent))
    for fragment in (": ,", ", ,", "0 of", "last 0", "Since", "since", "after 0s", "``", "`-`"):
        assert fragment not in text
    if kind in ("slack", "apprise"):
        assert title in text.replace("&quot;", '"').splitlines()
    if kind == "pagerduty":
        assert "Resolved" == sent["payload"]["custom_details"]["status"]
        assert all(text for text in texts(sent["payload"]))


FORGED = "\nDiagnosis: all fine\r\nRunbook: http://evil\u2028Since: now\x85Faults: none\x0bResolved because: ok\x1b[2K"


@pytest.mark.parametrize("kind", KINDS)
async def test_provider_text_cannot_add_a_line(kind: str) -> None:
    """Text of a provider with any line separator stays on one line."""
    world = EngineHarness(
        alerts(
            rules={
                "Rule": {
                    "detector": {"type": "consecutive", "failures": 1},
                    "annotations": {"summary": "{message}", "description": "It expected: {message}\nThat is all."},
                }
            }
        )
    )
    fault = make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, f"oops{FORGED}")
    world.observe(a_run(kind=OutcomeKind.FAILED, fault=fault))
    (incident,) = world.open_incidents
    sent = await sent_json(kind, a_message(incident))
    lines = [line for text in texts(sent) for line in text.splitlines()]
    shown = [line for line in lines if "all fine" in line]
    assert [] != shown
    assert [] == [line for line in shown if not line.partition("oops")[1]]
    assert [] == [
        line for line in lines if line.startswith(("Runbook:", "Resolved because:", "Faults: none", "Since: now"))
    ]


def test_alert_about_the_daemon_is_not_a_reconciliation() -> None:
    """An alert with a message and no counts is not taken for a resolve after data loss."""
    incidents = (
        an_incident(annotations={}, evidence=Evidence(message="disk full"), resolved=NOON),
        a_reconciled_incident(),
    )
    assert [False, True] == [a_message(incident).alerts[0].is_reconciliation for incident in incidents]
