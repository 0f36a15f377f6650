"""The statuses of all canaries: kept in memory, seeded from the store, and cached between changes."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol, Self

from msgspec import Struct
from msgspec.structs import replace

from streamcanary import __version__
from streamcanary.canary.status.canary_entry import CanaryEntry
from streamcanary.canary.status.periods import PeriodHistory, PeriodReader, count_faults
from streamcanary.canary.status.summary import summarize
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.background_task import BackgroundTask
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome
from streamcanary.model.status.canary_status import MAX_RECENT_RUNS, CanaryStatus, FaultCount
from streamcanary.model.status.summary import StatusSummary
from streamcanary.store.errors import StoreFailing

_log = logging.getLogger(__name__)

SMALL_FLEET: Final = 2_000
"""With more canaries, statuses have their hours when asked for (:meth:`CanaryStatuses.with_hours`), to save memory."""

MAX_RUNS: Final = 120_000
"""Recent runs of all canaries in memory, at most, in a small fleet; half as many in a larger one."""

PERIODS_INTERVAL: Final = 5.0
"""Seconds between two reads of the periods, at least: a page must not say 100 % while everything fails."""

_MAX_LOAD = 0.005  # of the time in which periods are read
_MAX_PERIODS_INTERVAL = 60.0  # seconds, also where that is a larger part: only the first read takes so long
_RECORDED_AFTER = 2.0  # seconds after a run in which it is usually recorded
_ALERTS_INTERVAL = 1.0  # seconds between two reads of the status of alerting
_MAX_STATE_RUNS = 2_880  # runs of a canary that are read to find when its state began: a day at 30 s
_CANARIES_PER_READ = 20  # a longer read would keep others of the store waiting
_STATES_PER_READ = 5  # as above; these take longer


class RunHistory(PeriodHistory, Protocol):
    """The part of the store that has the runs of earlier processes, and runs summed up."""

    async def last_runs_of(self, canaries: Sequence[str], limit: int) -> dict[str, list[Outcome]]:
        """Return the last ``limit`` runs of each of ``canaries``, the oldest first.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...

    async def state_starts(
        self, canaries: Sequence[tuple[Sequence[str], Collection[str]]], limit: int
    ) -> list[float | None]:
        """Return for each of ``canaries``, its names and outcomes, since when all its runs have had one of these.

        At most the last ``limit`` runs are read.

        Raises:
            StoreFailing: if they cannot be read.
        """
        ...


class _Cached(Struct):
    """A status, and the time until which it is valid if nothing happens."""

    status: CanaryStatus
    revision: int
    valid_until: float


