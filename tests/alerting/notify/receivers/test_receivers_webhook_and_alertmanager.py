"""Deliveries over HTTP, and the receivers webhook and Alertmanager."""

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from streamcanary.alerting.engine.keys import incident_key
from streamcanary.alerting.notify.delivery.http import open_http_client, post
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.message import rfc3339
from streamcanary.alerting.notify.receivers import Alertmanager, Webhook
from streamcanary.model.alerts.incident import Action
from support.alerting.builders import NOON, a_message, webhook_config
from support.alerting.messages import an_alert, an_incident
from support.programs.program import free_ports
from support.servers.hostile import double_gzip_bomb, gzip_bomb
from support.servers.receiver import CLOSE, CUT, HANG, SECRET, Behaviour, FakeReceiver, Reply


async def send(receiver: FakeReceiver, **more: Any) -> DeliveryResult:
    """Post a document to ``receiver``."""
    async with open_http_client() as http:
        return await post(http, receiver.url, content=b"{}", headers={}, timeout=5.0, now=NOON, **more)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply(200), Accepted()),
        (Reply(204), Accepted()),
        (Reply(400, body=b"no such\x00 key sk-12345678abcdef"), Refused("HTTP 400: no such  key [redacted]")),
        (Reply(401), Refused("HTTP 401")),
        (Reply(410), Refused("HTTP 410")),
        (
            Reply(302, {"Location": "/login?token=hunter2"}),
            Refused("HTTP 302 redirects to /login: redirects are not followed; set the address it leads to"),
        ),
        (Reply(400, {"Content-Encoding": "gzip"}, gzip.compress(b"no")), Refused("HTTP 400: no")),
        (Reply(400, {"Content-Encoding": "gzip"}, gzip_bomb(b"no ")), Refused("HTTP 400: no")),
        (Reply(400, {"Content-Encoding": "gzip, gzip"}, double_gzip_bomb(b"no ")), Refused("HTTP 400")),
        (Reply(429), Retry(reason="HTTP 429", is_definitely_undelivered=True)),
        (Reply(429, {"Retry-After": "7"}), Retry(reason="HTTP 429", retry_after=7.0, is_definitely_undelivered=True)),
        (
            Reply(429, {"Retry-After": "999999"}),
            Retry(reason="HTTP 429", retry_after=3600.0, is_definitely_undelivered=True),
        ),
        (Reply(429, {"Retry-After": "-1"}), Retry(reason="HTTP 429", is_definitely_undelivered=True)),
        (Reply(429, {"Retry-After": "soon"}), Retry(reason="HTTP 429", is_definitely_undelivered=True)),
        (Reply(503, {"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}), Retry(reason="HTTP 503", retry_after=30.0)),
        (Reply(500, body=b"oops"), Retry(reason="HTTP 500: oops")),
        (Reply(408), Retry(reason="HTTP 408", is_definitely_undelivered=True)),
    ],
)
async def test_response_is_classified_by_its_status(reply: Reply, answer: DeliveryResult) -> None:
    """2xx is accepted; 408, 429 and 5xx are retried; all others, including redirects, are refused."""
    async with FakeReceiver(reply) as receiver:
        assert await send(receiver) == answer
        assert len(receiver.deliveries) == 1


async def test_target_of_a_redirect_is_shown_without_the_secrets_of_the_url() -> None:
    """The message of a redirect names the host that it leads to, as the address has to be corrected."""
    location = {"Location": "http://new.example.com/hooks/T0123456/secretToken99"}
    async with FakeReceiver(Reply(301, location)) as receiver:
        webhook = Webhook.model_validate(webhook_config(f"{receiver.url}/hooks/T0123456/secretToken99"))
        async with open_http_client() as http:
            answer = await webhook.send(http, a_message(an_incident()), NOON)
    assert isinstance(answer, Refused)
    assert "redirects to http://new.example.com[redacted]:" in answer.reason


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    """The server that a redirect leads to sees no request."""
    async with FakeReceiver() as elsewhere, FakeReceiver(Reply(status, {"Location": elsewhere.url})) as receiver:
        assert isinstance(await send(receiver), Refused)
        assert [] == elsewhere.deliveries


@pytest.mark.parametrize("behaviour", [CLOSE, CUT])
async def test_lost_connection_is_retried(behaviour: Behaviour) -> None:
    """A connection lost before or within the response is retried, as the request may have been accepted."""
    async with FakeReceiver(behaviour) as receiver:
        closed = await send(receiver)
    assert isinstance(closed, Retry)
    assert not closed.is_definitely_undelivered


async def test_refused_connection_is_definitely_undelivered() -> None:
    """A refused connection is retried as definitely undelivered."""
    (port,) = free_ports(1)
    async with open_http_client() as http:
        answer = await post(http, f"http://127.0.0.1:{port}", content=b"{}", headers={}, timeout=5.0, now=NOON)
    assert isinstance(answer, Retry)
    assert (answer.is_definitely_undelivered, answer.reason.startswith("cannot connect")) == (True, True)


async def test_hanging_receiver_times_out() -> None:
    """The timeout bounds the whole delivery."""
    async with FakeReceiver(HANG) as receiver, open_http_client() as http:
        answer = await post(http, receiver.url, content=b"{}", headers={}, timeout=0.05, now=NOON)
    assert answer == Retry(reason="no answer within 0.05 s")


async def test_only_the_beginning_of_a_body_is_read() -> None:
    """Only the beginning of a long body is read, and the reason is short."""
    async with FakeReceiver(Reply(400, body=b"x" * 5_000_000)) as receiver:
        answer = await send(receiver)
    assert isinstance(answer, Refused)
    assert len(answer.reason) < 400


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a\nb/", "nonsense", "http://\udcff/"])
async def test_invalid_url_is_retried(url: str) -> None:
    """An invalid URL, which may be from a file, is retried."""
    async with open_http_client() as http:
        assert isinstance(await post(http, url, content=b"", headers={}, timeout=1.0, now=NOON), Retry)


async def test_environment_proxy_is_not_used_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not used for loopback."""
    async with FakeReceiver() as proxy, FakeReceiver() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert await send(receiver) == Accepted()
        async with open_http_client() as http:
            await post(http, "http://elsewhere.invalid/", content=b"", headers={}, timeout=5.0, now=NOON)
        assert (len(receiver.deliveries), [delivery.path for delivery in proxy.deliveries]) == (
            1,
            ["http://elsewhere.invalid/"],
        )


async def test_invalid_environment_proxy_loses_no_notification(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid proxy of the environment is logged once, and deliveries work without it."""
    monkeypatch.setenv("HTTP_PROXY", "gopher://proxy:70")
    monkeypatch.setenv("http_proxy", "gopher://proxy:70")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with FakeReceiver() as receiver, open_http_client() as http:
        url = receiver.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - this machine, too, but not as loopback
        for _ in range(2):
            assert await post(http, url, content=b"", headers={}, timeout=5.0, now=NOON) == Accepted()
    [record] = caplog.records
    error = "HTTP_PROXY must be an http:// or https:// address, such as http://proxy.example:3128"
    assert ("invalid proxy ignored", error) == (record.message, vars(record)["error"])


async def test_webhook_is_signed() -> None:
    """The signature of Standard Webhooks covers id, time and body."""
    async with FakeReceiver() as receiver, open_http_client() as http:
        hook = Webhook.model_validate(webhook_config(receiver.url))
        assert await hook.send(http, a_message(an_incident()), NOON + 7.9) == Accepted()
    (delivery,) = receiver.deliveries
    assert delivery.signed_with(SECRET)
    assert (delivery.id, delivery.headers["webhook-timestamp"]) == ("notice", str(int(NOON) + 7))
    assert delivery.headers["content-type"] == "application/json"


async def test_body_of_a_webhook() -> None:
    """The body of a webhook is exactly that of version 1."""
    over = an_incident(resolved=NOON + 90.5, resolve_reason="recovered", resolve_condition="3 good runs")
    async with FakeReceiver() as receiver, open_http_client() as http:
        hook = Webhook.model_validate(webhook_config(receiver.url))
        await hook.send(http, a_message(over, action=Action.RESOLVE), NOON)
    assert receiver.deliveries[0].json == {
        "version": 1,
        "type": "alert.resolved",
        "key": "group",
        "title": "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 1m30s, resolved",
        "labels": {"alert": "Errors"},
        "opened": "2027-01-15T08:00:00.000Z",
        "url": None,
        "total": 1,
        "firing": 0,
        "alerts": [
            {
                "key": incident_key("default", "Errors", "chat"),
                "alert": "Errors",
                "subject": "chat",
                "canary": "chat",
                "scope": None,
                "members": None,
                "labels": {"alertname": "Errors", "canary": "chat", "severity": "page"},
                "annotations": {
                    "summary": "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 1m30s, resolved",
                    "nothing": "",
                },
                "opened": "2027-01-15T08:00:00.000Z",
                "resolved": "2027-01-15T08:01:30.500Z",
                "new": False,
                "reason": "recovered",
                "resolves": "3 good runs",
                "traces": [],
                "url": None,
                "silence_url": None,
                "evidence": {
                    "bad": 3,
                    "total": 5,
                    "first_attempts": 0,
                    "rescued": 0,
                    "since": "2027-01-15T07:59:00.000Z",
                    "faults": {"stalled": 1, "overloaded": 2},
                    "blames": {},
                    "attempts": 0,
                    "fallbacks": [],
                    "message": "late",
                    "diagnosis": "",
                    "request_ids": [],
                    "trace_ids": [],
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("action", "kind"),
    [(Action.TRIGGER, "alert.fired"), (Action.UPDATE, "alert.updated"), (Action.RESOLVE, "alert.resolved")],
)
async def test_webhook_type_is_that_of_the_action(action: Action, kind: str) -> None:
    """The field ``type`` of a webhook is that of the action."""
    async with FakeReceiver() as receiver, open_http_client() as http:
        hook = Webhook.model_validate(webhook_config(receiver.url))
        assert await hook.send(http, a_message(an_incident(), action=action), NOON) == Accepted()
    assert receiver.deliveries[0].json["type"] == kind


async def test_secret_files_are_read_again(tmp_path: Path) -> None:
    """A rotated secret applies to the next delivery; a missing one is retried."""
    secret = tmp_path / "secret"
    async with FakeReceiver() as receiver, open_http_client() as http:
        (tmp_path / "url").write_text(receiver.url)
        hook = Webhook.model_validate(
            {"type": "webhook", "url_file": str(tmp_path / "url"), "secret_file": str(secret)}
        )
        missing = await hook.send(http, a_message(an_incident()), NOON)
        secret.write_text("not a secret")
        broken = await hook.send(http, a_message(an_incident()), NOON)
        secret.write_text(SECRET)
        assert await hook.send(http, a_message(an_incident()), NOON) == Accepted()
    assert isinstance(missing, Retry)
    assert "cannot read the secret file" in missing.reason
    assert isinstance(broken, Retry)
    assert "not a secret" not in broken.reason
    assert receiver.deliveries[0].signed_with(SECRET)


async def test_echoed_secret_is_redacted() -> None:
    """A secret that a server repeats is redacted from the reason."""
    async with FakeReceiver() as receiver, open_http_client() as http:
        hook = Webhook.model_validate(webhook_config(f"{receiver.url}/token-1234"))
        receiver.always = Reply(400, body=f"{SECRET} {receiver.url}/token-1234".encode())
        answer = await hook.send(http, a_message(an_incident()), NOON)
    assert isinstance(answer, Refused)
    assert SECRET not in answer.reason
    assert "token-1234" not in answer.reason


async def test_alertmanager_alerts_have_an_end() -> None:
    """A firing alert ends in 15 minutes; a resolved one has the time of its resolve."""
    async with FakeReceiver() as receiver, open_http_client() as http:
        prom = Alertmanager(type="alertmanager", urls=(receiver.url,), generator_url="http://status.example/")
        alerts = [an_alert(), an_alert(resolved=NOON + 60)]
        assert await prom.post(http, receiver.url, alerts, NOON + 120) == Accepted()
    (delivery,) = receiver.deliveries
    assert delivery.path == "/api/v2/alerts"
    firing, resolved = delivery.json
    assert firing == {
        "labels": {"alertname": "Errors", "canary": "chat", "severity": "page"},
        "annotations": {
            "summary": "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing",
            "since": "2027-01-15T07:59:00.000Z",
            "seen": "3 of 5 (60%) after retries, 0 (0%) at the first attempt",
            "users": "errors",
            "faults": "overloaded 2, stalled 1",
            "message": "late",
        },
        "startsAt": "2027-01-15T08:00:00.000Z",
        "endsAt": "2027-01-15T08:17:00.000Z",
        "generatorURL": "http://status.example",
    }
    assert resolved["endsAt"] == "2027-01-15T08:01:00.000Z"


async def test_alert_never_ends_before_its_start() -> None:
    """After a clock step back, no alert ends before its start, which Alertmanager would refuse."""
    async with FakeReceiver() as receiver, open_http_client() as http:
        prom = Alertmanager(type="alertmanager", urls=(receiver.url,))
        await prom.post(http, receiver.url, [an_alert()], NOON - 7200)
    (alert,) = receiver.deliveries[0].json
    assert alert["startsAt"] < alert["endsAt"]


@pytest.mark.parametrize("now", [NOON - 7200, NOON + 30, NOON + 90])
async def test_resolved_alert_never_ends_in_the_future(now: float) -> None:
    """After a clock step back, a resolved alert neither ends in the future nor before its start."""
    async with FakeReceiver() as receiver, open_http_client() as http:
        prom = Alertmanager(type="alertmanager", urls=(receiver.url,))
        await prom.post(http, receiver.url, [an_alert(resolved=NOON + 60)], now)
    (alert,) = receiver.deliveries[0].json
    assert rfc3339(min(NOON + 60, now)) == alert["endsAt"]
    assert rfc3339(min(NOON, now)) == alert["startsAt"]


async def test_web_page_is_accepted_from_a_webhook_but_not_from_alertmanager() -> None:
    """A web page is retried for Alertmanager, and accepted from a webhook, whose endpoint may respond in any form."""
    page = Reply(200, {"Content-Type": "text/html"}, b"<html>Please log in</html>")
    async with FakeReceiver(always=page) as server, open_http_client() as http:
        prom = Alertmanager(type="alertmanager", urls=(server.url,))
        in_between = Retry(
            reason="HTTP 200 with a web page: a proxy or portal answered instead of the receiver",
            is_definitely_undelivered=True,
        )
        assert in_between == await prom.post(http, server.url, [an_alert()], NOON)
        assert Accepted() == await Webhook.model_validate(webhook_config(server.url)).send(
            http, a_message(an_incident()), NOON
        )


async def test_alerts_are_sent_in_batches() -> None:
    """A refused batch is reported and does not stop the others; a batch to be retried does."""
    alerts = [an_alert()] * 150
    async with (
        FakeReceiver(Reply(), Reply(400, body=b"bad"), Reply(), Reply(500)) as receiver,
        open_http_client() as http,
    ):
        prom = Alertmanager(type="alertmanager", urls=(receiver.url,))
        assert await prom.post(http, receiver.url, alerts, NOON) == Refused("HTTP 400: bad")
        assert await prom.post(http, receiver.url, alerts, NOON) == Retry(reason="HTTP 500")
    assert [len(delivery.json) for delivery in receiver.deliveries] == [64, 64, 22, 64]


async def test_delivery_can_be_cancelled() -> None:
    """A cancelled delivery to a hanging receiver ends at once."""
    async with FakeReceiver(HANG) as receiver, open_http_client() as http:
        task = asyncio.create_task(post(http, receiver.url, content=b"", headers={}, timeout=60.0, now=NOON))
        await receiver.wait_for_deliveries(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
