"""A replica whose lease has expired by its own clock sends nothing, even in the middle of a delivery."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from streamcanary.alerting.notify.delivery.http import open_http_client, post
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Retry
from streamcanary.alerting.notify.delivery.send_permission import sending_while
from streamcanary.alerting.notify.receivers import apprise
from streamcanary.alerting.notify.receivers.apprise import Apprise
from streamcanary.model.replicas import Ownership
from support.alerting.builders import a_message, alerts, webhook_config
from support.alerting.messages import an_incident
from support.alerting.service import OUTAGE, wait_until, webhooks_config
from support.alerting.shared import add_runs, running_replicas
from support.servers.receiver import FakeReceiver

EXPIRED = Retry(reason="not sent: the lease of alerting has expired")


async def deliver(url: str, permission: Callable[[], bool]) -> DeliveryResult:
    """Post to ``url`` while ``permission`` returns true."""
    with sending_while(permission):
        async with open_http_client() as http:
            return await post(http, url, content=b"{}", headers={}, timeout=10, now=0.0)


async def test_lease_that_expires_while_the_connection_is_opened_sends_nothing() -> None:
    """The lease is checked when the connection is open, directly before the request is written to it."""
    async with FakeReceiver() as hook:
        opened = asyncio.Event()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            opened.set()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        checks: list[bool] = []

        def is_valid() -> bool:
            checks.append(True)
            return False

        assert EXPIRED == await deliver(f"http://127.0.0.1:{port}/", is_valid)
        await asyncio.wait_for(opened.wait(), 10)
        assert [True] == checks
        assert Accepted() == await deliver(hook.url, lambda: True)
        server.close()
        await server.wait_closed()


async def test_lease_that_expires_between_head_and_body_ends_the_request() -> None:
    """The body is not written if the lease has expired since the head was."""
    async with FakeReceiver() as hook:
        answers = iter([True, False])
        assert EXPIRED == await deliver(hook.url, lambda: next(answers))
        assert [] == hook.deliveries


async def test_check_of_the_lease_keeps_the_bound_of_informational_responses() -> None:
    """A server that sends informational responses without end is still cut off."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
        writer.close()
        with contextlib.suppress(OSError):  # the client has closed it
            await writer.wait_closed()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        result = await deliver(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", lambda: True)
    assert isinstance(result, Retry)
    assert "informational responses" in result.reason


async def test_apprise_checks_the_lease_before_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery through Apprise stops before the first address for which the lease has expired."""
    sent: list[str] = []
    monkeypatch.setattr(apprise, "_notify", lambda url, *_: sent.append(url))
    urls = [f"json://user:password@127.0.0.1:{port}/" for port in (1, 2)]
    receiver = Apprise.model_validate({"type": "apprise", "urls": urls})
    answers = iter([True, False])
    with sending_while(lambda: next(answers)):
        async with open_http_client() as http:
            result = await receiver.send(http, a_message(an_incident()), 0.0)
    assert (urls[:1], EXPIRED) == (sent, result)


@pytest.mark.parametrize("receiver", ["hook", "prom"])
async def test_process_that_was_stopped_past_its_lease_sends_nothing(receiver: str) -> None:
    """An owner that was stopped and continues has an expired lease: neither notification nor active alerts are sent."""
    async with FakeReceiver() as server:
        configs: dict[str, Any] = {
            "hook": webhook_config(server.url),
            "prom": {"type": "alertmanager", "urls": [server.url]},
        }
        config = alerts(receivers={receiver: configs[receiver]})
        async with running_replicas(config) as (one, two):
            await one.take_over()
            await wait_until(lambda: one.alerting.is_owner)
            one.is_valid = False  # its clock says so before anything else is noticed
            add_runs(one.alerts, *OUTAGE)
            await wait_until(lambda: one.transitions)
            await wait_until(lambda: one.alerting.status.undelivered_count)
            assert [] == server.deliveries
            await two.take_over(fence=True)
            await server.wait_for_deliveries(1)
            one.lose()
            assert 1 == len(server.deliveries)


async def test_former_lease_does_not_become_valid_with_the_next_one() -> None:
    """A replica that has joined again, and owns alerts with another epoch, sends nothing under the former one."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        await one.take_over()
        await wait_until(lambda: one.alerting.is_owner)
        one.ownership = Ownership(one.session, 99)
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: one.transitions and one.alerting.status.undelivered_count)
        assert [] == hook.deliveries
