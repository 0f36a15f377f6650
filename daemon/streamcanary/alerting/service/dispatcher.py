"""The tasks that talk to receivers, one for each: what they send and when is decided in ``outbox`` and ``standing``."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

import httpx2

from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Input, SendFinished, SendStarted, StateReceiverReported
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.message import render_alert, render_notification
from streamcanary.alerting.notify.receivers import EventReceiver, StateReceiver
from streamcanary.alerting.notify.receivers.alertmanager import ALERT_EXPIRY
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers.rate_limit import RateLimiter
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.model.alerts.incident import Incident, Notification, NotificationState
from streamcanary.model.clock import Clock

_log = logging.getLogger(__name__)

_MAX_WAIT = 60.0  # seconds; after a clock jump a sender looks again no later than this
_MAX_BACKOFF = ALERT_EXPIRY / 3  # seconds; a level receiver that hears nothing for longer ends alerts that still fire


class EngineHandle(Protocol):
    """Where senders read what is in the store, and hand in what became of it."""

    clock: Clock
    random: Random

    @property
    def state(self) -> State:
        """The state as the store has it, or while the store fails, as it is."""
        ...

    async def submit(self, input: Input) -> None:  # noqa: A002
        """Have ``input`` stepped; returns once the result is in :attr:`state`."""
        ...

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery."""
        ...


class EventDispatcher:
    """Sends the notices of one edge receiver, one at a time."""

    def __init__(
        self,
        name: str,
        receiver: EventReceiver,
        engine: EngineHandle,
        http: httpx2.AsyncClient,
        trace_url: str | None = None,
    ) -> None:
        self.name = name
        self._trace_url = trace_url
        self._rate_limiter = RateLimiter(receiver.per_minute)
        self._receiver = receiver
        self._engine = engine
        self._http = http
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self.wake.clear()
            notification = notification_queue.next_notification(
                self._engine.state, self.name, self._engine.clock.time()
            )
            wait = (
                None
                if notification is None
                else notification_queue.seconds_until_due(notification, self._engine.clock.time())
            )
            if notification is None or wait:
                await _wait(self.wake, wait)
                continue
            if rate_limit_wait := self._rate_limiter.acquire(self._engine.clock.monotonic()):
                await asyncio.sleep(rate_limit_wait)
                continue
            await self._engine.submit(SendStarted(notification.id))
            started = self._engine.state.notifications.get(notification.id)
            if (
                started is None
                or started.state is not NotificationState.PENDING
                or started.attempts == notification.attempts
            ):
                await _wait(self.wake, 1.0)  # it was called off before it went out, which wakes us, too
                continue
            result = await self._send(started)
            _record_result(
                self._engine,
                self.name,
                result,
                f"notice {notification.id} ({notification.action} {notification.group})",
            )
            await self._engine.submit(SendFinished(notification.id, result, self._engine.random.random()))

    def is_drained(self, deadline: float) -> bool:
        """Tell whether nothing is to be sent until ``before`` (seconds since the epoch)."""
        notification = notification_queue.next_notification(self._engine.state, self.name, deadline)
        return notification is None or notification.next_attempt > deadline

    async def _send(self, notification: Notification) -> DeliveryResult:
        try:
            return await self._receiver.send(
                self._http, render_notification(notification, self._trace_url), self._engine.clock.time()
            )
        except Exception as error:  # noqa: BLE001 - a defect of ours ends in the log, and stops no other page
            _log.exception("notice %s to %s could not be sent", notification.id, self.name)
            return Retry(reason=f"internal error: {type(error).__name__}", is_definitely_undelivered=True)


class PeerHealth:
    """The addresses of one level receiver that refuse what they are told, and those that take nothing for minutes."""

    def __init__(self, refusing_urls: Iterable[str] = ()) -> None:
        self.refusing_urls = set(refusing_urls)
        self.unreachable_urls: set[str] = set()


