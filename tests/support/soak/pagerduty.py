"""A PagerDuty without a network: it records each event, who sent it, and the incidents that people see."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from support.simulated_time import World, running_machine

_FAILURES = 0.1  # part of the events that are refused, and of those that are accepted and not answered


class PagerIncident(Struct):
    """An incident of PagerDuty: when it was opened and resolved, and the alerts it is about, as (rule, subject)."""

    key: str
    opened: float
    about: tuple[str, str]
    resolved: float | None = None


class PagerDutyEvents:
    """Receives events. Some are answered with an error, some are accepted and not answered.

    ``may_send`` returns whether the replica on a machine owns the alerts, by the database.
    """

    def __init__(self, world: World, may_send: Callable[[Any], bool], random: Random) -> None:
        self._world, self._may_send, self._random = world, may_send, random
        self.incidents: list[PagerIncident] = []
        self.violations: list[str] = []
        self.events = self.refused = self.unanswered = self.repeated = 0
        self._open: dict[str, PagerIncident] = {}
        self._last_action: dict[str, str] = {}

    @property
    def open_incidents(self) -> list[PagerIncident]:
        """The incidents that are not resolved."""
        return list(self._open.values())

    def transport(self) -> httpx2.AsyncBaseTransport:
        """Return a transport that delivers here."""
        return _Transport(self)

    async def receive(self, request: httpx2.Request) -> httpx2.Response:
        """Take a request: after the permission was checked a last time, at the moment in which it is written."""
        machine = running_machine()
        await asyncio.sleep(self._random.uniform(0.02, 0.3))
        if trace := request.extensions.get("trace"):
            await trace("http11.send_request_headers.started", {})
        if not self._may_send(machine):
            self.violations.append(f"a deposed owner has sent a notification at {self._world.now:.1f}")
        if self._random.random() < _FAILURES:
            self.refused += 1
            return _response(503, b"try again")
        event = msgspec.json.decode(request.content)
        key, action = event["dedup_key"], event["event_action"]
        self._take(key, action, event)
        await asyncio.sleep(self._random.uniform(0.02, 0.3))
        if self._random.random() < _FAILURES:
            self.unanswered += 1
            raise httpx2.ReadError("the connection was closed before the response")
        return _response(202, b'{"status": "success"}')

    def _take(self, key: str, action: str, event: dict[str, Any]) -> None:
        self.events += 1
        incident = self._open.get(key)
        if action == "trigger" and incident is None:
            details = event["payload"]["custom_details"]
            alerts = details["alerts"] or details.get("no_longer_firing", [])
            incident = PagerIncident(key, self._world.now, (alerts[0]["alert"], alerts[0]["about"]))
            self._open[key] = incident
            self.incidents.append(incident)
        elif action == "resolve" and incident is not None:
            incident.resolved = self._world.now
            del self._open[key]
        elif self._last_action.get(key) == action:
            self.repeated += 1
        else:
            self.violations.append(f"{action} of {key} without a trigger at {self._world.now:.1f}")
        self._last_action[key] = action


def _response(status: int, body: bytes) -> httpx2.Response:
    return httpx2.Response(status, stream=httpx2.ByteStream(body), headers={"Content-Type": "application/json"})


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, events: PagerDutyEvents) -> None:
        self._events = events

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._events.receive(request)
