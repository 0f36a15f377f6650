"""What a page says in words, whoever receives it: its title, what is over, what is not known, and nothing forged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from streamcanary.alerting.notify.message import Message
from streamcanary.alerting.notify.receivers import Apprise, EventReceiver, PagerDuty, Slack, Webhook
from streamcanary.alerting.notify.receivers.delivery_result import Accepted
from streamcanary.alerting.notify.receivers.http import open_http_client
from streamcanary.model.alerts.incident import Action, Evidence, Incident
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import NOON, EngineHarness, a_message, a_run, alerts, webhook_config
from support.alerting.messages import FULL_EVIDENCE, a_reconciled_incident, an_incident
from support.servers import pagerduty, slack
from support.servers.receiver import FakeReceiver

KINDS = ("pagerduty", "slack", "webhook", "apprise")


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[tuple[FakeReceiver, EventReceiver]]:
    """Serve what a receiver of ``kind`` talks to, and configure it."""
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


async def told(kind: str, page: Message) -> Any:
    """Return what a receiver of ``kind`` sends of ``page``."""
    async with serving(kind) as (server, receiver), open_http_client() as http:
        assert Accepted() == await receiver.send(http, page, NOON + 120)
        return server.deliveries[0].json


def texts(value: Any) -> list[str]:
    """Return every text in ``value``."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in texts(part)]


def about(name: str, *, over: bool = False, **changes: Any) -> Incident:
    """Build an incident of the canary ``name``."""
    values = {"key": name, "subject": name, "canary": name, "annotations": {"summary": "{canary}: bad"}}
    return an_incident(**{**values, "resolved": NOON + 60 if over else None, **changes})


UPDATE = a_message(about("two"), about("one", over=True), action=Action.UPDATE)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (a_message(about("one")), "one: bad"),
        (a_message(about("one"), about("two")), "Errors: 2 alerts: one, two"),
        (UPDATE, "two: bad (over: one)"),
        (
            a_message(about("a"), about("b"), about("c", over=True), about("d", over=True)),
            "Errors: 2 alerts: a, b (over: c, d)",
        ),
        (a_message(about("a", over=True), about("b", over=True), action=Action.RESOLVE), "Errors: 2 alerts: a, b"),
        (a_message(about("a"), about("a", key="2", rule="Slow")), "Errors, Slow: 2 alerts: a"),
        (a_message(*(about(name) for name in "abcdefg")), "Errors: 7 alerts: a, b, c, d, e and 2 more"),
        (
            replace(a_message(*(about(name) for name in "abcdefg")), alert_count=60),
            "Errors: 60 alerts: a, b, c, d, e and 55 more",
        ),
        (replace(UPDATE, alert_count=9), "Errors: 8 alerts: two and 7 more (over: one)"),
    ],
)
def test_a_title_counts_what_fires_and_lists_what_is_over_apart(page: Message, title: str) -> None:
    """In the end all of it is over, and that is what it tells of."""
    assert title == page.title


def test_a_webhook_is_told_how_many_still_fire() -> None:
    """Beside how many there are."""
    counted = [
        (page.to_dict()["firing"], page.to_dict()["total"])
        for page in (UPDATE, a_message(about("a", over=True), action=Action.RESOLVE), a_message(about("a")))
    ]
    assert [(1, 2), (0, 1), (1, 1)] == counted