class StateDispatcher:
    """Tells one address of a level receiver the state of things.

    ``peers`` is shared by the senders of one receiver. ``failing`` tells since when this address has taken nothing,
    while there is something to tell.
    """

    def __init__(
        self,
        name: str,
        receiver: StateReceiver,
        url: str,
        engine: EngineHandle,
        http: httpx2.AsyncClient,
        peer_health: PeerHealth,
        trace_url: str | None = None,
    ) -> None:
        self._trace_url = trace_url
        self._rate_limiter = RateLimiter(receiver.per_minute)
        self.name = name
        self._receiver = receiver
        self._url = url
        self._engine = engine
        self._http = http
        self._peer_health = peer_health
        self._last_sent_states: frozenset[tuple[str, float, bool]] = frozenset()
        self._last_sent = 0.0
        self._consecutive_failures = 0
        self.delivery_failure: DeliveryFailure | None = None
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Tell for ever: at a change at once, else each ``resend`` seconds; after a failure sooner."""
        wait: float | None = 0.0
        while True:
            if wait:
                await _wait(self.wake, wait)
            self.wake.clear()
            now = self._engine.clock.time()
            incidents = active_alerts(self._engine.state, self.name, now)
            elapsed = self._engine.clock.monotonic() - self._last_sent
            if not incidents:
                self.delivery_failure = None
            if not incidents or (
                self._incident_states(incidents) <= self._last_sent_states and elapsed < self._receiver.resend
            ):
                wait = self._receiver.resend - elapsed if incidents else _MAX_WAIT
                continue
            if rate_limit_wait := self._rate_limiter.acquire(self._engine.clock.monotonic()):
                wait = rate_limit_wait
                continue
            wait = await self._send_state(incidents, now)

    def is_drained(self, deadline: float) -> bool:
        """Tell whether this address has heard of every change."""
        return self._incident_states(active_alerts(self._engine.state, self.name, deadline)) <= self._last_sent_states

    async def _send_state(self, incidents: tuple[Incident, ...], now: float) -> float:
        """Send ``incidents`` and return the seconds until the next time."""
        started = self._engine.clock.monotonic()
        result = await self._post(incidents, now)
        _record_result(self._engine, self.name, result, f"{len(incidents)} alerts to {urlsplit(self._url).netloc}")
        since = started if self.delivery_failure is None else self.delivery_failure.since
        self.delivery_failure = None if isinstance(result, Accepted) else DeliveryFailure(since, result.reason)
        if isinstance(result, Retry):
            self._consecutive_failures += 1
            if started - since >= notification_queue.FAILING_AFTER:
                await self._report_unreachable(result)
            wait = notification_queue.backoff(self._consecutive_failures, self._engine.random.random())
            await self._wait_for_backoff(max(wait, min(result.retry_after or 0.0, _MAX_BACKOFF)))
            return 0.0
        self._consecutive_failures = 0
        self._last_sent_states, self._last_sent = self._incident_states(incidents), started
        if isinstance(result, Refused):
            self._peer_health.refusing_urls.add(self._url)
            await self._engine.submit(StateReceiverReported(self.name, result))
        elif self._url in self._peer_health.refusing_urls | self._peer_health.unreachable_urls:
            self._peer_health.refusing_urls.discard(self._url)
            self._peer_health.unreachable_urls.discard(self._url)
            if not self._peer_health.refusing_urls:
                await self._engine.submit(StateReceiverReported(self.name, result))
        return self._receiver.resend

    async def _report_unreachable(self, result: Retry) -> None:
        """Say that the receiver fails, if none of its addresses has taken anything for minutes."""
        self._peer_health.unreachable_urls.add(self._url)
        if self._peer_health.unreachable_urls.issuperset(self._receiver.urls):
            await self._engine.submit(StateReceiverReported(self.name, result))

    async def _wait_for_backoff(self, seconds: float) -> None:
        """Wait out a backoff, changes or not: they go out with the retry."""
        until = self._engine.clock.monotonic() + seconds
        while (rest := until - self._engine.clock.monotonic()) > 0:
            self.wake.clear()
            await _wait(self.wake, rest)

    async def _post(self, incidents: Sequence[Incident], now: float) -> DeliveryResult:
        try:
            alerts = [render_alert(incident, now, self._trace_url) for incident in incidents]
            return await self._receiver.post(self._http, self._url, alerts, now)
        except Exception as error:  # noqa: BLE001 - a defect of ours ends in the log, and stops no other receiver
            _log.exception("alerts to %s could not be sent", self.name)
            return Retry(reason=f"internal error: {type(error).__name__}", is_definitely_undelivered=True)

    @staticmethod
    def _incident_states(incidents: Sequence[Incident]) -> frozenset[tuple[str, float, bool]]:
        return frozenset((incident.key, incident.opened, incident.is_firing) for incident in incidents)


def delivery_failures(
    dispatchers: Iterable[EventDispatcher | StateDispatcher],
) -> dict[str, list[DeliveryFailure | None]]:
    """Return what the addresses of each level receiver say while they take nothing, by its name."""
    found: dict[str, list[DeliveryFailure | None]] = {}
    for dispatcher in dispatchers:
        if isinstance(dispatcher, StateDispatcher):
            found.setdefault(dispatcher.name, []).append(dispatcher.delivery_failure)
    return found


async def _wait(wake: asyncio.Event, seconds: float | None) -> None:
    """Wait until woken, or for ``seconds``, and no longer than a minute."""
    try:
        async with asyncio.timeout(min(_MAX_WAIT if seconds is None else seconds, _MAX_WAIT)):
            await wake.wait()
    except TimeoutError:
        pass


def _record_result(engine: EngineHandle, receiver: str, result: DeliveryResult, what: str) -> None:
    match result:
        case Accepted():
            engine.record_delivery(receiver, "accepted")
            _log.debug("receiver %s accepted %s", receiver, what)
        case Retry(reason=reason):
            engine.record_delivery(receiver, "retried")
            _log.warning("receiver %s did not take %s, it will be tried again: %s", receiver, what, reason)
        case Refused(reason):
            engine.record_delivery(receiver, "refused")
            _log.error("receiver %s refused %s: %s", receiver, what, reason)
