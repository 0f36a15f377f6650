"""Records the runs of owned shards in the shared database: a commit each quarter of a second, under their leases.

What alerting evaluates is what is recorded here. So a run is repeated until the database has it, and dropped only if
the lease of its shard is lost before, since its successor runs the canary then, or if the database rejects its values:
a commit that fails for such a reason is repeated in halves, so that the other runs are recorded.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple, Protocol, Self

from streamcanary.model.background_task import BackgroundTask
from streamcanary.model.outcome import Outcome
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.spend import Spend
from streamcanary.replicas.metrics import DropReason, RecorderMetrics
from streamcanary.store.errors import SessionLost, StoreError, StoreRejected

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
"""How many runs may wait for the database; further ones are dropped."""

_INTERVAL: Final = 0.25  # seconds between two commits
_MAX_RUNS_PER_COMMIT: Final = 500
_MAX_RETRY_DELAY: Final = 2.0  # seconds
_COMMIT_TIMEOUT: Final = 10.0  # seconds
_DROPS_PER_LOG_LINE: Final = 100


class RunStore(Protocol):
    """The part of :class:`~.lease_store.LeaseStore` that records runs."""

    async def commit_runs(
        self,
        session: int,
        runs: Mapping[str, Sequence[Outcome]],
        epochs: Mapping[str, int],
        spend: Mapping[str, Spend],
    ) -> Collection[str]:
        """Record runs by shard, as :meth:`~.lease_store.LeaseStore.commit_runs` says."""
        ...


class Leases(Protocol):
    """The part of :class:`~.coordinator.Coordinator` that the recorder uses."""

    @property
    def session(self) -> int | None:
        """The session of this replica, ``None`` if it has none that is valid."""
        ...

    def epoch(self, resource: str) -> int | None:
        """Return the epoch under which this replica owns ``resource``, ``None`` if it does not."""
        ...

    def report_session_lost(self, session: int) -> None:
        """Report that the store has refused a commit of ``session``."""
        ...

    def report_refused(self) -> None:
        """Report that the store has refused the epoch of a resource."""
        ...


class _Waiting(NamedTuple):
    """A run that waits for the database, and the lease under which it was made."""

    outcome: Outcome
    shard: str
    session: int
    epoch: int


class RunRecorder:
    """Records runs. A context manager: while entered, it commits what :meth:`add` gets.

    ``session_spend`` returns what the session of now has spent, by UTC day; it is committed with the runs. ``dropped``
    is how many runs could not be recorded since the start.
    """

    def __init__(
        self,
        store: RunStore,
        leases: Leases,
        session_spend: Callable[[], Mapping[str, Spend]] = dict,
        *,
        random: Random | None = None,
    ) -> None:
        self._store = store
        self._leases = leases
        self._session_spend = session_spend
        self._random = random or Random()  # noqa: S311 - spreads retries, keeps no secret
        self._metrics = RecorderMetrics()
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._is_committing = False
        self.dropped = 0
        self._next_logged = 1
        self._task = BackgroundTask("recording of runs")

    @property
    def waiting(self) -> int:
        """How many runs wait for the database."""
        return len(self._waiting)

    def add(self, outcome: Outcome, shard: str) -> bool:
        """Record a run of a canary of ``shard``, without blocking; return whether it is not dropped at once."""
        session, epoch = self._leases.session, self._leases.epoch(shard)
        if session is None or epoch is None:
            self._count_dropped(1, DropReason.LOST)
            return False
        if len(self._waiting) >= MAX_WAITING:
            self._count_dropped(1, DropReason.FULL)
            return False
        self._waiting.append(_Waiting(outcome, shard, session, epoch))
        self._wake.set()
        return True

    async def drain(self, seconds: float, shards: Collection[str] | None = None) -> bool:
        """Commit all runs, or those of ``shards``, and the spend within ``seconds``; return whether none waits."""
        try:
            async with asyncio.timeout(seconds):
                while self._has_waiting(shards):
                    self._wake.set()
                    await asyncio.sleep(_INTERVAL / 10)
                if self._leases.session is not None and self._session_spend():
                    await self._commit(self._leases.session, [])
        except (StoreError, TimeoutError):
            return False
        return True

    def _has_waiting(self, shards: Collection[str] | None) -> bool:
        if shards is None:
            return bool(self._waiting) or self._is_committing
        return any(each.shard in shards for each in self._waiting)  # also those that are being committed

    def lost(self, shards: Collection[str]) -> None:
        """Drop the runs of ``shards``, whose leases are lost."""
        self._drop([each for each in self._waiting if each.shard in shards], DropReason.LOST)

    async def __aenter__(self) -> Self:
        self._task.start(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._task.stop()

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wake.wait()
            await asyncio.sleep(min(_INTERVAL * 2**failures, _MAX_RETRY_DELAY) * self._random.uniform(0.8, 1.0))
            self._wake.clear()
            try:
                await self._commit_waiting()
            except (StoreError, TimeoutError) as error:
                if not failures:
                    _log.warning("runs not recorded yet", extra={"error": str(error), "count": len(self._waiting)})
                failures = min(failures + 1, 8)
            else:
                failures = 0
            if self._waiting:
                self._wake.set()

    async def _commit_waiting(self) -> None:
        """Commit the first of the runs that wait, under the session of now.

        Raises:
            StoreError, TimeoutError: if that fails; it is then unknown whether they are recorded.
        """
        session = self._leases.session
        self._drop([each for each in self._waiting if not self._is_owned(each)], DropReason.LOST)
        batch = [self._waiting[number] for number in range(min(len(self._waiting), _MAX_RUNS_PER_COMMIT))]
        if session is None or not batch:
            return
        self._is_committing = True
        try:
            await self._commit_parts(session, batch)
        except SessionLost:
            self._leases.report_session_lost(session)  # calls lost(), if the session is still that of now
            self._drop(batch, DropReason.LOST)
        finally:
            self._is_committing = False

    async def _commit_parts(self, session: int, batch: Sequence[_Waiting]) -> None:
        """Commit ``batch``, in halves if the database rejects it, and drop a single run that it rejects."""
        try:
            refused = await self._commit(session, batch)
        except Exception as error:
            if isinstance(error, (StoreError, TimeoutError)) and not isinstance(error, StoreRejected):
                raise
            if len(batch) == 1:
                self._reject(batch[0], error)
                return
            middle = len(batch) // 2
            await self._commit_parts(session, batch[:middle])
            await self._commit_parts(session, batch[middle:])
            return
        self._drop([each for each in batch if each.shard in refused], DropReason.REFUSED)
        self._remove(batch)
        if refused:
            self._leases.report_refused()

    def _reject(self, run: _Waiting, error: Exception) -> None:
        _log.error(
            "run not recorded",
            extra={"canary": run.outcome.canary, "run_id": run.outcome.run_id, "error": scrub(str(error))},
        )
        self._drop([run], DropReason.REJECTED)

    async def _commit(self, session: int, batch: Sequence[_Waiting]) -> Collection[str]:
        runs: dict[str, list[Outcome]] = {}
        for each in batch:
            runs.setdefault(each.shard, []).append(each.outcome)
        epochs = {each.shard: each.epoch for each in batch}
        async with asyncio.timeout(_COMMIT_TIMEOUT):
            return await self._store.commit_runs(session, runs, epochs, self._session_spend())

    def _is_owned(self, run: _Waiting) -> bool:
        return run.session == self._leases.session and run.epoch == self._leases.epoch(run.shard)

    def _drop(self, runs: Sequence[_Waiting], reason: DropReason) -> None:
        if count := self._remove(runs):
            self._count_dropped(count, reason)

    def _remove(self, runs: Sequence[_Waiting]) -> int:
        """Let ``runs`` wait no longer; return how many of them did."""
        before, removed = len(self._waiting), {id(run) for run in runs}
        if removed:
            self._waiting = deque(each for each in self._waiting if id(each) not in removed)
        return before - len(self._waiting)

    def _count_dropped(self, count: int, reason: DropReason) -> None:
        self._metrics.record_dropped(count, reason)
        self.dropped += count
        if self.dropped >= self._next_logged:
            _log.warning("runs dropped", extra={"count": self.dropped, "reason": reason.value})
            self._next_logged = self.dropped + _DROPS_PER_LOG_LINE
