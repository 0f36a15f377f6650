"""The verb ``notify``: sends a test notification and its resolve to a receiver."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamcanary.cli.load_config import UsageError, load_config
from streamcanary.settings import Settings

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from streamcanary.alerting.notify.delivery.result import DeliveryResult
    from streamcanary.alerting.notify.message import Alert
    from streamcanary.alerting.notify.receivers import EventReceiver, Receiver, StateReceiver

_TEST_ALERT = "StreamcanaryTest"


def main(arguments: argparse.Namespace) -> int:
    """Send a test notification and its resolve; return 0 if both are accepted, 1 if not, 2 if nothing can be sent."""
    try:
        settings = load_config(arguments.config)
        receiver = _find_receiver(settings, arguments.receiver)
    except UsageError as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_send_test(receiver, settings.member_instance))


def _find_receiver(settings: Settings, name: str) -> "Receiver":
    receivers = settings.alerts.receivers
    if name not in receivers:
        raise UsageError(f"unknown receiver {name!r}; known: {', '.join(receivers) or 'none'}")
    if obstacle := receivers[name].delivery_obstacle():
        raise UsageError(f"receiver {name}: {obstacle}")
    return receivers[name]


async def _send_test(receiver: "Receiver", instance: str) -> int:
    from streamcanary.alerting.notify.delivery.http import open_http_client
    from streamcanary.alerting.notify.receivers import StateReceiver

    async with open_http_client(receiver.connection_settings) as http:
        if isinstance(receiver, StateReceiver):
            accepted = [await _notify_state_receiver(receiver, http, url, instance) for url in receiver.urls]
            return 0 if all(accepted) else 1
        return 0 if await _notify_event_receiver(receiver, http, instance) else 1


async def _notify_event_receiver(receiver: "EventReceiver", http: "AsyncClient", instance: str) -> bool:
    from uuid import uuid4

    from streamcanary.alerting.notify.delivery.result import Accepted
    from streamcanary.alerting.notify.message import Message
    from streamcanary.model.alerts.incident import Action
    from streamcanary.model.clock import SystemClock

    clock, key = SystemClock(), uuid4().hex  # each test has a new group
    started = clock.time()
    for action in (Action.TRIGGER, Action.RESOLVE):
        now = clock.time()
        alert = _make_test_alert(key, instance, started, now if action is Action.RESOLVE else None)
        message = Message(
            id=f"{key}-{action}",
            key=key,
            action=action,
            labels={"alert": _TEST_ALERT},
            opened=started,
            alerts=(alert,),
            alert_count=1,
        )
        result = await receiver.send(http, message, now)
        _print_result(action.value, result)
        if not isinstance(result, Accepted):
            return False
    return True


async def _notify_state_receiver(receiver: "StateReceiver", http: "AsyncClient", url: str, instance: str) -> bool:
    from uuid import uuid4

    from streamcanary.alerting.notify.delivery.result import Accepted
    from streamcanary.model.clock import SystemClock

    clock, key = SystemClock(), uuid4().hex
    started = clock.time()
    for state in ("firing", "resolved"):
        now = clock.time()
        alert = _make_test_alert(key, instance, started, now if state == "resolved" else None)
        result = await receiver.post(http, url, [alert], now)
        _print_result(f"{urlsplit(url).netloc} {state}", result)
        if not isinstance(result, Accepted):
            return False
    return True


def _make_test_alert(key: str, instance: str, opened: float, resolved: float | None) -> "Alert":
    from streamcanary.alerting.notify.message import Alert
    from streamcanary.model.alerts.incident import Evidence

    return Alert(
        key=key,
        alert=_TEST_ALERT,
        subject=instance,
        canary=None,
        labels={"alertname": _TEST_ALERT, "instance": instance, "severity": "page"},
        annotations={"summary": "Test notification: nothing is broken", "description": "Sent by streamcanary notify."},
        opened=opened,
        resolved=resolved,
        resolve_reason=None if resolved is None else "the test has ended",
        resolve_condition="the resolve that follows at once",
        evidence=Evidence(),
    )


def _print_result(what: str, result: "DeliveryResult") -> None:
    from streamcanary.alerting.notify.delivery.result import Accepted, Refused

    match result:
        case Accepted():
            text = "accepted"
        case Refused(reason):
            text = f"refused: {reason}"
        case _:
            after = "" if result.retry_after is None else f" after {result.retry_after:g} s"
            text = f"failed, the daemon would retry{after}: {result.reason}"
    print(f"{what}: {text}", flush=True)