class CanaryStatuses:
    """The statuses of ``canaries``. A context manager: while entered, it reads what the store knows of earlier runs.

    ``next_run`` returns when a canary is due next, and ``alerts`` the status of alerting. Each change has a number,
    the *revision*: :meth:`changed_since` returns what has changed after one. ``load_error`` says why the history of
    earlier runs is unavailable.
    """

    def __init__(self, canaries: Iterable[Canary], *, instance: str, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.time()
        self._instance = instance
        self._entries: dict[str, CanaryEntry] = {}
        self._cache: dict[str, _Cached] = {}
        self._alerts_by_canary: dict[str, tuple[str, ...]] = {}
        self._snapshot = StatusSnapshot()
        self._alerts_read_at = float("-inf")
        self._statuses: tuple[CanaryStatus, ...] = ()
        self._summary: StatusSummary | None = None
        self._keeps_hours = True
        self._history: RunHistory | None = None
        self._task = BackgroundTask("canary statuses")
        self._has_first_result = asyncio.Event()
        self.revision = 0
        self.configured_at = 0
        self.load_error: str | None = None
        self.next_run: Callable[[str], float | None] = lambda _: None
        self.alerts: Callable[[], StatusSnapshot] = StatusSnapshot
        self.configure(canaries, instance=instance)

    def configure(self, canaries: Iterable[Canary], *, instance: str) -> None:
        """Continue with other canaries; one that was renamed keeps its runs."""
        former = dict(self._entries)
        canaries = tuple(canaries)
        self._keeps_hours = len(canaries) <= SMALL_FLEET
        all_runs = MAX_RUNS if self._keeps_hours else MAX_RUNS // 2
        max_runs = max(1, min(MAX_RECENT_RUNS, all_runs // max(1, len(canaries))))
        names = {canary.name for canary in canaries}
        self._instance = instance
        self._entries = {}
        self.revision += 1
        self.configured_at = self.revision
        for canary in canaries:
            entry = former.get(canary.name)
            if entry is None and canary.renamed_from is not None and canary.renamed_from not in names:
                entry = former.get(canary.renamed_from)
            if entry is None:
                entry = CanaryEntry(canary, max_runs)
            entry.resize(canary, max_runs)
            entry.revision = self.revision
            self._entries[canary.name] = entry
        self._cache = {}

    def observe(self, outcome: Outcome, *, is_recorded: bool = False) -> None:
        """Add a run that has ended; one that ``is_recorded``, by another replica, may be known already."""
        entry = self._entries.get(outcome.canary)
        if entry is None:  # a reload has removed the canary since
            return
        had_result = entry.has_result
        if not is_recorded:
            entry.observe(outcome)
        elif not entry.observe_recorded(outcome):
            return
        self.revision += 1
        entry.revision = self.revision
        if entry.has_result and not had_result:
            self._has_first_result.set()

    def statuses(self) -> tuple[CanaryStatus, ...]:
        """Return the statuses in the order of the configuration; in a large fleet, without ``hours``."""
        self._refresh()
        return self._statuses

    def with_hours(self, statuses: Iterable[CanaryStatus]) -> tuple[CanaryStatus, ...]:
        """Return ``statuses`` with their ``hours``, which those of a large fleet do not have."""
        if self._keeps_hours:
            return tuple(statuses)
        entries = self._entries
        return tuple(
            replace(status, hours=entries[status.name].periods.hours.statistics()) if status.name in entries else status
            for status in statuses
        )

    def find(self, name: str) -> CanaryStatus | None:
        """Return the status of the canary ``name``; ``None`` if there is none."""
        self._refresh()
        cached = self._cache.get(name)
        return None if cached is None else self.with_hours((cached.status,))[0]

    def changed_since(self, revision: int) -> tuple[CanaryStatus, ...]:
        """Return the statuses that have changed after ``revision``; in a large fleet, without ``hours``."""
        self._refresh()
        return tuple(cached.status for cached in self._cache.values() if cached.revision > revision)

    def summary(self) -> StatusSummary:
        """Return the status of everything in one sentence."""
        self._refresh()
        if self._summary is None:
            self._summary = summarize(
                self._statuses,
                self._snapshot,
                instance=self._instance,
                version=__version__,
                started=self._started,
                now=self._clock.time(),
            )
        return self._summary

    async def __aenter__(self) -> Self:
        return self

    def load(self, history: RunHistory) -> None:
        """Start to read what ``history`` knows of earlier runs."""
        self._history = history
        self._task.start(self._follow(history))

    async def __aexit__(self, *exc: object) -> None:
        await self._task.stop()

    async def faults_of(self, name: str) -> tuple[FaultCount, ...]:
        """Return the faults of a canary in the last 7 days, the most frequent first.

        Raises:
            StoreFailing: if they cannot be read.
        """
        if self._history is None or name not in self._entries:
            return ()
        return await count_faults(self._history, _recorded_names([self._entries[name]]), self._clock.time())

    def recorded_names(self, name: str) -> tuple[str, ...]:
        """Return the names under which the runs of a canary are recorded: its own, and one that no other has now."""
        entry = self._entries.get(name)
        former = None if entry is None else entry.canary.renamed_from
        return (name,) if former is None or former in self._entries else (name, former)

    async def _follow(self, history: RunHistory) -> None:
        """Read earlier runs once, and then periods again and again; also soon after the first run of a canary."""
        try:
            await self._seed(history)
        except StoreFailing as error:
            self.load_error = str(error)
            _log.warning("recent runs not loaded", extra={"error": str(error)})
        reader = PeriodReader(history)
        while True:
            began = self._clock.monotonic()
            try:
                await self._read_periods(reader)
                self.load_error = None
            except StoreFailing as error:
                self.load_error = str(error)
                _log.debug("periods not loaded", extra={"error": str(error)})
            least = min((self._clock.monotonic() - began) / _MAX_LOAD, _MAX_PERIODS_INTERVAL)
            try:
                async with asyncio.timeout(max(PERIODS_INTERVAL, least)):
                    await self._has_first_result.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(_RECORDED_AFTER, least))
            self._has_first_result.clear()

    async def _seed(self, history: RunHistory) -> None:
        entries = list(self._entries.values())
        for first in range(0, len(entries), _CANARIES_PER_READ):
            some = entries[first : first + _CANARIES_PER_READ]
            runs = await history.last_runs_of(sorted(_recorded_names(some)), some[0].max_runs)
            for entry in some:
                earlier = list(runs.get(entry.canary.name, ()))
                if len(earlier) < entry.max_runs:  # otherwise there may be others in between
                    earlier = [*runs.get(entry.canary.renamed_from or "", ()), *earlier]
                if earlier and self._entries.get(entry.canary.name) is entry:
                    entry.seed(earlier)
                    self.revision += 1
                    entry.revision = self.revision
                await asyncio.sleep(0)
            await self._extend_states(history, some)

    async def _extend_states(self, history: RunHistory, entries: Sequence[CanaryEntry]) -> None:
        """Read since when ``entries`` have had a state that is older than their runs that are known."""
        older = [(entry, kinds) for entry in entries if (kinds := entry.kinds_of_older_state)]
        wanted = [(tuple(reversed(_recorded_names([entry]))), kinds) for entry, kinds in older]
        starts: list[float | None] = []
        for first in range(0, len(wanted), _STATES_PER_READ):
            starts += await history.state_starts(wanted[first : first + _STATES_PER_READ], _MAX_STATE_RUNS)
        for (entry, kinds), start in zip(older, starts, strict=True):
            if start is not None and self._entries.get(entry.canary.name) is entry:
                entry.extend_state(kinds, start)
                self.revision += 1
                entry.revision = self.revision

    async def _read_periods(self, reader: PeriodReader) -> None:
        entries = dict(self._entries)
        found = await reader.read(_recorded_names(entries.values()), self._clock.time())
        reader.forget(entries.keys() - self._entries.keys())
        for name, periods in found.items():
            entry = self._entries.get(name)
            if entry is None or entry.periods == periods:
                continue
            if entry.periods.month is None:  # pages that say that it follows must read it
                self.revision += 1
                entry.revision = self.revision
            entry.periods = periods
            self._cache.pop(name, None)

    def _refresh(self) -> None:
        """Build the statuses that have changed since the last call."""
        now = self._clock.time()
        self._read_alerts()
        has_changed = len(self._cache) != len(self._statuses) or not self._cache
        for name, entry in self._entries.items():
            cached = self._cache.get(name)
            if cached is None or cached.revision != entry.revision or not now < cached.valid_until:
                self._cache[name] = self._build(entry, cached, now)
                has_changed = True
        if has_changed or self._summary is None or now - self._summary.time >= 1.0 or now < self._summary.time:
            self._statuses = tuple(self._cache[name].status for name in self._entries)
            self._summary = None

    def _build(self, entry: CanaryEntry, former: _Cached | None, now: float) -> _Cached:
        name = entry.canary.name
        next_run = self.next_run(name)
        status = entry.status(now, next_run, self._alerts_by_canary.get(name, ()), has_hours=self._keeps_hours)
        if former is not None and former.revision == entry.revision and former.status.state is not status.state:
            self.revision += 1
            entry.revision = self.revision
        return _Cached(status, entry.revision, entry.valid_until(now, next_run))

    def _read_alerts(self) -> None:
        moment = self._clock.monotonic()
        if moment - self._alerts_read_at < _ALERTS_INTERVAL:
            return
        self._alerts_read_at = moment
        snapshot, before = self.alerts(), self._alerts_by_canary
        if snapshot == self._snapshot:
            return
        self._snapshot, self._summary = snapshot, None
        self._alerts_by_canary = _alerts_by_canary(snapshot)
        self.revision += 1
        for name in before.keys() | self._alerts_by_canary.keys():
            if before.get(name) != self._alerts_by_canary.get(name) and (entry := self._entries.get(name)):
                entry.revision = self.revision


def _alerts_by_canary(snapshot: StatusSnapshot) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for shown in snapshot.incidents:
        incident = shown.incident
        names = [incident.canary] if incident.canary else [each.name for each in incident.evidence.failing]
        for name in names:
            found.setdefault(name, {})[incident.rule] = None
    return {name: tuple(rules) for name, rules in found.items()}


def _recorded_names(entries: Iterable[CanaryEntry]) -> dict[str, str]:
    """Return the names under which the runs of canaries are recorded, the former first, with the present ones."""
    names = {}
    for entry in entries:
        if entry.canary.renamed_from is not None:
            names[entry.canary.renamed_from] = entry.canary.name
        names[entry.canary.name] = entry.canary.name
    return names
