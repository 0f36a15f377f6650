"""The way to a receiver: proxies, authorities and client certificates, read again when they change."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from streamcanary.alerting.notify.receivers import Alertmanager, PagerDuty, Slack, Webhook
from streamcanary.alerting.notify.receivers import Receiver as AnyReceiver
from streamcanary.alerting.notify.receivers.base import HttpReceiver
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers.http import open_http_client
from support.alerting.builders import NOON, a_message, webhook_config
from support.alerting.messages import an_alert, an_incident
from support.servers.certificates import AUTHORITY, LOOPBACK, SIGNED_BY_AUTHORITY, WRONG_HOST, server_tls_context
from support.servers.pagerduty import ROUTING_KEY
from support.servers.pagerduty import FakePagerDuty as PagerDutyServer
from support.servers.receiver import HANG, SECRET, FakeReceiver, Reply
from support.servers.slack import WEBHOOK_PATH
from support.servers.slack import FakeSlack as SlackServer
from support.servers.tcp import ConnectProxy

PAGE = a_message(an_incident())


async def tell(hook: Webhook) -> DeliveryResult:
    """Send a page with a client of its own."""
    async with open_http_client(hook) as http:
        return await hook.send(http, PAGE, NOON)


def a_receiver(url: str, **more: Any) -> Webhook:
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


def sections(url: str) -> dict[str, Any]:
    """Write the section of each receiver for a server at ``url``."""
    return {
        "pagerduty": {"type": "pagerduty", "routing_key": ROUTING_KEY, "url": url},
        "slack": {"type": "slack", "url": url + WEBHOOK_PATH},
        "webhook": webhook_config(url),
        "alertmanager": {"type": "alertmanager", "urls": [url]},
    }


@pytest.mark.parametrize("kind", SERVERS)
async def test_each_is_told_over_tls_with_a_certificate_of_ours_through_a_proxy(kind: str) -> None:
    """All of it at once: a tunnel through the proxy, the server's certificate, and then ours."""
    async with SERVERS[kind](ssl=server_tls_context(SIGNED_BY_AUTHORITY, client_ca=LOOPBACK)) as server:
        address = server.url.removeprefix("https://")
        async with ConnectProxy(int(address.partition(":")[2])) as proxy:
            way = {"proxy": proxy.url, "ca_file": AUTHORITY, "client_cert": LOOPBACK}
            receiver = TypeAdapter(AnyReceiver).validate_python({**sections(server.url)[kind], **way})
            async with open_http_client(receiver) as http:
                if receiver.is_state_receiver:
                    answer = await receiver.post(http, server.url, [an_alert()], NOON)
                else:
                    answer = await receiver.send(http, PAGE, NOON)
    assert Accepted() == answer
    assert 1 == len(server.accepted)
    assert [f"CONNECT {address} HTTP/1.1"] == [head.partition("\r\n")[0] for head in proxy.heads]


async def test_an_unknown_authority_is_a_reason_to_try_later() -> None:
    """Certainly nothing was taken; the certificate, or the file, can be mended."""
    async with FakeReceiver(ssl=server_tls_context(LOOPBACK)) as server:
        answers = [await tell(a_receiver(server.url)), await tell(a_receiver(server.url, ca_file=WRONG_HOST))]
    for answer in answers:
        assert isinstance(answer, Retry)
        assert answer.is_definitely_undelivered
        assert "CERTIFICATE_VERIFY_FAILED" in answer.reason


async def test_a_server_that_wants_a_certificate_and_gets_none_is_no_consent() -> None:
    """With TLS 1.3 it says so only after our request."""
    async with FakeReceiver(ssl=server_tls_context(LOOPBACK, client_ca=LOOPBACK)) as server:
        assert isinstance(await tell(a_receiver(server.url, ca_file=LOOPBACK)), Retry)
        assert [] == server.deliveries


async def test_certificates_are_read_again_when_their_files_change(tmp_path: Path) -> None:
    """A renewed certificate counts from the next delivery on, without a restart; a missing one is named."""
    own, authority = tmp_path / "client.pem", tmp_path / "ca.pem"
    async with FakeReceiver(ssl=server_tls_context(LOOPBACK, client_ca=LOOPBACK)) as server:
        hook = a_receiver(server.url, ca_file=authority, client_cert=own)
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


async def test_a_connection_is_kept_while_nothing_changes() -> None:
    """A handshake for each page would be late by its time."""
    connections = []

    class Counting(FakeReceiver):
        async def _serve(self, reader: Any, writer: Any) -> None:
            connections.append(writer)
            await super()._serve(reader, writer)

    async with Counting(ssl=server_tls_context(LOOPBACK)) as server:
        hook = a_receiver(server.url, ca_file=LOOPBACK)
        async with open_http_client(hook) as http:
            for _ in range(3):
                assert Accepted() == await hook.send(http, PAGE, NOON)
    assert (3, 1) == (len(server.deliveries), len(connections))


