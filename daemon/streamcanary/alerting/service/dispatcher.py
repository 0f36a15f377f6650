"""Dispatchers: the tasks that deliver to receivers.

``engine.notification_queue`` and ``engine.active_alerts`` decide what is sent, and when.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

import httpx2

from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.grouping.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Input, SendFinished, SendStarted, StateReceiverReported
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.delivery.rate_limit import RateLimiter
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.delivery.send_permission import sending_while
from streamcanary.alerting.notify.message import NO_LINKS, render_alert, render_notification
from streamcanary.alerting.notify.page_links import LinkSettings
from streamcanary.alerting.notify.receivers import EventReceiver, StateReceiver
from streamcanary.alerting.notify.receivers.alertmanager import ALERT_EXPIRY
from streamcanary.alerting.service.alert_log import incident_fields
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.model.alerts.incident import Incident, Notification, NotificationState
from streamcanary.model.clock import Clock

_log = logging.getLogger(__name__)

_MAX_WAIT = 60.0  # seconds after a clock step until a dispatcher checks the time again
_MAX_BACKOFF = ALERT_EXPIRY / 3  # seconds; a state receiver ends a firing alert that is not sent for longer


class EngineHandle(Protocol):
    """The interface of dispatchers to the engine: the committed state, and inputs for the results."""

    clock: Clock
    random: Random

    @property
    def state(self) -> State:
        """The committed state; while a store of this daemon alone fails, the state in memory."""
        ...

    def may_send(self) -> bool:
        """Return whether this daemon may send notifications now; called directly before each request."""
        ...

    async def submit(self, input: Input) -> None:  # noqa: A002
        """Step the engine with ``input``; return once the result is in :attr:`state`."""
        ...

    def record_delivery(self, receiver: str, outcome: str) -> None:
        """Count a delivery."""
        ...

    def record_active_alerts(self, receiver: str, incidents: tuple[Incident, ...]) -> None:
        """Record that a state receiver has accepted ``incidents``, which it had not got in this state."""
        ...


class EventDispatcher:
    """Sends the notifications of one event receiver, one at a time."""

    def __init__(
        self,
        name: str,
        receiver: EventReceiver,
        engine: EngineHandle,
        http: httpx2.AsyncClient,
        links: LinkSettings = NO_LINKS,
    ) -> None:
        self.name = name
        self._links = links
        self._rate_limiter = RateLimiter(receiver.per_minute)
        self._receiver = receiver
        self._engine = engine
        self._http = http
        self._is_retired = False
        self.wake = asyncio.Event()

    def retire(self) -> None:
        """Let :meth:`run` return: at once, or after the notification that is being sent."""
        self._is_retired = True
        self.wake.set()

    async def run(self) -> None:
        """Send notifications until cancelled, or until :meth:`retire`."""
        while not self._is_retired:
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
                await _wait(self.wake, rate_limit_wait)
                continue
            await self._engine.submit(SendStarted(notification.id))
            started = self._engine.state.notifications.get(notification.id)
            if (
                started is None
                or started.state is not NotificationState.PENDING
                or started.attempts == notification.attempts
            ):
                await _wait(self.wake, 1.0)  # it was cancelled before it was sent, which sets ``wake``
                continue
            result = await self._send(started)
            _count_result(self._engine, self.name, result)
            try:
                await self._engine.submit(SendFinished(notification.id, result, self._engine.random.random()))
            finally:  # also if the daemon stops while the store does not answer
                self._log_result(started, result)

    def is_drained(self, deadline: float) -> bool:
        """Return whether no notification is due until ``deadline`` (seconds since the epoch)."""
        notification = notification_queue.next_notification(self._engine.state, self.name, deadline)
        return notification is None or notification.next_attempt > deadline

    async def _send(self, notification: Notification) -> DeliveryResult:
        try:
            with sending_while(self._engine.may_send):
                return await self._receiver.send(
                    self._http, render_notification(notification, self._links), self._engine.clock.time()
                )
        except Exception as error:  # noqa: BLE001 - an internal error is logged, and stops no other notification
            _log.exception(
                "notification could not be created",
                extra={"receiver": self.name, "notification": notification.id, "action": notification.action.value},
            )
            return Retry(reason=f"internal error: {type(error).__name__}", is_definitely_undelivered=True)

    def _log_result(self, notification: Notification, result: DeliveryResult) -> None:
        """Log the result of a delivery, after the engine has set the time of the retry."""
        after = self._engine.state.notifications.get(notification.id)
        is_pending = after is not None and after.state is NotificationState.PENDING
        _log_result(
            result,
            max(0.0, after.next_attempt - self._engine.clock.time()) if after is not None and is_pending else None,
            receiver=self.name,
            notification=notification.id,
            action=notification.action.value,
            group=notification.group,
            attempt=notification.attempts,
            **incident_fields(notification.members, notification.member_count),
        )


class PeerHealth:
    """The addresses of one state receiver that refuse deliveries, and those that have failed for minutes."""

    def __init__(self, refusing_urls: Iterable[str] = ()) -> None:
        self.refusing_urls = set(refusing_urls)
        self.unreachable_urls: set[str] = set()


class StateDispatcher:
    """Sends all active alerts to one address of a state receiver.

    ``peer_health`` is shared by the dispatchers of one receiver. ``delivery_failure`` contains since when deliveries to
    this address fail; ``None`` if they succeed, or if there are no active alerts.
    """

    def __init__(
        self,
        name: str,
        receiver: StateReceiver,
        url: str,
        engine: EngineHandle,
        http: httpx2.AsyncClient,
        peer_health: PeerHealth,
        links: LinkSettings = NO_LINKS,
    ) -> None:
        self._links = links
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
        self._is_retired = False
        self.wake = asyncio.Event()

    def retire(self) -> None:
        """Let :meth:`run` return: at once, or after the delivery in progress."""
        self._is_retired = True
        self.wake.set()

    async def run(self) -> None:
        """Send until cancelled or retired: at once after a change, each ``resend`` seconds, sooner after a failure."""
        wait: float | None = 0.0
        while True:
            if wait:
                await _wait(self.wake, wait)
            if self._is_retired:
                return
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
        """Return whether this address has been sent every change."""
        return self._incident_states(active_alerts(self._engine.state, self.name, deadline)) <= self._last_sent_states

    async def _send_state(self, incidents: tuple[Incident, ...], now: float) -> float:
        """Send ``incidents`` and return the seconds until the next delivery."""
        started, attempt = self._engine.clock.monotonic(), self._consecutive_failures + 1
        result = await self._post(incidents, now)
        _count_result(self._engine, self.name, result)
        since = started if self.delivery_failure is None else self.delivery_failure.since
        self.delivery_failure = None if isinstance(result, Accepted) else DeliveryFailure(since, result.reason)
        if isinstance(result, Retry):
            self._consecutive_failures += 1
            wait = notification_queue.backoff(self._consecutive_failures, self._engine.random.random())
            wait = max(wait, min(result.retry_after or 0.0, _MAX_BACKOFF))
            self._log_result(result, wait, attempt, incidents)
            if started - since >= notification_queue.FAILING_AFTER:
                await self._report_unreachable(result)
            await self._wait_for_backoff(wait)
            return 0.0
        self._log_result(result, None, attempt, incidents)
        self._consecutive_failures = 0
        before, self._last_sent_states = self._last_sent_states, self._incident_states(incidents)
        self._last_sent = started
        new = tuple(one for one in incidents if not self._incident_states([one]) <= before)
        if new and isinstance(result, Accepted):
            self._engine.record_active_alerts(self.name, new)
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
        """Report the receiver as failing if deliveries to all of its addresses have failed for minutes."""
        self._peer_health.unreachable_urls.add(self._url)
        if self._peer_health.unreachable_urls.issuperset(self._receiver.urls):
            await self._engine.submit(StateReceiverReported(self.name, result))

    async def _wait_for_backoff(self, seconds: float) -> None:
        """Wait for the whole backoff; changes meanwhile are sent with the retry."""
        until = self._engine.clock.monotonic() + seconds
        while (remaining := until - self._engine.clock.monotonic()) > 0 and not self._is_retired:
            self.wake.clear()
            await _wait(self.wake, remaining)

    async def _post(self, incidents: Sequence[Incident], now: float) -> DeliveryResult:
        try:
            alerts = [render_alert(incident, now, self._links) for incident in incidents]
            with sending_while(self._engine.may_send):
                return await self._receiver.post(self._http, self._url, alerts, now)
        except Exception as error:  # noqa: BLE001 - an internal error is logged, and stops no other receiver
            _log.exception(
                "notification could not be created",
                extra={"receiver": self.name, "address": urlsplit(self._url).netloc, "action": "state"},
            )
            return Retry(reason=f"internal error: {type(error).__name__}", is_definitely_undelivered=True)

    def _log_result(
        self, result: DeliveryResult, retry_in_seconds: float | None, attempt: int, incidents: Sequence[Incident]
    ) -> None:
        _log_result(
            result,
            retry_in_seconds,
            receiver=self.name,
            address=urlsplit(self._url).netloc,
            action="state",
            attempt=attempt,
            **incident_fields(incidents, len(incidents)),
        )

    @staticmethod
    def _incident_states(incidents: Sequence[Incident]) -> frozenset[tuple[str, float, bool]]:
        return frozenset((incident.key, incident.opened, incident.is_firing) for incident in incidents)


def delivery_failures(
    dispatchers: Iterable[EventDispatcher | StateDispatcher],
) -> dict[str, list[DeliveryFailure | None]]:
    """Return for each state receiver, by name, the delivery failures of its addresses; ``None`` for a healthy one."""
    found: dict[str, list[DeliveryFailure | None]] = {}
    for dispatcher in dispatchers:
        if isinstance(dispatcher, StateDispatcher):
            found.setdefault(dispatcher.name, []).append(dispatcher.delivery_failure)
    return found


async def _wait(wake: asyncio.Event, seconds: float | None) -> None:
    """Wait until ``wake`` is set or ``seconds`` have passed, at most a minute."""
    try:
        async with asyncio.timeout(min(_MAX_WAIT if seconds is None else seconds, _MAX_WAIT)):
            await wake.wait()
    except TimeoutError:
        pass


def _count_result(engine: EngineHandle, receiver: str, result: DeliveryResult) -> None:
    match result:
        case Accepted():
            engine.record_delivery(receiver, "accepted")
        case Retry():
            engine.record_delivery(receiver, "retried")
        case Refused():
            engine.record_delivery(receiver, "refused")


def _log_result(result: DeliveryResult, retry_in_seconds: float | None, **fields: object) -> None:
    match result:
        case Accepted():
            _log.debug("notification sent", extra=fields)
        case Retry(reason=reason):
            retry = {} if retry_in_seconds is None else {"retry_in_seconds": round(retry_in_seconds, 1)}
            _log.warning("notification failed", extra={**fields, "error": reason, **retry})
        case Refused(reason):
            _log.error("notification refused", extra={**fields, "error": reason})
