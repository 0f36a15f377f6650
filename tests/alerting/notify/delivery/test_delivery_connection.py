"""Connections to receivers: proxies, certificate authorities and client certificates, reloaded when they change."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers import Alertmanager, PagerDuty, Slack, Webhook
from streamcanary.alerting.notify.receivers import Receiver as AnyReceiver
from streamcanary.alerting.notify.receivers.base import HttpReceiver
from support.alerting.builders import NOON, a_message, webhook_config
from support.alerting.messages import an_alert, an_incident
from support.client.turns import Turns
from support.servers.certificates import AUTHORITY, LOOPBACK, SIGNED_BY_AUTHORITY, WRONG_HOST, server_tls_context
from support.servers.hostile import HostileServer, endless
from support.servers.pagerduty import ROUTING_KEY
from support.servers.pagerduty import FakePagerDuty as PagerDutyServer
from support.servers.receiver import HANG, SECRET, FakeReceiver, Reply
from support.servers.slack import WEBHOOK_PATH
from support.servers.slack import FakeSlack as SlackServer
from support.servers.tcp import ConnectProxy

PAGE = a_message(an_incident())


async def send(hook: Webhook) -> DeliveryResult:
    """Send a message with a new client."""
    async with open_http_client(hook) as http:
        return await hook.send(http, PAGE, NOON)


def webhook(url: str, **more: Any) -> Webhook:
    """Configure a webhook."""
    return Webhook.model_validate(webhook_config(url, **more))


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


SERVERS: dict[str, Any] = {
    "pagerduty": PagerDutyServer,
    "slack": SlackServer,
    "webhook": FakeReceiver,
    "alertmanager": FakeReceiver,
}


def receiver_configs(url: str) -> dict[str, Any]:
    """Return the configuration of each type of receiver for a server at ``url``."""
    return {
        "pagerduty": {"type": "pagerduty", "routing_key": ROUTING_KEY, "url": url},
        "slack": {"type": "slack", "url": url + WEBHOOK_PATH},
        "webhook": webhook_config(url),
        "alertmanager": {"type": "alertmanager", "urls": [url]},
    }


async def test_response_in_small_chunks_leaves_time_to_other_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a response in one-byte chunks, only a few are read before other tasks run."""
    turns = Turns(monkeypatch)
    flood = endless(b"", b"1\r\nx\r\n" * 10_000)
    async with HostileServer("HTTP/1.1 400 Bad Request\ntransfer-encoding: chunked", flood) as server:
        watch = asyncio.create_task(turns.watch())
        answer = await send(webhook(server.base_url))
        watch.cancel()
    assert isinstance(answer, Refused)
    assert turns.pieces > 1000
    assert turns.most_in_a_turn <= 100


@pytest.mark.parametrize("kind", SERVERS)
async def test_each_receiver_works_with_tls_client_certificate_and_proxy(kind: str) -> None:
    """Each receiver delivers through a proxy tunnel to a server that requires a client certificate."""
    async with SERVERS[kind](ssl=server_tls_context(SIGNED_BY_AUTHORITY, client_ca=LOOPBACK)) as server:
        address = server.url.removeprefix("https://")
        async with ConnectProxy(int(address.partition(":")[2])) as proxy:
            way = {"proxy": proxy.url, "ca_file": AUTHORITY, "client_cert": LOOPBACK}
            receiver = TypeAdapter(AnyReceiver).validate_python({**receiver_configs(server.url)[kind], **way})
            async with open_http_client(receiver) as http:
                if receiver.is_state_receiver:
                    answer = await receiver.post(http, server.url, [an_alert()], NOON)
                else:
                    answer = await receiver.send(http, PAGE, NOON)
    assert Accepted() == answer
    assert 1 == len(server.accepted)
    assert [f"CONNECT {address} HTTP/1.1"] == [head.partition("\r\n")[0] for head in proxy.heads]


async def test_unknown_authority_is_retried() -> None:
    """A certificate of an unknown authority is retried as definitely undelivered."""
    async with FakeReceiver(ssl=server_tls_context(LOOPBACK)) as server:
        answers = [await send(webhook(server.url)), await send(webhook(server.url, ca_file=WRONG_HOST))]
    for answer in answers:
        assert isinstance(answer, Retry)
        assert answer.is_definitely_undelivered
        assert "CERTIFICATE_VERIFY_FAILED" in answer.reason


async def test_missing_client_certificate_is_not_accepted() -> None:
    """A server that requires a client certificate, which TLS 1.3 reports after the request, accepts nothing without."""
    async with FakeReceiver(ssl=server_tls_context(LOOPBACK, client_ca=LOOPBACK)) as server:
        assert isinstance(await send(webhook(server.url, ca_file=LOOPBACK)), Retry)
        assert [] == server.deliveries