async def test_what_is_over_follows_what_fires_under_a_line_of_its_own() -> None:
    """In a message as in a mail; one that tells of the end of all has no need of it."""
    end = a_message(about("one", over=True), about("two", over=True), action=Action.RESOLVE)
    blocks = (await told("slack", UPDATE))["blocks"]
    said = [text for block in blocks for text in texts(block)]
    line = said.index("no longer firing:")
    assert said.index("two: bad") < line < said.index("one: bad")
    assert "no longer firing:" not in texts(await told("slack", end))
    text = (await told("apprise", UPDATE))["message"]
    assert text.index("two: bad") < text.index("No longer firing:") < text.index("one: bad")
    assert "No longer firing:" not in (await told("apprise", end))["message"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rescued", "says"),
    [
        (0, "answered none of the bad runs"),
        (2, "answered 2 of the 3 bad runs"),
        (3, "answered all of the bad runs: users are served"),
    ],
)
async def test_every_page_says_whether_a_fallback_answered(kind: str, rescued: int, says: str) -> None:
    """It is what tells an outage for users from one that they do not see."""
    sent = await told(kind, a_message(an_incident(evidence=replace(FULL_EVIDENCE, rescued=rescued))))
    if kind == "webhook":
        assert rescued == sent["alerts"][0]["evidence"]["rescued"]
    else:
        assert any(says in text for text in texts(sent))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("labels", "subjects", "title"),
    [
        ({"alert": "TargetRejected"}, ("one", "two"), "TargetRejected: 2 alerts: one, two"),
        ({"alert": "TargetRejected"}, ("", "two"), "TargetRejected: 2 alerts: two and 1 more"),
        ({"alert": "TargetRejected"}, ("", ""), "TargetRejected: 2 alerts"),
        ({"alert": "TargetRejected"}, ("",), "TargetRejected"),
        ({"provider": "openai"}, ("",), 'provider="openai"'),
        ({}, ("",), "an alert"),
    ],
)
async def test_the_end_of_what_nobody_remembers_reads_well(
    kind: str, labels: dict[str, str], subjects: tuple[str, ...], title: str
) -> None:
    """After a lost store: no empty name, no count of nothing, and no time since which it fired."""
    rule = labels.get("alert", "")
    incidents = [
        a_reconciled_incident(key=f"{number}", rule=rule, subject=subject, canary=subject or None, labels=labels)
        for number, subject in enumerate(subjects)
    ]
    page = replace(a_message(*incidents, action=Action.RESOLVE), labels=labels)
    assert title == page.title
    sent = await told(kind, page)
    said = "\n".join(texts(sent))
    for nonsense in (": ,", ", ,", "0 of", "last 0", "Since", "after 0s", "``", "`-`"):
        assert nonsense not in said
    if kind in ("slack", "apprise"):
        assert f"Resolved: {title}" in said.replace("&quot;", '"')
    if kind == "pagerduty":
        assert "Resolved" == sent["payload"]["custom_details"]["status"]
        assert all(text for text in texts(sent["payload"]))


FORGED = "\nDiagnosis: all fine\r\nRunbook: http://evil\u2028Since: now\x85Faults: none\x0bOver because: mended\x1b[2K"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_adds_no_line_to_a_page(kind: str) -> None:
    """Whatever ends a line somewhere: what it says stays on the line that is known to be its own."""
    world = EngineHarness(
        alerts(
            rules={
                "Rule": {
                    "detector": {"type": "consecutive", "failures": 1},
                    "annotations": {"summary": "{message}", "description": "It says: {message}\nThat is all."},
                }
            }
        )
    )
    fault = make_fault(FaultKind.SERVER_ERROR, Phase.HEADERS, f"oops{FORGED}")
    world.observe(a_run(kind=OutcomeKind.FAILED, fault=fault))
    (incident,) = world.open_incidents
    sent = await told(kind, a_message(incident))
    lines = [line for text in texts(sent) for line in text.splitlines()]
    shown = [line for line in lines if "all fine" in line]
    assert [] != shown
    assert [] == [line for line in shown if not line.partition("oops")[1]]
    assert [] == [
        line for line in lines if line.startswith(("Runbook:", "Over because:", "Faults: none", "Since: now"))
    ]


def test_an_alert_about_the_daemon_itself_is_not_unremembered() -> None:
    """It has a message, and no counts."""
    ours = an_incident(annotations={}, evidence=Evidence(message="disk full"), resolved=NOON)
    assert [False, True] == [a_message(one).alerts[0].is_reconciliation for one in (ours, a_reconciled_incident())]
