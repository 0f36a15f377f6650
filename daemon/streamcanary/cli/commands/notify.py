"""``streamcanary notify``: a test page and its resolve, to see that a receiver is told."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamcanary.cli.load_config import Unusable, read_config
from streamcanary.settings import Settings

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from streamcanary.alerting.notify.message import Alert
    from streamcanary.alerting.notify.receivers import EventReceiver, Receiver, StateReceiver
    from streamcanary.alerting.notify.receivers.delivery_result import DeliveryResult

_ALERT = "StreamcanaryTest"


def main(arguments: argparse.Namespace) -> int:
    """Tell a receiver of an alert, and that it is over; return 0 if it took both, 1 if not, 2 if it cannot be told."""
    try:
        settings = read_config(arguments.config)
        receiver = _find(settings, arguments.receiver)
    except Unusable as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_notify(receiver, settings.instance))


def _find(settings: Settings, name: str) -> "Receiver":
    receivers = settings.alerts.receivers
    if name not in receivers:
        raise Unusable(f"there is no receiver {name!r}; known: {', '.join(receivers) or 'none'}")
    if obstacle := receivers[name].delivery_obstacle():
        raise Unusable(f"receiver {name}: {obstacle}")
    return receivers[name]


async def _notify(receiver: "Receiver", instance: str) -> int:
    from streamcanary.alerting.notify.receivers import StateReceiver
    from streamcanary.alerting.notify.receivers.http import open_http_client

    async with open_http_client(receiver.connection_settings) as http:
        if isinstance(receiver, StateReceiver):
            taken = [await _tell_state(receiver, http, url, instance) for url in receiver.urls]
            return 0 if all(taken) else 1
        return 0 if await _tell_changes(receiver, http, instance) else 1


async def _tell_changes(receiver: "EventReceiver", http: "AsyncClient", instance: str) -> bool:
    from uuid import uuid4

    from streamcanary.alerting.notify.message import Message
    from streamcanary.alerting.notify.receivers.delivery_result import Accepted
    from streamcanary.model.alerts.incident import Action
    from streamcanary.model.clock import SystemClock

    clock, key = SystemClock(), uuid4().hex  # each test is a group of its own
    begun = clock.time()
    for action in (Action.TRIGGER, Action.RESOLVE):
        now = clock.time()
        alert = _alert(key, instance, begun, now if action is Action.RESOLVE else None)
        page = Message(
            id=f"{key}-{action}",
            key=key,
            action=action,
            labels={"alert": _ALERT},
            opened=begun,
            alerts=(alert,),
            alert_count=1,
        )
        answer = await receiver.send(http, page, now)
        _show(action.value, answer)
        if not isinstance(answer, Accepted):
            return False
    return True


async def _tell_state(receiver: "StateReceiver", http: "AsyncClient", url: str, instance: str) -> bool:
    from uuid import uuid4

    from streamcanary.alerting.notify.receivers.delivery_result import Accepted
    from streamcanary.model.clock import SystemClock

    clock, key = SystemClock(), uuid4().hex
    begun = clock.time()
    for state in ("firing", "resolved"):
        now = clock.time()
        alert = _alert(key, instance, begun, now if state == "resolved" else None)
        answer = await receiver.post(http, url, [alert], now)
        _show(f"{urlsplit(url).netloc} {state}", answer)
        if not isinstance(answer, Accepted):
            return False
    return True


def _alert(key: str, instance: str, opened: float, resolved: float | None) -> "Alert":
    from streamcanary.alerting.notify.message import Alert
    from streamcanary.model.alerts.incident import Evidence

    return Alert(
        key=key,
        alert=_ALERT,
        subject=instance,
        canary=None,
        labels={"alertname": _ALERT, "instance": instance, "severity": "page"},
        annotations={"summary": "A test page: nothing is wrong", "description": "Sent by streamcanary notify."},
        opened=opened,
        resolved=resolved,
        resolve_reason=None if resolved is None else "the test is over",
        resolve_condition="its resolve, which follows at once",
        evidence=Evidence(),
    )


def _show(what: str, answer: "DeliveryResult") -> None:
    from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Refused

    match answer:
        case Accepted():
            said = "accepted"
        case Refused(reason):
            said = f"refused: {reason}"
        case _:
            after = "" if answer.retry_after is None else f", after {answer.retry_after:g} s"
            said = f"not taken, the daemon would try again{after}: {answer.reason}"
    print(f"{what}: {said}", flush=True)