async def test_certificates_are_reloaded_when_their_files_change(tmp_path: Path) -> None:
    """A renewed certificate applies to the next delivery without a restart; a missing one is named."""
    own, authority = tmp_path / "client.pem", tmp_path / "ca.pem"
    async with FakeReceiver(ssl=server_tls_context(LOOPBACK, client_ca=LOOPBACK)) as server:
        hook = webhook(server.url, ca_file=authority, client_cert=own)
        async with open_http_client(hook) as http:
            missing = await hook.send(http, PAGE, NOON)
            shutil.copy(WRONG_HOST, authority)
            shutil.copy(WRONG_HOST, own)
            wrong = await hook.send(http, PAGE, NOON)
            shutil.copy(LOOPBACK, authority)
            shutil.copy(LOOPBACK, own)
            assert Accepted() == await hook.send(http, PAGE, NOON)
            authority.unlink()
            gone = await hook.send(http, PAGE, NOON)
    says = Retry(
        reason=f"ca_file {authority} cannot be read: No such file or directory", is_definitely_undelivered=True
    )
    assert (says, says) == (missing, gone)
    assert isinstance(wrong, Retry)


async def test_connection_is_reused_while_nothing_changes() -> None:
    """Deliveries share a connection while the certificate files do not change."""
    connections = []

    class Counting(FakeReceiver):
        async def _serve(self, reader: Any, writer: Any) -> None:
            connections.append(writer)
            await super()._serve(reader, writer)

    async with Counting(ssl=server_tls_context(LOOPBACK)) as server:
        hook = webhook(server.url, ca_file=LOOPBACK)
        async with open_http_client(hook) as http:
            for _ in range(3):
                assert Accepted() == await hook.send(http, PAGE, NOON)
    assert (3, 1) == (len(server.deliveries), len(connections))


async def test_plain_http_is_sent_through_the_configured_proxy() -> None:
    """The configured proxy precedes those of the environment, and applies to loopback."""
    async with FakeReceiver() as proxy, FakeReceiver() as server:
        assert Accepted() == await send(webhook(f"{server.url}/hook", proxy=proxy.url))
        assert ([], [f"{server.url}/hook"]) == (server.deliveries, [delivery.path for delivery in proxy.deliveries])


