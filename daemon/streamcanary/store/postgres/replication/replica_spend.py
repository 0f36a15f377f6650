"""The spend of replicas in PostgreSQL: a row for each live session and day, and the sum of those that have ended."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

from streamcanary.model.clock import Clock
from streamcanary.model.spend import Spend, SpendByOwner
from streamcanary.store.connection import Connection

T = TypeVar("T")

_DAYS: Final = timedelta(days=2)  # before today; the budget of one day needs no more, in any time zone
_COLUMNS: Final = "day, input_tokens, output_tokens, input_usd, output_usd, requests"


class SpendBackend(Protocol):
    """The part of :class:`~streamcanary.store.postgres.backend.PostgresBackend` that reads the spend."""

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a consistent snapshot."""
        ...


class PostgresReplicaSpend:
    """The spend of the last days in the database of ``backend``; each method may raise ``StoreFailing``."""

    def __init__(self, backend: SpendBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock

    async def load_spend_by_owner(self, session: int) -> SpendByOwner:
        """Return the spend of ``session``, and that of all others, of sessions that have ended too."""
        since = (datetime.fromtimestamp(self._clock.time(), UTC) - _DAYS).date().isoformat()

        def select(connection: Connection) -> SpendByOwner:
            own: dict[str, Spend] = {}
            others: dict[str, Spend] = {}
            query = (
                f"SELECT session, {_COLUMNS} FROM replica_spend WHERE day >= ?"  # noqa: S608 - fixed names
                f" UNION ALL SELECT NULL, {_COLUMNS} FROM spend WHERE day >= ?"
            )
            for owner, day, input_tokens, output_tokens, input_usd, output_usd, requests in connection.execute(
                query, (since, since)
            ):
                days = own if owner == session else others
                days[day] = days.get(day, Spend()) + Spend(
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    input_usd=input_usd,
                    output_usd=output_usd,
                    requests=requests,
                )
            return SpendByOwner(own, others)

        return await self._backend.read(select)
