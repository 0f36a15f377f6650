"""URLs of receivers are secret: they are redacted from all that a server repeats."""

import logging

import msgspec
import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.notify.delivery.http import open_http_client, post
from streamcanary.alerting.notify.delivery.receiver_url import secret_parts
from streamcanary.alerting.notify.delivery.result import Refused
from streamcanary.alerting.notify.receivers import Alertmanager, Webhook
from streamcanary.model.alerts.incident import Incident
from streamcanary.store.database import Store
from support.alerting.builders import NOON, a_message, alerts, webhook_config
from support.alerting.service import OUTAGE, enqueue_outcomes, running_service, wait_until
from support.servers.receiver import FakeReceiver, Reply

PATH = "/hook/tök3n%2Fof-4567"
QUERY = "sig=s3cr%2Fet+value&x=1"
PAGE = a_message(Incident(key="k", rule="Errors", subject="chat", opened=NOON))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Cannot POST /hook/tök3n%2Fof-4567", "Cannot POST [redacted]"),
        ("Cannot POST /hook/t%C3%B6k3n%2Fof-4567", "Cannot POST [redacted]"),
        ("Cannot POST /hook/t%c3%b6k3n%2fof-4567", "Cannot POST [redacted]"),
        ("Cannot POST /hook/tök3n/of-4567 here", "Cannot POST [redacted] here"),
        (f"Cannot POST {PATH}?{QUERY}", "Cannot POST [redacted]"),
        ("%2Fhook%2Ft%C3%B6k3n%252Fof-4567 is unknown", "[redacted] is unknown"),
        ("no hook tök3n/of-4567.", "no hook [redacted]."),
        ('{"path": "\\/hook\\/tök3n%2Fof-4567"}', '{"path": "[redacted]"}'),
        ("sig=s3cr%2Fet+value&x=1 is wrong", "[redacted] is wrong"),
        ("sig s3cr%2Fet+value is wrong", "sig [redacted] is wrong"),
        ("sig s3cr%2fet%20value is wrong", "sig [redacted] is wrong"),
        ("sig s3cr/et value is wrong", "sig [redacted] is wrong"),
        ("sig s3cr/et+value is wrong", "sig [redacted] is wrong"),
        ("the hook of x=1 is gone", "the hook of x=1 is gone"),
    ],
)
@pytest.mark.parametrize("status", [404, 500])
async def test_url_parts_in_a_response_are_redacted(status: int, said: str, shown: str) -> None:
    """The path, the query and long parts of both are redacted, plain and percent-encoded; ordinary words stay."""
    async with FakeReceiver(Reply(status, body=said.encode())) as receiver, open_http_client() as http:
        url = f"{receiver.url}{PATH}?{QUERY}"
        answer = await Webhook.model_validate(webhook_config(url)).send(http, PAGE, NOON)
    assert f"HTTP {status}: {shown}" == answer.reason


async def test_base_url_of_alertmanager_is_redacted() -> None:
    """The path of the base URL, which may be a gateway's with a token, is redacted."""
    async with (
        FakeReceiver(always=Reply(404, body=b"no page /t0ken-4567/api/v2/alerts")) as peer,
        open_http_client() as http,
    ):
        prom = Alertmanager(type="alertmanager", urls=(f"{peer.url}/t0ken-4567",))
        assert Refused("HTTP 404: no page [redacted]") == await prom.post(http, prom.urls[0], PAGE.alerts, NOON)


async def test_user_name_and_password_of_a_url_are_redacted() -> None:
    """User name and password of a URL, which some servers repeat, are redacted."""
    async with FakeReceiver(Reply(401, body=b"hookuser / p@ssw0rd?")) as receiver, open_http_client() as http:
        url = receiver.url.replace("http://", "http://hookuser:p%40ssw0rd@")
        answer = await Webhook.model_validate(webhook_config(url)).send(http, PAGE, NOON)
    assert Refused("HTTP 401: [redacted] / [redacted]?") == answer


@pytest.mark.parametrize("url", ["http://", "http://[::1", "nonsense", "http://\udcff/\udcff", "http://h/?&&=&a", ""])
async def test_invalid_url_raises_nothing(url: str) -> None:
    """Neither the secret parts nor a delivery of an invalid URL from a file raises an exception."""
    assert all(isinstance(part, str) for part in secret_parts(url))
    async with open_http_client() as http:
        await post(http, url, content=b"", headers={}, timeout=1.0, now=NOON)


async def test_url_is_in_no_log_store_or_notification(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Secret URLs that servers repeat are in no log line, no stored row and no notification to other receivers."""
    caplog.set_level(logging.DEBUG, "streamcanary")
    tokens = "t0ken-of-hook", "t0ken-of-prom"
    hook_says, prom_says = (Reply(404, body=f"Cannot POST /hooks/{t} ({t})".encode()) for t in tokens)
    async with FakeReceiver(always=hook_says) as hook, FakeReceiver(always=prom_says) as prom, FakeReceiver() as other:
        receivers = {
            "hook": webhook_config(f"{hook.url}/hooks/{tokens[0]}"),
            "prom": {"type": "alertmanager", "urls": [f"{prom.url}/hooks/{tokens[1]}"]},
            "other": webhook_config(other.url),
        }
        config: AlertsConfig = alerts(receivers=receivers)
        async with running_service(store, config) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await other.wait_for_deliveries(3)
            await wait_until(lambda: len(alerting.open_incidents) == 3)
            await alerting.drain(1)
    received = b"".join(delivery.body for delivery in other.deliveries)
    stored = msgspec.json.encode(await store.load_rows())
    assert {None, "hook", "prom"} == {delivery.json["labels"].get("subject") for delivery in other.deliveries}
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    for token in tokens:
        assert token.encode() not in received + stored
        assert token not in logged
    assert "HTTP 404: Cannot POST [redacted]" in logged