async def test_environment_proxy_is_not_used_for_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy of the environment is used except for loopback and the hosts in ``NO_PROXY``."""
    async with FakeReceiver() as proxy, FakeReceiver() as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "excluded.invalid")
        assert Accepted() == await send(webhook(server.url))
        assert Accepted() == await send(webhook("http://elsewhere.invalid/"))
        assert isinstance(await send(webhook("http://excluded.invalid/")), Retry)
    assert (1, ["http://elsewhere.invalid/"]) == (
        len(server.deliveries),
        [delivery.path for delivery in proxy.deliveries],
    )


async def test_refusal_of_the_proxy_is_retried() -> None:
    """A refusal of the proxy is retried as definitely undelivered, without its password in the reason."""
    refusal = b"HTTP/1.1 407 wants user:5up3rs3cr3t\r\nContent-Length: 0\r\n\r\n"
    async with ConnectProxy(refusal=refusal) as proxy:
        hook = webhook(
            "https://hooks.invalid/", proxy=proxy.url.replace("http://", "http://user:5up3rs3cr3t@"), ca_file=LOOPBACK
        )
        answer = await send(hook)
    assert isinstance(answer, Retry)
    assert (True, "the proxy refused the connection: 407 wants") == (
        answer.is_definitely_undelivered,
        answer.reason[:43],
    )
    assert "5up3rs3cr3t" not in answer.reason
    assert "Proxy-Authorization: Basic dXNlcjo1dXAzcnMzY3IzdA==" in proxy.heads[0]


async def test_proxy_file_is_read_again(tmp_path: Path) -> None:
    """A rotated proxy password applies to the next delivery; a missing file is retried."""
    file = tmp_path / "proxy"
    async with FakeReceiver() as first, FakeReceiver() as second:
        file.write_text(first.url)
        hook = webhook("http://elsewhere.invalid/", proxy={"file": str(file)})
        async with open_http_client(hook) as http:
            assert Accepted() == await hook.send(http, PAGE, NOON)
            file.write_text(second.url + "/")
            assert Accepted() == await hook.send(http, PAGE, NOON)
            file.write_text("gopher://t0ken:70")
            wrong = await hook.send(http, PAGE, NOON)
            file.unlink()
            gone = await hook.send(http, PAGE, NOON)
    assert (1, 1) == (len(first.deliveries), len(second.deliveries))
    says = "the receiver's proxy must be an http:// or https:// address, such as http://proxy.example:3128"
    assert Retry(reason=says, is_definitely_undelivered=True) == wrong
    assert (
        Retry(reason=f"cannot read the secret file {file}: No such file or directory", is_definitely_undelivered=True)
        == gone
    )


async def test_running_delivery_survives_a_certificate_reload(tmp_path: Path) -> None:
    """A running delivery is not interrupted when the next one reloads the certificates."""
    authority = tmp_path / "ca.pem"
    shutil.copy(LOOPBACK, authority)
    async with FakeReceiver(HANG, ssl=server_tls_context(LOOPBACK)) as server:
        hook = webhook(server.url, ca_file=authority, timeout=0.5)
        async with open_http_client(hook) as http:
            slow = asyncio.create_task(hook.send(http, PAGE, NOON))
            await server.wait_for_deliveries(1)
            authority.write_text(LOOPBACK.read_text() + "\n")
            assert Accepted() == await hook.send(http, PAGE, NOON)
            assert Retry(reason="no answer within 0.5 s") == await slow


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"client_key": "key.pem"}, "client_key needs client_cert"),
        ({"proxy": "socks5://p.example"}, "must be an http:// or https:// address, such as http://proxy.example:3128"),
        ({"per_minute": 0}, "greater than or equal to 1"),
        ({"timeout": "61s"}, "less than or equal to 60"),
        ({"url": None}, "needs exactly one of url and url_file"),
        ({"url_file": "f"}, "needs exactly one of url and url_file"),
        ({"secret": None}, "needs exactly one of secret and secret_file"),
        ({"secret": "whsec_t0ken"}, "must be whsec_ and the base64 of 24 to 64 random bytes"),
    ],
)
def test_invalid_webhook_is_rejected(fields: dict[str, Any], words: str) -> None:
    """An invalid webhook is rejected when the configuration is read, without its secret in the message."""
    with pytest.raises(ValidationError) as caught:
        Webhook.model_validate({**webhook_config(), **fields})
    received = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in received
    assert "t0ken" not in received


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"type": "pagerduty"}, "needs exactly one of routing_key and routing_key_file"),
        ({"type": "pagerduty", "routing_key": "t0ken"}, "must be the 32 letters and digits of an integration"),
        (
            {"type": "pagerduty", "routing_key": ROUTING_KEY, "url": "events.pagerduty.com"},
            "must be an http:// or https://",
        ),
        (
            {"type": "pagerduty", "routing_key": ROUTING_KEY, "severities": {"P1": "dire"}},
            "Input should be 'critical', 'error'",
        ),
        ({"type": "slack"}, "needs exactly one of url and url_file"),
        ({"type": "slack", "url": "t0ken"}, "must be an http:// or https:// address"),
        ({"type": "alertmanager", "urls": []}, "at least 1 item"),
        ({"type": "alertmanager", "urls": ["http://a", "http://a/"]}, "has the same address twice"),
    ],
)
def test_missing_or_invalid_secret_is_rejected(section: dict[str, Any], words: str) -> None:
    """A receiver with a missing or invalid secret is rejected when the configuration is read."""
    model: Any = {"pagerduty": PagerDuty, "slack": Slack, "alertmanager": Alertmanager}[section["type"]]
    with pytest.raises(ValidationError) as caught:
        model.model_validate(section)
    received = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in received
    assert "t0ken" not in received


def test_delivery_obstacle_names_unusable_files(tmp_path: Path) -> None:
    """The obstacle of a receiver names files that cannot be read or have invalid content."""
    file = tmp_path / "file"

    def obstacle(receiver: HttpReceiver) -> str | None:
        return receiver.delivery_obstacle()

    missing = f"cannot read the secret file {file}: No such file or directory"
    assert obstacle(webhook("http://127.0.0.1:9/")) is None
    assert missing == obstacle(Slack(type="slack", url_file=file))
    assert missing == obstacle(PagerDuty(type="pagerduty", routing_key_file=file))
    assert missing == obstacle(Webhook.model_validate({"type": "webhook", "url_file": file, "secret": SECRET}))
    assert f"ca_file {file} cannot be read: No such file or directory" == obstacle(
        Alertmanager(type="alertmanager", urls=("http://127.0.0.1:9",), ca_file=file)
    )
    file.write_text("nonsense")
    assert (
        "the content of a file of secrets must be an http:// or https:// address, such as https://example.com/hook"
        == obstacle(Slack(type="slack", url_file=file))
    )


async def test_407_of_a_proxy_is_reported() -> None:
    """The reason of a delivery that a plain HTTP proxy refuses contains status 407."""
    async with FakeReceiver(Reply(407, body=b"who are you")) as proxy:
        answer = await send(webhook("http://elsewhere.invalid/", proxy=proxy.url))
    assert Refused("HTTP 407: who are you") == answer
