"""The spend of all replicas that share a database, which have one budget.

The spend of each session is a row by UTC day, which its commits set to what it has spent: a commit that is repeated
counts once. A replica reads once a second what the others have spent. So all of them together may exceed
``usd_per_day`` by what they have in flight, and by what they start within about a second.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, Self

from streamcanary.canary.spend.budget import BudgetLimiter
from streamcanary.model.background_task import BackgroundTask
from streamcanary.model.spend import Spend, SpendByOwner
from streamcanary.store.errors import StoreFailing

_log = logging.getLogger(__name__)

_READ_INTERVAL: Final = 1.0  # seconds between two reads


class SharedSpendStore(Protocol):
    """The part of the database that has the spend of all replicas."""

    async def load_spend_by_owner(self, session: int) -> SpendByOwner:
        """Return the spend of ``session``, and that of all others.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...


class SharedSpend:
    """Lets a budget count what all replicas spend. A context manager: while entered, it reads what others have spent.

    ``session`` returns the session of this replica, ``None`` if it has none now. ``session_spend`` returns what its
    commits set. While the database cannot be read, what was read last counts.
    """

    def __init__(self, store: SharedSpendStore, session: Callable[[], int | None]) -> None:
        self._store = store
        self._current_session = session
        self._session: int | None = None
        self._limiter: BudgetLimiter | None = None
        self._committed: dict[str, Spend] = {}  # of the session, as it was read last
        self._is_failing = False
        self._task = BackgroundTask("spend of replicas")

    def bind(self, limiter: BudgetLimiter) -> None:
        """Let ``limiter`` count the spend of the others; its own spend is that of the session."""
        self._limiter = limiter

    def session_spend(self) -> dict[str, Spend]:
        """Return the spend of the session by UTC day, without days whose spend is known to be committed."""
        self._follow_session()
        return {day: spend for day, spend in self._own.items() if self._committed.get(day) != spend}

    async def __aenter__(self) -> Self:
        self._task.start(self._follow())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._task.stop()

    async def read(self) -> None:
        """Read once what the others have spent.

        Raises:
            StoreFailing: if it cannot be read.
        """
        self._follow_session()
        session = self._session
        if session is None:
            return
        found = await self._store.load_spend_by_owner(session)
        if session != self._session or self._limiter is None:
            return
        self._limiter.other_spend_by_day = found.others
        for day, spend in found.own.items():  # never less than before: a session that has ended has no rows of its own
            if spend.requests >= self._committed.get(day, Spend()).requests:
                self._committed[day] = spend

    def _follow_session(self) -> None:
        """With another session, what the one before has committed is from now on the spend of another one."""
        session = self._current_session()
        if session is None or session == self._session:
            return
        own = self._own
        rest = {day: _difference(spend, self._committed.get(day, Spend())) for day, spend in own.items()}
        own.clear()
        own.update({day: spend for day, spend in rest.items() if spend.requests})
        self._session, self._committed = session, {}

    async def _follow(self) -> None:
        while True:
            try:
                await self.read()
            except StoreFailing as error:
                if not self._is_failing:
                    _log.warning("spend of other replicas not read", extra={"error": str(error)})
                self._is_failing = True
            else:
                self._is_failing = False
            await asyncio.sleep(_READ_INTERVAL)

    @property
    def _own(self) -> dict[str, Spend]:
        return {} if self._limiter is None else self._limiter.spend_by_day


def _difference(spend: Spend, other: Spend) -> Spend:
    return Spend(
        input_tokens=max(0, spend.input_tokens - other.input_tokens),
        output_tokens=max(0, spend.output_tokens - other.output_tokens),
        input_usd=max(0.0, spend.input_usd - other.input_usd),
        output_usd=max(0.0, spend.output_usd - other.output_usd),
        requests=max(0, spend.requests - other.requests),
    )
