"""The tasks that talk to receivers, one for each: what they send and when is decided in ``outbox`` and ``standing``."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

import httpx2

from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.active_alerts import standing
from streamcanary.alerting.engine.inputs import Answered, Input, LevelAnswered, Trying
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.message import render_incident, render_notice
from streamcanary.alerting.notify.receivers import EdgeReceiver, LevelReceiver
from streamcanary.alerting.notify.receivers.alertmanager import LINGER
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer, Refused, Retry
from streamcanary.alerting.notify.receivers.rate_limit import Pace
from streamcanary.alerting.service.liveness import Failing
from streamcanary.model.alerts.incident import Incident, Notice, Progress
from streamcanary.model.clock import Clock

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 60.0  # seconds; after a clock jump a sender looks again no later than this
_LONGEST_HOLD = LINGER / 3  # seconds; a level receiver that hears nothing for longer ends alerts that still fire


class Desk(Protocol):
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

    def count(self, receiver: str, outcome: str) -> None:
        """Count a delivery."""
        ...


class EdgeSender:
    """Sends the notices of one edge receiver, one at a time."""

    def __init__(
        self, name: str, receiver: EdgeReceiver, desk: Desk, http: httpx2.AsyncClient, trace_url: str | None = None
    ) -> None:
        self.name = name
        self._trace_url = trace_url
        self._pace = Pace(receiver.per_minute)
        self._receiver = receiver
        self._desk = desk
        self._http = http
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self.wake.clear()
            notice = notification_queue.next_notice(self._desk.state, self.name, self._desk.clock.time())
            wait = None if notice is None else notification_queue.seconds_until(notice, self._desk.clock.time())
            if notice is None or wait:
                await _pause(self.wake, wait)
                continue
            if turn := self._pace.take(self._desk.clock.monotonic()):
                await asyncio.sleep(turn)
                continue
            await self._desk.submit(Trying(notice.id))
            begun = self._desk.state.notices.get(notice.id)
            if begun is None or begun.state is not Progress.PENDING or begun.tries == notice.tries:
                await _pause(self.wake, 1.0)  # it was called off before it went out, which wakes us, too
                continue
            answer = await self._send(begun)
            _report(self._desk, self.name, answer, f"notice {notice.id} ({notice.action} {notice.group})")
            await self._desk.submit(Answered(notice.id, answer, self._desk.random.random()))

    def settled(self, before: float) -> bool:
        """Tell whether nothing is to be sent until ``before`` (seconds since the epoch)."""
        notice = notification_queue.next_notice(self._desk.state, self.name, before)
        return notice is None or notice.next_try > before

    async def _send(self, notice: Notice) -> Answer:
        try:
            return await self._receiver.send(
                self._http, render_notice(notice, self._trace_url), self._desk.clock.time()
            )
        except Exception as error:  # noqa: BLE001 - a defect of ours ends in the log, and stops no other page
            _log.exception("notice %s to %s could not be sent", notice.id, self.name)
            return Retry(reason=f"internal error: {type(error).__name__}", definite=True)


class Peers:
    """The addresses of one level receiver that refuse what they are told, and those that take nothing for minutes."""

    def __init__(self, refusing: Iterable[str] = ()) -> None:
        self.refusing = set(refusing)
        self.silent: set[str] = set()


class LevelSender:
    """Tells one address of a level receiver the state of things.

    ``peers`` is shared by the senders of one receiver. ``failing`` tells since when this address has taken nothing,
    while there is something to tell.
    """

    def __init__(
        self,
        name: str,
        receiver: LevelReceiver,
        url: str,
        desk: Desk,
        http: httpx2.AsyncClient,
        peers: Peers,
        trace_url: str | None = None,
    ) -> None:
        self._trace_url = trace_url
        self._pace = Pace(receiver.per_minute)
        self.name = name
        self._receiver = receiver
        self._url = url
        self._desk = desk
        self._http = http
        self._peers = peers
        self._told: frozenset[tuple[str, float, bool]] = frozenset()
        self._told_at = 0.0
        self._failures = 0
        self.failing: Failing | None = None
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Tell for ever: at a change at once, else each ``resend`` seconds; after a failure sooner."""
        pause: float | None = 0.0
        while True:
            if pause:
                await _pause(self.wake, pause)
            self.wake.clear()
            now = self._desk.clock.time()
            incidents = standing(self._desk.state, self.name, now)
            elapsed = self._desk.clock.monotonic() - self._told_at
            if not incidents:
                self.failing = None
            if not incidents or (self._marks(incidents) <= self._told and elapsed < self._receiver.resend):
                pause = self._receiver.resend - elapsed if incidents else _LONGEST_PAUSE
                continue
            if turn := self._pace.take(self._desk.clock.monotonic()):
                pause = turn
                continue
            pause = await self._tell(incidents, now)

    def settled(self, before: float) -> bool:
        """Tell whether this address has heard of every change."""
        return self._marks(standing(self._desk.state, self.name, before)) <= self._told

    async def _tell(self, incidents: tuple[Incident, ...], now: float) -> float:
        """Send ``incidents`` and return the seconds until the next time."""
        begun = self._desk.clock.monotonic()
        answer = await self._post(incidents, now)
        _report(self._desk, self.name, answer, f"{len(incidents)} alerts to {urlsplit(self._url).netloc}")
        since = begun if self.failing is None else self.failing.since
        self.failing = None if isinstance(answer, Accepted) else Failing(since, answer.reason)
        if isinstance(answer, Retry):
            self._failures += 1
            if begun - since >= notification_queue.FAILING_AFTER:
                await self._despair(answer)
            wait = notification_queue.backoff(self._failures, self._desk.random.random())
            await self._hold_off(max(wait, min(answer.after or 0.0, _LONGEST_HOLD)))
            return 0.0
        self._failures = 0
        self._told, self._told_at = self._marks(incidents), begun
        if isinstance(answer, Refused):
            self._peers.refusing.add(self._url)
            await self._desk.submit(LevelAnswered(self.name, answer))
        elif self._url in self._peers.refusing | self._peers.silent:
            self._peers.refusing.discard(self._url)
            self._peers.silent.discard(self._url)
            if not self._peers.refusing:
                await self._desk.submit(LevelAnswered(self.name, answer))
        return self._receiver.resend

    async def _despair(self, answer: Retry) -> None:
        """Say that the receiver fails, if none of its addresses has taken anything for minutes."""
        self._peers.silent.add(self._url)
        if self._peers.silent.issuperset(self._receiver.urls):
            await self._desk.submit(LevelAnswered(self.name, answer))

    async def _hold_off(self, seconds: float) -> None:
        """Wait out a backoff, changes or not: they go out with the retry."""
        until = self._desk.clock.monotonic() + seconds
        while (rest := until - self._desk.clock.monotonic()) > 0:
            self.wake.clear()
            await _pause(self.wake, rest)

    async def _post(self, incidents: Sequence[Incident], now: float) -> Answer:
        try:
            alerts = [render_incident(incident, now, self._trace_url) for incident in incidents]
            return await self._receiver.post(self._http, self._url, alerts, now)
        except Exception as error:  # noqa: BLE001 - a defect of ours ends in the log, and stops no other receiver
            _log.exception("alerts to %s could not be sent", self.name)
            return Retry(reason=f"internal error: {type(error).__name__}", definite=True)

    @staticmethod
    def _marks(incidents: Sequence[Incident]) -> frozenset[tuple[str, float, bool]]:
        return frozenset((incident.key, incident.opened, incident.firing) for incident in incidents)


def failures(senders: Iterable[EdgeSender | LevelSender]) -> dict[str, list[Failing | None]]:
    """Return what the addresses of each level receiver say while they take nothing, by its name."""
    found: dict[str, list[Failing | None]] = {}
    for sender in senders:
        if isinstance(sender, LevelSender):
            found.setdefault(sender.name, []).append(sender.failing)
    return found


async def _pause(wake: asyncio.Event, seconds: float | None) -> None:
    """Wait until woken, or for ``seconds``, and no longer than a minute."""
    try:
        async with asyncio.timeout(min(_LONGEST_PAUSE if seconds is None else seconds, _LONGEST_PAUSE)):
            await wake.wait()
    except TimeoutError:
        pass


def _report(desk: Desk, receiver: str, answer: Answer, what: str) -> None:
    match answer:
        case Accepted():
            desk.count(receiver, "accepted")
            _log.debug("receiver %s accepted %s", receiver, what)
        case Retry(reason=reason):
            desk.count(receiver, "retried")
            _log.warning("receiver %s did not take %s, it will be tried again: %s", receiver, what, reason)
        case Refused(reason):
            desk.count(receiver, "refused")
            _log.error("receiver %s refused %s: %s", receiver, what, reason)
