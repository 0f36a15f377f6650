"""One budget for all replicas that share a database: what each has spent counts for all of them, once."""

from collections.abc import Mapping

import pytest

from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend.budget import BudgetConfig, BudgetLimiter, ExpectedCost, utc_day
from streamcanary.canary.spend.guard import SpendGuard
from streamcanary.canary.spend.prices import Price
from streamcanary.canary.spend.shared_spend import SharedSpend
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend, SpendByOwner
from streamcanary.store.errors import StoreFailing
from support.store.builders import NOON, FrozenClock

WITHIN, EXHAUSTED = BudgetState.WITHIN, BudgetState.EXHAUSTED


class MemorySharedSpend:
    """The rows of all sessions in memory. Ended sessions have none: their spend is summed up in ``ended``."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Spend]] = {}
        self.ended: dict[str, Spend] = {}
        self.error: StoreFailing | None = None

    def commit(self, session: int, spend: Mapping[str, Spend]) -> None:
        """Set the spend of ``session``."""
        self.rows.setdefault(session, {}).update(spend)

    def end(self, session: int) -> None:
        """End ``session``."""
        for day, spend in self.rows.pop(session, {}).items():
            self.ended[day] = self.ended.get(day, Spend()) + spend

    async def load_spend_by_owner(self, session: int) -> SpendByOwner:
        """Return the spend of ``session``, and that of all others."""
        if self.error is not None:
            raise self.error
        others = dict(self.ended)
        for other, days in self.rows.items():
            for day, spend in days.items() if other != session else ():
                others[day] = others.get(day, Spend()) + spend
        return SpendByOwner(own=dict(self.rows.get(session, {})), others=others)


class Replica:
    """A spend guard of one canary whose runs cost 0.0025 USD, with the part that has the spend of all."""

    def __init__(self, store: MemorySharedSpend, session: int, clock: FrozenClock, config: BudgetConfig) -> None:
        spec = CanarySpec.model_validate({"target": "t", "model": "m"})
        self.store, self.session = store, session
        self.shared = SharedSpend(store, lambda: self.session)
        price = Price.model_validate({"input": 1.0, "output": 10.0})
        self.guard = SpendGuard(config, {"c": spec}, {"c": (price,)}, clock=clock, shared=self.shared)

    def spend(self, usd: float) -> None:
        """Record a run that cost ``usd``."""
        self.guard.record_spend("c", Spend(input_usd=usd, requests=1))

    def commit(self) -> None:
        """Commit the spend of the session."""
        self.store.commit(self.session, self.shared.session_spend())

    def rejoin(self, session: int) -> None:
        """Continue as another session; the one before has been ended."""
        self.store.end(self.session)
        self.session = session

    def admit(self) -> BudgetState | None:
        """Return the budget state for a run that is due."""
        return self.guard.admit(Canary(name="c", target="t", provider="p", model="m", interval=60.0, timeout=30.0))


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def store() -> MemorySharedSpend:
    return MemorySharedSpend()


@pytest.fixture
def replicas(store: MemorySharedSpend, clock: FrozenClock) -> tuple[Replica, Replica]:
    config = BudgetConfig(usd_per_day=1.0)
    return Replica(store, 1, clock, config), Replica(store, 2, clock, config)


async def _exchange(*replicas: Replica) -> None:
    for replica in replicas:
        replica.commit()
    for replica in replicas:
        await replica.shared.read()


async def test_the_budget_counts_the_spend_of_all_replicas(replicas: tuple[Replica, Replica]) -> None:
    """What one replica spends exhausts the budget of both."""
    first, second = replicas
    first.spend(0.6)
    second.spend(0.3999)
    await _exchange(first, second)
    assert (EXHAUSTED, EXHAUSTED) == (first.admit(), second.admit())
    assert pytest.approx(0.9999) == first.guard.usd_spent_today == second.guard.usd_spent_today


async def test_a_repeated_commit_counts_once(replicas: tuple[Replica, Replica], store: MemorySharedSpend) -> None:
    """A session sets its spend: a commit whose answer was lost is repeated without effect."""
    first, second = replicas
    first.spend(0.2)
    first.commit()
    await _exchange(first, second)
    assert pytest.approx(0.2) == second.guard.usd_spent_today
    assert {} == first.shared.session_spend()


async def test_at_midnight_there_is_a_new_budget_for_all(replicas: tuple[Replica, Replica], clock: FrozenClock) -> None:
    """The spend of the day before counts for nobody any more."""
    first, second = replicas
    first.spend(0.9999)
    await _exchange(first, second)
    before = second.admit()
    clock.wall_time += 86_400
    assert (EXHAUSTED, WITHIN, WITHIN) == (before, first.admit(), second.admit())


async def test_the_spend_of_an_ended_session_stays(replicas: tuple[Replica, Replica], store: MemorySharedSpend) -> None:
    """What a replica has spent counts after its end, and once."""
    first, second = replicas
    first.spend(0.4)
    await _exchange(first, second)
    store.end(1)
    await second.shared.read()
    assert pytest.approx(0.4) == second.guard.usd_spent_today


async def test_a_new_session_does_not_count_what_the_one_before_has_committed(
    replicas: tuple[Replica, Replica],
) -> None:
    """A replica that lost its lease continues with what it could not commit; the rest is that of its former session."""
    first, second = replicas
    first.spend(0.4)
    await _exchange(first, second)
    first.spend(0.1)
    first.rejoin(3)
    assert {utc_day(NOON): Spend(input_usd=pytest.approx(0.1), requests=1)} == first.shared.session_spend()
    await _exchange(first, second)
    assert pytest.approx(0.5) == first.guard.usd_spent_today == second.guard.usd_spent_today


async def test_a_read_after_the_session_was_ended_does_not_forget_what_it_committed(
    replicas: tuple[Replica, Replica], store: MemorySharedSpend
) -> None:
    """A fenced replica that reads before it joins again counts nothing twice after that."""
    first, _ = replicas
    first.spend(0.4)
    await _exchange(first)
    store.end(1)
    await first.shared.read()
    first.rejoin(3)
    await _exchange(first)
    assert pytest.approx(0.4) == first.guard.usd_spent_today


async def test_while_the_database_fails_the_last_known_spend_counts(
    replicas: tuple[Replica, Replica], store: MemorySharedSpend
) -> None:
    """A database that cannot be read makes no budget available again."""
    first, second = replicas
    first.spend(0.9999)
    await _exchange(first, second)
    store.error = StoreFailing("no connection")
    with pytest.raises(StoreFailing):
        await second.shared.read()
    assert EXHAUSTED is second.admit()


def _limiter(limit: float, canaries: int) -> BudgetLimiter:
    costs = {f"c{number}": ExpectedCost(60.0, 0.0) for number in range(canaries)}
    return BudgetLimiter(BudgetConfig(requests_per_minute=limit), costs)


def test_a_replica_has_the_part_of_the_request_limit_that_its_canaries_have() -> None:
    """Of ten canaries that run once a minute and may make eight requests, four may make three."""
    limiter = _limiter(8, 10)
    owned = [f"c{number}" for number in range(4)]
    limiter.set_owned(owned)
    runs = 0
    for minute in range(10):
        now = 1000.0 + 60 * minute
        runs += sum(limiter.admit(name, NOON, now + 15 * place) is None for place, name in enumerate(owned))
    assert True is (26 <= runs <= 32)


def test_handing_canaries_over_does_not_slow_the_others_down() -> None:
    """The requests of the last minute are divided with the canaries: those that stay go on at full rate."""
    limiter = _limiter(10, 10)
    names = [f"c{number}" for number in range(10)]
    for place, name in enumerate(names):
        assert None is limiter.admit(name, NOON, 1000.0 + 6 * place)
    limiter.set_owned(kept := names[::2])
    assert [None] * 5 == [limiter.admit(name, NOON, 1060.0 + 12 * place) for place, name in enumerate(kept)]


def test_a_replica_that_owns_nothing_makes_no_request() -> None:
    """A run of a canary that was just handed over is skipped."""
    limiter = _limiter(10, 2)
    limiter.set_owned([])
    states = [limiter.admit("c0", NOON, 1000.0), limiter.admit("c0", NOON, 1001.0)]
    assert [BudgetState.SLOWED, BudgetState.SLOWED] == states
