"""Alerting as a running part of the daemon: the only place where the engine meets time, the store and the network.

One loop takes what has happened, steps the engine, and commits the rows of all of it in one transaction together with
the outcomes; only then do the senders see the result. So what a receiver was told is always in the store already.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import NamedTuple

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import (
    Diagnosed,
    Input,
    Ran,
    Silenced,
    Started,
    StoreFailed,
    StoreRecovered,
    Tick,
    Unsilenced,
)
from streamcanary.alerting.engine.state import State, read_state
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.receivers import LevelReceiver
from streamcanary.alerting.notify.receivers.http import open_http
from streamcanary.alerting.service.dispatcher import EdgeSender, LevelSender, Peers, failures
from streamcanary.alerting.service.liveness import Advance
from streamcanary.alerting.service.metrics import Meters
from streamcanary.alerting.service.status import Display
from streamcanary.alerting.service.write_buffer import Journal, Ledger, StoreFailing, StoreLost
from streamcanary.model.alerts.incident import Group, Incident, Progress
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import Board
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome

_log = logging.getLogger(__name__)

MOST_QUEUED = 10_000
"""How many outcomes may wait; the loop is far behind by then, and further ones are dropped and counted."""

MOST_SILENCES = 1000
"""How many silences there can be at a time."""

_MOST_AT_ONCE = 256  # inputs that share a transaction
_TICK = 5.0  # seconds
_STORE_RETRY = 3.0  # seconds
_GATHER = 0.25  # seconds that outcomes without consequences are gathered for
_LOOK = 0.02  # seconds between two looks while draining


class _Entry(NamedTuple):
    input: Input
    done: asyncio.Future[None] | None


class Alerting:
    """The alert engine with its queue, its ledger and its senders.

    ``on_transition`` is called when an incident has opened or resolved, once that is in the store; it returns at once.
    """

    def __init__(
        self,
        *,
        config: AlertsConfig,
        instance: str,
        canaries: Sequence[Canary],
        ledger: Ledger,
        clock: Clock,
        random: Random | None = None,
    ) -> None:
        self.clock = clock
        self.random = random or Random()  # noqa: S311 - spreads retries, keeps no secret
        self.on_transition: Callable[[Incident], None] | None = None
        self.dropped = 0
        self._engine = Engine(config, instance, canaries)
        self._receivers = config.receivers
        self._trace_url = config.trace_url
        self._ledger = ledger
        self._journal = Journal(ledger)
        self._state = self._published = State()
        self._loaded = False
        self._queue: deque[_Entry] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._transitions: list[Incident] = []
        self._senders: list[EdgeSender | LevelSender] = []
        self._ended = self._busy = False
        self._advance = Advance(canaries, config.receivers, clock)
        self._ticked = clock.monotonic()
        self._dues: tuple[Mapping[str, Group], float] = ({}, math.inf)  # the groups, and when the first of them is due
        self._failing: StoreFailing | None = None  # what the store says while it fails
        self._save_again = 0.0
        self._saved = 0.0  # when, by the loop's clock
        self._display = Display(config, self._engine)
        self._meters = Meters(self._engine, lambda: self._published.incidents)

    # ---- for the rest of the daemon

    def offer(self, outcome: Outcome) -> None:
        """Hand over what became of a run. Never blocks; over :data:`MOST_QUEUED` it is dropped, counted and logged."""
        if self._waiting >= MOST_QUEUED:
            self.dropped += 1
            if self.dropped % 1000 == 1:
                _log.error("alerting is behind: %d outcomes dropped", self.dropped)
            return
        self._waiting += 1
        self._advance.ran(outcome)
        self._put(_Entry(Ran(outcome), None))

    def diagnosed(self, canary: str, finding: str) -> None:
        """Hand over what a preflight found after the first failure of ``canary``. Never blocks."""
        if len(self._queue) < MOST_QUEUED:
            self._put(_Entry(Diagnosed(canary, finding), None))

    async def silence(self, silence: Silence) -> None:
        """Mute what ``silence`` covers; returns once it is in the store.

        Raises:
            ValueError: if there are :data:`MOST_SILENCES` already.
        """
        if silence.id not in self._state.silences and len(self._state.silences) >= MOST_SILENCES:
            raise ValueError(f"there are {MOST_SILENCES} silences; end some of them")
        await self.submit(Silenced(silence))

    async def unsilence(self, id: str) -> bool:  # noqa: A002 - the field's name
        """End the silence ``id``; tell whether there was one."""
        known = id in self._state.silences
        await self.submit(Unsilenced(id))
        return known

    @property
    def silences(self) -> tuple[Silence, ...]:
        """The silences that there are, those that are over among them, the oldest first."""
        return tuple(sorted(self._published.silences.values(), key=lambda silence: (silence.starts, silence.id)))

    @property
    def board(self) -> Board:
        """What fires and who has not heard of it, to be looked at."""
        return self._display.board(self._published, failures(self._senders), self.clock.time(), self.clock.monotonic())

    def vitals(self) -> dict[str, Callable[[], str | None]]:
        """Return what must make progress for the heartbeat to go out, by name."""
        return {
            "runs": self._advance.runs,
            "evaluation": self._advance.evaluation,
            "outbox": lambda: self._advance.outbox(self._published.notices),
            "pages": lambda: self._advance.pages(self._published.groups, self._published.notices),
            "levels": lambda: self._advance.levels(failures(self._senders)),
        }

    async def run(self) -> None:
        """Run until cancelled. What is queued then is lost, unless :meth:`drain` was called before."""
        self._ended, self._busy = False, True
        async with AsyncExitStack() as ways:
            try:
                await self._load()
                self._busy = False
                async with asyncio.TaskGroup() as tasks:
                    await self._hire(ways)
                    tasks.create_task(self._loop(), name="alerting")
                    for sender in self._senders:
                        tasks.create_task(sender.run(), name=f"receiver {sender.name}")
            finally:
                self._ended = True
                self._senders.clear()

    async def drain(self, seconds: float) -> None:
        """Commit what is queued, and give notices ``seconds`` to go out; the rest is in the store for the next start.

        Call it while :meth:`run` runs; it returns at once when that has ended.
        """
        end = self.clock.time() + seconds
        try:
            async with asyncio.timeout(seconds):
                while not self._ended and not self._settled(end):  # noqa: ASYNC110 - many parts settle, and only once
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            pass

    def wake(self) -> None:
        """Look at the clock again, at once: it may have jumped."""
        self._wake.set()
        for sender in self._senders:
            sender.wake.set()

    @property
    def active(self) -> tuple[Incident, ...]:
        """The incidents that are open, the oldest first."""
        firing = (incident for incident in self._published.incidents.values() if incident.firing)
        return tuple(sorted(firing, key=lambda incident: (incident.opened, incident.key)))

    # ---- for the senders

    @property
    def state(self) -> State:
        """The state as the store has it, or while the store fails, as it is."""
        return self._published

    async def submit(self, input: Input) -> None:  # noqa: A002
        """Have ``input`` stepped; returns once the result is in :attr:`state`."""
        done = asyncio.get_running_loop().create_future()
        self._put(_Entry(input, done))
        await done

    def count(self, receiver: str, outcome: str) -> None:
        """Count a delivery."""
        self._meters.delivered(receiver, outcome)
        if outcome != "retried":
            self._advance.answered(receiver)

    # ---- the loop

    def _put(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self._wake.set()

    async def _load(self) -> None:
        """Take up the state that the store has; while it cannot be read, begin without."""
        await self._save()
        self._publish()

    def _start(self) -> None:
        """Bring the state into line with the configuration, and say what that means for what was to be delivered."""
        before = self._state.notices
        self._apply(Started(incomplete=self._ledger.incomplete))
        for notice in before.values():
            after = self._state.notices.get(notice.id)
            if notice.state is Progress.PENDING and after is None:
                _log.warning("%s of group %s is given up: no receiver %s", notice.action, notice.group, notice.receiver)
            elif notice.state is Progress.PARKED and after is not None and after.state is Progress.PENDING:
                _log.info("%s of group %s, refused by %s, is tried again", notice.action, notice.group, notice.receiver)

    async def _adopt(self) -> StoreFailing | None:
        """Put what the store has under what is in memory, which is newer; return what it says if it fails."""
        try:
            ledger = await self._ledger.load_ledger()
        except StoreFailing as error:
            return error
        stored, unread = read_state(ledger)
        for line in unread:
            _log.warning("the store has a row that cannot be read, it starts afresh: %s", line)
        self._state = self._state.over(stored)
        self._loaded = True
        return None

    async def _loop(self) -> None:
        while True:
            await self._rest()
            self._busy = True
            entries = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_AT_ONCE))]
            for entry in entries:
                self._apply(entry.input)
            if self._until_tick() <= 0:
                self._ticked = self.clock.monotonic()
                self._apply(Tick())
                self._advance.look(self._published.notices)
            if self._until_save(entries) <= 0:
                await self._save()
                self._saved = asyncio.get_running_loop().time()
                self._publish()
            for entry in entries:
                if entry.done is not None and not entry.done.done():
                    entry.done.set_result(None)
            self._advance.worked()
            self._busy = False

    async def _rest(self) -> None:
        """Wait for something to do."""
        if self._queue:
            return
        seconds = self._until_tick()
        if not self._journal.empty:
            seconds = min(seconds, max(self._until_save(), self._save_again - self.clock.monotonic()))
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _until_save(self, entries: Sequence[_Entry] = ()) -> float:
        """Return for how many seconds what is held may wait for more: not at all if somebody waits for it.

        What was merely seen is committed together, which saves most of the cost; a crash loses the last moment of it,
        and of nothing else.
        """
        if self._journal.urgent or any(entry.done for entry in entries):
            return 0.0
        return self._saved + _GATHER - asyncio.get_running_loop().time()

    def _until_tick(self) -> float:
        """Return the seconds until the engine is to be told the time: when a group is due, and now and then."""
        groups = self._state.groups
        if groups is not self._dues[0]:
            dues = (group.due for group in groups.values() if group.due is not None)
            self._dues = groups, min(dues, default=math.inf)
        return min(self._ticked + _TICK - self.clock.monotonic(), self._dues[1] - self.clock.time())

    def _apply(self, input: Input) -> None:  # noqa: A002
        """Step the engine, and hold the rows for the next transaction."""
        outcome = input.outcome if isinstance(input, Ran) else None
        self._waiting -= outcome is not None
        before = self._state
        try:
            self._state, rows = self._engine.step(before, input, self.clock.time())
        except Exception:  # noqa: BLE001 - a defect of ours ends in the log, not the alerting for all other runs
            _log.exception("alerting cannot make sense of %s", type(input).__name__)
            rows = ()
        self._journal.hold(rows, outcome)
        for row in rows:
            if row.table == "incidents" and (incident := self._state.incidents.get(row.key)) is not None:
                known = before.incidents.get(row.key)
                if known is None or (known.opened, known.firing) != (incident.opened, incident.firing):
                    self._transitions.append(incident)

    async def _save(self) -> None:
        """Bring everything into the store; while that fails, keep it, and have ``StoreFailing`` told from memory.

        That rule may be switched off, so whether the store fails is not to be seen by its incident. That may be left
        over from before a restart, too.
        """
        if self._failing is not None and self.clock.monotonic() < self._save_again:
            return
        failure = None
        if not self._loaded:
            failure = await self._adopt()
            if failure is None:
                self._start()
        failure = failure or await self._journal.save()
        told = self._state.incidents.get(self._engine.store_key)
        if failure is None and told is not None and told.firing:
            self._apply(StoreRecovered())
            failure = await self._journal.save()
        before, self._failing = self._failing, failure
        if failure is None:
            return
        if before is None:
            how = "written, alerting goes on from" if self._loaded else "read, alerting begins without its"
            _log.error("the store cannot be %s memory: %s", how, failure)
        self._save_again = self.clock.monotonic() + _STORE_RETRY
        if isinstance(failure, StoreLost):
            self._journal.hold(self._state.rows())
        self._apply(StoreFailed(str(failure)))

    def _publish(self) -> None:
        """Let the senders and listeners see the state."""
        before, self._published = self._published, self._state
        transitions, self._transitions = self._transitions, []
        for incident in transitions:
            self._tell(incident)
        if before.notices is not self._state.notices or before.groups is not self._state.groups:
            for sender in self._senders:
                sender.wake.set()

    def _tell(self, incident: Incident) -> None:
        what = f"alert {incident.rule} for {incident.subject}"
        if incident.firing:
            _log.debug("%s fires: %s", what, incident.evidence.message or "no message")
            told = [group for group in self._state.groups.values() if incident.key in group.members]
            if not any(group.receivers for group in told):
                _log.warning("%s goes to nobody: no route matches it", what)
        else:
            _log.debug("%s is resolved: %s", what, incident.reason)
        if self.on_transition is not None:
            try:
                self.on_transition(incident)
            except Exception:  # noqa: BLE001 - whatever listens must not stop pages; it ends in the log
                _log.exception("a listener failed at %s", what)

    # ---- around it

    async def _hire(self, ways: AsyncExitStack) -> None:
        """Make a sender for each edge receiver and for each address of a level receiver, each on a way of its own."""
        for name, receiver in self._receivers.items():
            http = await ways.enter_async_context(open_http(receiver.way))
            if isinstance(receiver, LevelReceiver):
                failing = self._published.incidents.get(self._engine.receiver_key(name))
                peers = Peers(receiver.urls if failing is not None and failing.firing else ())
                self._senders += [
                    LevelSender(name, receiver, url, self, http, peers, self._trace_url) for url in receiver.urls
                ]
            else:
                self._senders.append(EdgeSender(name, receiver, self, http, self._trace_url))

    def _settled(self, end: float) -> bool:
        busy = self._busy or self._queue or not (self._journal.empty or self._failing is not None)
        return not busy and all(sender.settled(end) for sender in self._senders)
