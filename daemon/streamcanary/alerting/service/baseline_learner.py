"""Learns the baselines of bindings from the recorded runs: at the start, daily, and after a reload.

The history is read in small parts with pauses, and evaluated in another thread, so that no run is late because of it.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.evaluation.baselines import requests_since
from streamcanary.alerting.engine.inputs import BaselinesLearned
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.learning.baseline import LearnedBaseline
from streamcanary.alerting.learning.history import MAX_RUNS, History
from streamcanary.alerting.learning.rollup_history import LEARNED_PERIOD, RollupHistory, names_of
from streamcanary.alerting.service.write_buffer import AlertStore, StoreFailing
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.statistics.rollup import HOUR

_log = logging.getLogger(__name__)

LEARNING_INTERVAL: Final = 86400.0
"""Seconds until what was learned is learned again."""

RETRY_INTERVAL: Final = 3600.0
"""The same while the store cannot be read, or a binding has too few samples to learn from."""

_RUNS_PER_READ = 250
_BINDINGS_PER_CALL = 50  # that are evaluated at once, in another thread
_CANARIES_PER_READ = 100  # to find out at a first start that none of ten thousand has rollups to learn from
_PAUSE = 0.01  # seconds between two reads
_MAX_SLEEP = 60.0  # seconds; the clock may be set, or the machine suspended


class BaselineLearner:
    """Learns for the bindings of ``current``, the configuration and the state, and gives the result to ``submit``."""

    def __init__(
        self,
        store: AlertStore,
        clock: Clock,
        current: Callable[[], tuple[Bindings, State]],
        submit: Callable[[BaselinesLearned], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._current = current
        self._submit = submit
        self._due = clock.monotonic()
        self._wake = asyncio.Event()

    def request(self) -> None:
        """Learn again soon: the configuration has changed."""
        self._due = self._clock.monotonic()
        self.wake()

    def wake(self) -> None:
        """Check the clock again at once."""
        self._wake.set()

    async def run(self) -> None:
        """Learn until cancelled."""
        while True:
            self._wake.clear()
            seconds = self._due - self._clock.monotonic()
            if seconds <= 0:
                self._due = math.inf  # a request in the meantime makes it due again
                found = await self._learn_safely()
                self._due = min(self._due, self._clock.monotonic() + (LEARNING_INTERVAL if found else RETRY_INTERVAL))
                continue
            try:
                async with asyncio.timeout(min(seconds, _MAX_SLEEP)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def learn(self) -> bool:
        """Learn once; return whether there is a baseline for each binding that learns.

        Raises:
            StoreFailing: if the history cannot be read.
        """
        bindings, state = self._current()
        if not bindings.learning:
            return True
        canaries = bindings.learning_canaries
        history = History(bindings.learning, canaries, requests_since(state.baselines, canaries))
        last: int | None = await self._store.row_before_last(MAX_RUNS)
        while last is not None:
            runs, last = await self._store.runs_after(last, _RUNS_PER_READ)
            await asyncio.to_thread(history.observe_all, runs)
            await asyncio.sleep(_PAUSE)
        learned: dict[str, LearnedBaseline | None] = {}
        results = history.learn(self._clock.time())
        while found := await asyncio.to_thread(lambda: dict(islice(results, _BINDINGS_PER_CALL))):
            learned |= found
        learned |= await self._learn_from_rollups(RollupHistory(history), canaries)
        await self._submit(BaselinesLearned(learned))
        count = sum(baseline is not None for baseline in learned.values())
        _log.info("baselines learned", extra={"learned": count, "without_history": len(learned) - count})
        return count == len(learned)

    async def _learn_from_rollups(
        self, history: RollupHistory, canaries: Iterable[Canary]
    ) -> dict[str, LearnedBaseline | None]:
        """Learn from rollups where the recorded runs do not reach back a day.

        Those of a canary that are younger than an hour say no more than its runs.
        """
        learned: dict[str, LearnedBaseline | None] = {}
        now, names = self._clock.time(), names_of(canaries)
        for first in range(0, len(history.canaries), _CANARIES_PER_READ):
            some = history.canaries[first : first + _CANARIES_PER_READ]
            recorded = await self._store.first_periods(
                {recorded: name for canary in some for recorded, name in names[canary.name].items()}
            )
            for canary in some:
                if recorded.get(canary.name, now) <= now - HOUR:
                    rollups = await self._store.read_rollups(now - LEARNED_PERIOD, names[canary.name])
                    learned |= await asyncio.to_thread(history.observe, canary, rollups, now)
                    await asyncio.sleep(_PAUSE)
                else:
                    learned |= history.observe(canary, (), now)
            await asyncio.sleep(_PAUSE)
        return learned

    async def _learn_safely(self) -> bool:
        try:
            return await self.learn()
        except StoreFailing as error:  # reported by the alert StoreFailing; the stored baselines stay in use
            _log.warning("learning of baselines failed", extra={"error": str(error)})
        except Exception:  # noqa: BLE001 - an internal error is logged, and does not end alerting
            _log.exception("learning of baselines failed")
        return False
