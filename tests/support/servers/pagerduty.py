"""PagerDuty's Events API v2 on loopback, validated as documented: https://developer.pagerduty.com/docs."""

import json
from collections.abc import Iterator
from typing import Any

from support.servers.receiver import Behaviour, Delivery, FakeReceiver, Reply

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
"""The only valid routing key."""

_ACTIONS = {"trigger", "acknowledge", "resolve"}
_SEVERITIES = {"critical", "error", "warning", "info"}
_EVENT = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
_PAYLOAD = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}


class FakePagerDuty(FakeReceiver):
    """A :class:`FakeReceiver` of events that tracks the resulting incidents.

    ``open`` has the triggered incidents by key. ``log`` has an action and key for each event: ``trigger``, ``again``
    (trigger of an open incident), ``resolve``, or ``dropped`` (resolve without an open incident).
    """

    def __init__(self, *script: Behaviour, **more: Any) -> None:
        super().__init__(*script, **more)
        self.open: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[str, str]] = []

    def reply(self, delivery: Delivery) -> Behaviour:
        """Validate an event and respond as PagerDuty does."""
        if delivery.path != "/v2/enqueue":
            return Reply(404, body=b"Not Found")
        errors = list(_errors(delivery.body))
        if errors:
            response = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
            return Reply(400, {"Content-Type": "application/json"}, json.dumps(response).encode())
        event = delivery.json
        self._apply_event(event["event_action"], event["dedup_key"], event)
        response = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
        return Reply(202, {"Content-Type": "application/json"}, json.dumps(response).encode())

    def _apply_event(self, action: str, key: str, event: dict[str, Any]) -> None:
        if action == "trigger":
            self.log.append(("again" if key in self.open else "trigger", key))
            self.open.setdefault(key, event)
        else:
            self.log.append(("resolve" if self.open.pop(key, None) else "dropped", key))


def _errors(body: bytes) -> Iterator[str]:
    if len(body) > 512 * 1024:
        yield "Event is too large"
    event = json.loads(body)
    if len(event.get("routing_key", "")) != 32:
        yield "Length of 'routing_key' is incorrect (should be 32 characters)"
    elif event["routing_key"] != ROUTING_KEY:
        yield "'routing_key' is unknown"
    if event.get("event_action") not in _ACTIONS:
        yield "'event_action' is missing or unknown"
    if not 0 < len(event.get("dedup_key", "")) <= 255:
        yield "Length of 'dedup_key' is incorrect (should be at most 255 characters)"
    yield from (f"'{name}' is not allowed" for name in event.keys() - _EVENT)
    for link in event.get("links", []):
        if not link.get("href", "").startswith(("http://", "https://")) or not link.get("text"):
            yield "'links' is invalid"
    if event.get("event_action") == "trigger" or "payload" in event:
        yield from _payload_errors(event.get("payload") or {})


def _payload_errors(payload: dict[str, Any]) -> Iterator[str]:
    yield from (f"'payload.{name}' is not allowed" for name in payload.keys() - _PAYLOAD)
    if not 0 < len(payload.get("summary", "")) <= 1024:
        yield "Length of 'payload.summary' is incorrect (should be at most 1024 characters)"
    if not payload.get("source"):
        yield "'payload.source' is missing or blank"
    if payload.get("severity") not in _SEVERITIES:
        yield "'payload.severity' is invalid (must be one of the following: critical, warning, error or info)"
    yield from (f"'payload.{name}' is blank" for name in ("component", "group", "class") if payload.get(name) == "")
