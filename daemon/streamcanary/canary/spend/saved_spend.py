"""Keeps the spend of a daemon in its store, across restarts."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final, Protocol, Self

from streamcanary.canary.spend.budget import BudgetLimiter
from streamcanary.model.background_task import BackgroundTask
from streamcanary.model.spend import Spend
from streamcanary.store.errors import StoreFailing, StoreLost

_log = logging.getLogger(__name__)

_SAVE_INTERVAL: Final = 1.0  # seconds between two writes; a crash loses at most the spend of this time
_RETRY_INTERVAL: Final = 5.0  # seconds between two writes while the store fails
_FINAL_SAVE_TIMEOUT: Final = 0.3  # time limit of the last write, in seconds


class SpendStore(Protocol):
    """The part of the store that has the spend of one daemon."""

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set the spend of these days; idempotent.

        Raises:
            StoreFailing: if it could not be saved.
            StoreLost: if in addition the spend saved before is lost.
        """
        ...

    async def load_spend(self) -> dict[str, Spend]:
        """Return the spend by UTC day.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...


class SavedSpend:
    """Keeps the spend of ``limiter`` in ``store``. A context manager: it loads the spend, and saves it when it changes.

    While the store fails, the spend is kept in memory; the spend in the store is added as soon as it can be read.
    """

    def __init__(self, store: SpendStore, limiter: BudgetLimiter) -> None:
        self._store = store
        self._limiter = limiter
        self._is_loaded = False
        self._unsaved_days: set[str] = set()  # days whose spend is not saved yet
        self._has_unsaved_spend = asyncio.Event()
        self._task = BackgroundTask("spend")

    async def __aenter__(self) -> Self:
        try:
            await self._load()
        except StoreFailing as error:
            _log.error("spend not loaded", extra={"error": str(error)})  # the budget starts without it
        self._task.start(self._save_loop())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._task.stop()
        with contextlib.suppress(StoreFailing, TimeoutError):
            async with asyncio.timeout(_FINAL_SAVE_TIMEOUT):
                if not self._is_loaded:
                    await self._load()
                await self._save()

    def mark_changed(self, day: str) -> None:
        """Note that the spend of a UTC day has changed; it is saved within about a second."""
        self._unsaved_days.add(day)
        self._has_unsaved_spend.set()

    async def _save_loop(self) -> None:
        """Save the spend when it has changed, at most once a second."""
        is_failing = False
        while True:
            await self._has_unsaved_spend.wait()
            try:
                if not self._is_loaded:
                    await self._load()
                await self._save()
            except StoreFailing as error:
                if not is_failing:
                    _log.warning("spend not saved", extra={"error": str(error)})  # it is kept in memory
                is_failing = True
                await asyncio.sleep(_RETRY_INTERVAL)
                continue
            is_failing = False
            await asyncio.sleep(_SAVE_INTERVAL)

    async def _load(self) -> None:
        self._limiter.add_spend_by_day(await self._store.load_spend())
        self._is_loaded = True

    async def _save(self) -> None:
        if not self._is_loaded or not self._unsaved_days:
            self._has_unsaved_spend.clear()
            return
        self._has_unsaved_spend.clear()
        days, self._unsaved_days = self._unsaved_days, set()
        try:
            await self._store.save_spend(
                {day: self._limiter.spend_by_day[day] for day in days if day in self._limiter.spend_by_day}
            )
        except BaseException as error:  # raised again; the days stay marked as unsaved
            self._unsaved_days |= set(self._limiter.spend_by_day) if isinstance(error, StoreLost) else days
            self._has_unsaved_spend.set()
            raise
