"""PagerDuty is sent valid events, and its responses are classified as its documentation describes."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers import PagerDuty
from streamcanary.model.alerts.incident import Action, Evidence, Incident
from support.alerting.builders import NOON, a_message
from support.alerting.messages import FULL_EVIDENCE, HOSTILE_TEXT, a_full_incident, an_incident, lifecycle_messages
from support.servers import pagerduty
from support.servers.pagerduty import ROUTING_KEY
from support.servers.receiver import CLOSE, HANG, Reply


def oncall(server: pagerduty.FakePagerDuty, **more: Any) -> PagerDuty:
    """Configure a receiver."""
    return PagerDuty.model_validate({"type": "pagerduty", "routing_key": ROUTING_KEY, "url": server.url, **more})


async def send(server: pagerduty.FakePagerDuty, *received: Any, **more: Any) -> list[DeliveryResult]:
    """Send messages, one after the other."""
    receiver = oncall(server, **more)
    async with open_http_client(receiver) as http:
        return [await receiver.send(http, page, NOON + 120) for page in received]


async def test_group_is_one_incident_from_trigger_to_resolve() -> None:
    """Trigger and update are triggers with one key, so that the update only adds to the log; the resolve ends it."""
    async with pagerduty.FakePagerDuty() as server:
        assert [Accepted()] * 3 == await send(server, *lifecycle_messages(a_full_incident()))
    assert [("trigger", "group"), ("again", "group"), ("resolve", "group")] == server.log
    assert {} == server.open


async def test_unknown_resolve_is_accepted_and_dropped() -> None:
    """A resolve of an unknown key is accepted and has no effect."""
    trigger, _, resolve = lifecycle_messages(a_full_incident())
    async with pagerduty.FakePagerDuty() as server:
        assert [Accepted()] * 4 == await send(server, resolve, trigger, resolve, resolve)
    assert [("dropped", "group"), ("trigger", "group"), ("resolve", "group"), ("dropped", "group")] == server.log


async def test_event_contains_all_details() -> None:
    """An event contains summary, severity, source, evidence, diagnosis and links."""
    async with pagerduty.FakePagerDuty() as server:
        await send(server, lifecycle_messages(a_full_incident())[0], client_url="https://status.example/")
    assert {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": "group",
        "client": "streamcanary",
        "client_url": "https://status.example",
        "links": [
            {"href": "https://runbooks.example/a?b=1&c", "text": "Runbook"},
            {"href": "https://traces.example/1bf7651916cd43dd8448eb211c80319c", "text": "Trace 1bf76519"},
            {"href": "https://traces.example/0af7651916cd43dd8448eb211c80319c", "text": "Trace 0af76519"},
        ],
        "payload": {
            "summary": "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing",
            "severity": "critical",
            "timestamp": "2027-01-15T08:00:00.000Z",
            "source": "openai",
            "component": "chat",
            "group": "default",
            "class": "Errors",
            "custom_details": {
                "status": "Firing",
                "alerts": [
                    {
                        "alert": "Errors",
                        "about": "chat",
                        "status": "firing",
                        "summary": "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing",
                        "since": "2027-01-15 07:59:00 UTC (3m ago)",
                        "seen": "3 of 5 (60%) after retries, 4 (80%) at the first attempt",
                        "users": "errors, or answers of a fallback: it answered 1 of 3 failed runs",
                        "tried": "3 attempts, then the fallback gpt-4.1-mini",
                        "faults": "overloaded 2, stalled 1",
                        "blames": "the provider",
                        "resolves": "3 good runs in a row",
                        "message": "upstream said: too many",
                        "diagnosis": "TCP: connection refused",
                        "request_ids": "req_1, req_2",
                        "trace_ids": ", ".join(FULL_EVIDENCE.trace_ids),
                        "description": "Look.",
                        "labels": a_full_incident().labels,
                    }
                ],
            },
        },
    } == server.deliveries[0].json
    assert "/v2/enqueue" == server.deliveries[0].path


async def test_resolve_contains_reason_and_duration() -> None:
    """A resolve contains the reason and the duration of the outage."""
    async with pagerduty.FakePagerDuty() as server:
        await send(server, lifecycle_messages(a_full_incident())[2])
    details = server.deliveries[0].json["payload"]["custom_details"]
    assert ("Resolved after 13m", "recovered: 3 good runs in a row") == (
        details["status"],
        details["alerts"][0]["reason"],
    )


@pytest.mark.parametrize(
    ("labels", "more", "severity"),
    [
        (["page"], {}, "critical"),
        (["critical"], {}, "critical"),
        (["error"], {}, "error"),
        (["ticket"], {}, "warning"),
        (["warning"], {}, "warning"),
        (["info"], {}, "info"),
        ([None], {}, "error"),
        (["P1"], {}, "error"),
        (["P1"], {"severity": "warning"}, "warning"),
        (["P1"], {"severities": {"P1": "critical"}}, "critical"),
        (["page"], {"severities": {"page": "error"}}, "error"),
        (["info", "ticket", "info"], {}, "warning"),
    ],
)
async def test_severity_follows_the_label(labels: list[Any], more: dict[str, Any], severity: str) -> None:
    """The label ``severity`` is mapped to the four severities of PagerDuty; of several the highest applies."""
    incidents = [
        an_incident(key=str(number), labels={"severity": label} if label else {}) for number, label in enumerate(labels)
    ]
    async with pagerduty.FakePagerDuty() as server:
        assert [Accepted()] == await send(server, a_message(*incidents), **more)
    assert severity == server.deliveries[0].json["payload"]["severity"]


async def test_link_names_its_subjects_unless_all_share_it() -> None:
    """A link that some subjects share is listed once with their names; one that all share has no names."""

    def about(name: str, runbook: str) -> Incident:
        annotations = {"summary": name, "runbook_url": f"https://runbooks.example/{runbook}"}
        return an_incident(key=name, subject=name, annotations=annotations)

    async def links(*incidents: Incident) -> list[str]:
        async with pagerduty.FakePagerDuty() as server:
            await send(server, a_message(*incidents))
            return [link["text"] for link in server.deliveries[0].json["links"]]

    shared = [about(name, "a") for name in ("one", "two", "three", "four", "five")]
    assert ["Runbook"] == await links(*shared)
    assert ["Runbook (one, two)", "Runbook (six)"] == await links(*shared[:2], about("six", "b"))
    assert ["Runbook (one, two, three and 2 more)", "Runbook (six)"] == await links(*shared, about("six", "b"))


async def test_resolved_alerts_are_separate_from_firing_alerts() -> None:
    """The event describes the firing alerts and lists the resolved ones separately."""
    over = an_incident(key="1", subject="one", labels={"target": "t1"}, resolved=NOON + 60, resolve_reason="recovered")
    fires = an_incident(key="2", subject="two", labels={"target": "t2"})
    async with pagerduty.FakePagerDuty() as server:
        await send(server, replace(a_message(fires, over, action=Action.UPDATE), alert_count=5))
    payload = server.deliveries[0].json["payload"]
    details = payload["custom_details"]
    assert ("t2", "two") == (payload["source"], payload["component"])
    assert ["two"] == [one["about"] for one in details["alerts"]]
    assert [("one", "recovered")] == [(one["about"], one["reason"]) for one in details["no_longer_firing"]]
    assert 3 == details["and_more"]


async def test_severity_ignores_resolved_alerts() -> None:
    """A resolved alert does not raise the severity."""
    over = an_incident(key="1", labels={"severity": "page"}, resolved=NOON + 60)
    async with pagerduty.FakePagerDuty() as server:
        await send(server, a_message(over, an_incident(key="2", labels={"severity": "ticket"})))
    assert "warning" == server.deliveries[0].json["payload"]["severity"]


async def test_largest_message_is_a_valid_event() -> None:
    """Long texts are cut and alerts are left out and counted, so that the event is not refused for its size."""
    long = {f"name_{number}": "y" * 2000 for number in range(30)}
    evidence = Evidence(bad=1, total=1, message=HOSTILE_TEXT, diagnosis=HOSTILE_TEXT, request_ids=("r" * 9000,) * 5)
    incidents = [
        an_incident(
            key=str(number),
            subject="s" * 300,
            rule=f"Rule{number}",
            labels={f"l{name}": "x" * 512 for name in range(40)},
            annotations={**long, "summary": HOSTILE_TEXT, "runbook_url": f"https://runbooks.example/{number}"},
            evidence=evidence,
        )
        for number in range(50)
    ]
    page = replace(a_message(*incidents), alert_count=60, key="k" * 300)
    async with pagerduty.FakePagerDuty() as server:
        assert [Accepted()] == await send(server, page)
    event = server.deliveries[0].json
    details = event["payload"]["custom_details"]
    assert 0 < len(details["alerts"]) < 50
    assert 60 == details["and_more"] + len(details["alerts"])
    assert (255, 20) == (len(event["dedup_key"]), len(event["links"]))


async def test_alert_about_the_daemon_is_a_valid_event() -> None:
    """An alert without canary, target and evidence is a valid event."""
    incident = an_incident(
        canary=None, subject="hook", rule="ReceiverFailing", labels={}, annotations={}, evidence=Evidence()
    )
    async with pagerduty.FakePagerDuty() as server:
        assert [Accepted()] == await send(server, a_message(incident))
    payload = server.deliveries[0].json["payload"]
    assert ("ReceiverFailing: hook failing", "hook") == (payload["summary"], payload["source"])


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply(202), Accepted()),
        (Reply(401), Refused("HTTP 401")),
        (Reply(403), Refused("HTTP 403")),
        (Reply(404), Refused("HTTP 404")),
        (Reply(429, {"Retry-After": "17"}), Retry(reason="HTTP 429", retry_after=17.0, is_definitely_undelivered=True)),
        (Reply(500), Retry(reason="HTTP 500")),
        (Reply(503, {"Retry-After": "5"}), Retry(reason="HTTP 503", retry_after=5.0)),
        (
            Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Please log in</html>"),
            Retry(
                reason="HTTP 200 with a web page: a proxy or portal answered instead of the receiver",
                is_definitely_undelivered=True,
            ),
        ),
        (HANG, Retry(reason="no answer within 0.2 s")),
    ],
)
async def test_responses_are_classified(reply: Any, answer: DeliveryResult) -> None:
    """Each response of PagerDuty, and a login page of a portal, gives the right result."""
    async with pagerduty.FakePagerDuty(reply) as server:
        assert [answer] == await send(server, a_message(an_incident()), timeout=0.2 if reply == HANG else 5)


async def test_lost_connection_is_retried() -> None:
    """A connection lost without a response is retried, as the event may have been accepted."""
    async with pagerduty.FakePagerDuty(CLOSE) as server:
        (answer,) = await send(server, a_message(an_incident()))
    assert isinstance(answer, Retry)
    assert not answer.is_definitely_undelivered


async def test_unknown_key_is_refused_and_redacted() -> None:
    """An unknown routing key is refused, and is redacted from the reason."""
    other = "f" * 32
    async with pagerduty.FakePagerDuty() as server:
        answers = await send(server, a_message(an_incident()), routing_key=other)
        server.script.append(Reply(400, body=f"bad key {other}".encode()))
        answers += await send(server, a_message(an_incident()), routing_key=other)
    assert isinstance(answers[0], Refused)
    assert "'routing_key' is unknown" in answers[0].reason
    assert Refused("HTTP 400: bad key [redacted]") == answers[1]


async def test_routing_key_file_is_read_again(tmp_path: Path) -> None:
    """A missing or invalid key file is retried, and a rotated key applies to the next event."""
    file = tmp_path / "key"
    async with pagerduty.FakePagerDuty() as server:
        receiver = oncall(server, routing_key=None, routing_key_file=str(file))
        async with open_http_client(receiver) as http:
            missing = await receiver.send(http, a_message(an_incident()), NOON)
            file.write_text("too-short-a-s3cr3t")
            wrong = await receiver.send(http, a_message(an_incident()), NOON)
            file.write_text(f"{ROUTING_KEY}\n")
            right = await receiver.send(http, a_message(an_incident()), NOON)
    assert [
        Retry(reason=f"cannot read the secret file {file}: No such file or directory", is_definitely_undelivered=True)
    ] == [missing]
    assert (
        Retry(
            reason="the content of a file of secrets must be the 32 letters and digits of an integration of type "
            "Events API v2",
            is_definitely_undelivered=True,
        )
        == wrong
    )
    assert Accepted() == right


async def test_retry_sends_the_same_event() -> None:
    """An event depends on the message alone, not on the time of sending."""
    page = lifecycle_messages(a_full_incident())[2]
    async with pagerduty.FakePagerDuty() as server:
        receiver = oncall(server)
        async with open_http_client(receiver) as http:
            for seconds in (0, 3600):
                await receiver.send(http, page, NOON + 720 + seconds)
    first, second = (msgspec.json.decode(delivery.body) for delivery in server.deliveries)
    assert first == second