async def test_plain_http_is_handed_to_the_proxy_as_it_is() -> None:
    """Its own one goes before that of the environment, and on the way to this machine as well."""
    async with FakeReceiver() as proxy, FakeReceiver() as server:
        assert Accepted() == await tell(a_receiver(f"{server.url}/hook", proxy=proxy.url))
        assert ([], [f"{server.url}/hook"]) == (server.deliveries, [delivery.path for delivery in proxy.deliveries])


async def test_a_proxy_of_the_environment_is_used_for_others_and_not_for_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or an Alertmanager in the same pod could not be reached; ``NO_PROXY`` is heeded, too."""
    async with FakeReceiver() as proxy, FakeReceiver() as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "spared.invalid")
        assert Accepted() == await tell(a_receiver(server.url))
        assert Accepted() == await tell(a_receiver("http://elsewhere.invalid/"))
        assert isinstance(await tell(a_receiver("http://spared.invalid/")), Retry)
    assert (1, ["http://elsewhere.invalid/"]) == (
        len(server.deliveries),
        [delivery.path for delivery in proxy.deliveries],
    )


async def test_a_proxy_that_refuses_is_no_refusal_of_the_receiver() -> None:
    """Nothing of the page has left; the proxy's password is not shown."""
    refusal = b"HTTP/1.1 407 wants user:5up3rs3cr3t\r\nContent-Length: 0\r\n\r\n"
    async with ConnectProxy(refusal=refusal) as proxy:
        hook = a_receiver(
            "https://hooks.invalid/", proxy=proxy.url.replace("http://", "http://user:5up3rs3cr3t@"), ca_file=LOOPBACK
        )
        answer = await tell(hook)
    assert isinstance(answer, Retry)
    assert (True, "the proxy does not let us through: 407 wants") == (
        answer.is_definitely_undelivered,
        answer.reason[:44],
    )
    assert "5up3rs3cr3t" not in answer.reason
    assert "Proxy-Authorization: Basic dXNlcjo1dXAzcnMzY3IzdA==" in proxy.heads[0]


async def test_a_proxy_from_a_file_is_read_again(tmp_path: Path) -> None:
    """A rotated password counts from the next delivery on; a file that is gone is a reason to try later."""
    file = tmp_path / "proxy"
    async with FakeReceiver() as first, FakeReceiver() as second:
        file.write_text(first.url)
        hook = a_receiver("http://elsewhere.invalid/", proxy={"file": str(file)})
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


async def test_a_delivery_goes_on_while_another_finds_new_certificates(tmp_path: Path) -> None:
    """What is under way is not cut off by what comes after it."""
    authority = tmp_path / "ca.pem"
    shutil.copy(LOOPBACK, authority)
    async with FakeReceiver(HANG, ssl=server_tls_context(LOOPBACK)) as server:
        hook = a_receiver(server.url, ca_file=authority, timeout=0.5)
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
def test_a_webhook_that_cannot_be_meant(fields: dict[str, Any], words: str) -> None:
    """Told when the configuration is read, without the secret."""
    with pytest.raises(ValidationError) as caught:
        Webhook.model_validate({**webhook_config(), **fields})
    told = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in told
    assert "t0ken" not in told


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
def test_a_receiver_without_its_secret_or_with_a_wrong_one(section: dict[str, Any], words: str) -> None:
    """Told when the configuration is read."""
    model: Any = {"pagerduty": PagerDuty, "slack": Slack, "alertmanager": Alertmanager}[section["type"]]
    with pytest.raises(ValidationError) as caught:
        model.model_validate(section)
    told = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in told
    assert "t0ken" not in told


def test_what_is_in_the_way_can_be_said_beforehand(tmp_path: Path) -> None:
    """Files that cannot be read, or hold what they should not."""
    file = tmp_path / "file"

    def obstacle(receiver: HttpReceiver) -> str | None:
        return receiver.delivery_obstacle()

    missing = f"cannot read the secret file {file}: No such file or directory"
    assert obstacle(a_receiver("http://127.0.0.1:9/")) is None
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


async def test_a_407_of_a_proxy_that_is_handed_the_request_is_told() -> None:
    """Whoever reads it knows where to look."""
    async with FakeReceiver(Reply(407, body=b"who are you")) as proxy:
        answer = await tell(a_receiver("http://elsewhere.invalid/", proxy=proxy.url))
    assert Refused("HTTP 407: who are you") == answer
