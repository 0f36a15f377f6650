"""The ``budget:`` section, and who may run under it. Pure: both times come in, nothing is sent or kept here.

``usd_per_day`` is for a day of UTC, as providers bill it, by the wall clock: a clock that jumps into another day finds
the account of that day. From 80 % of it on, canaries are slowed so that the rest lasts until midnight, but at most
tenfold: who is asked less often is hardly watched, and it is better said that nothing is. When less than the dearest
run is left, whatever costs money stops until the next day. Canaries that cost nothing are not concerned.

``requests_per_minute`` counts attempts, retries and fallbacks too, over the last 60 s of the monotonic clock. A run
that has begun is carried through with all its retries: they hold up the runs after it.

Slowed is evenly slowed: by a factor k each canary takes one of every k of its turns, so that the counts of turns taken
by two canaries of one interval differ by one at most; by some more where a full minute decides. The rest is skipped.
"""

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend

SLOWDOWN_THRESHOLD: Final = 0.8
"""The part of the day's budget from which canaries are slowed."""

MAX_SLOWDOWN: Final = 10.0
"""The factor by which money slows down canaries at most."""

_RATE_WINDOW: Final = 60.0  # seconds
_EWMA_WEIGHT: Final = 0.2  # of the last run in the mean cost of a canary's runs
_TARGET_UTILIZATION: Final = (
    0.9  # of the requests of a minute: at all of them, chance would decide who finds the minute full
)
_MAX_TURN_CREDIT: Final = 2.0  # that a canary can have in hand, when others were before it
_EPSILON: Final = 1e-9
_MAX_DAYS: Final = 400


class BudgetConfig(BaseModel):
    """What all canaries of one daemon may use together; without a limit, as much as they like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_day: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None


class ExpectedCost(Struct, frozen=True):
    """What one canary is expected to use: seconds between two runs, and USD for a run; 0 if it costs nothing."""

    interval: float
    usd: float


class BudgetLimiter:
    """Decides whose turn may be taken.

    ``days`` has what was spent, by UTC day; it is what outlives a restart.
    """

    def __init__(self, config: BudgetConfig, expected_costs: Mapping[str, ExpectedCost]) -> None:
        self._config = config
        self._expected_costs = dict(expected_costs)
        # Staggered: not all canaries leave out the same turn.
        self._turn_credits = {
            name: position / max(1, len(expected_costs)) for position, name in enumerate(expected_costs)
        }
        self._reserved_usd: dict[str, float] = {}
        self._usd_per_second = sum(
            share.usd / share.interval for share in expected_costs.values()
        )  # USD a second at full speed
        self._max_run_usd = max((share.usd for share in expected_costs.values()), default=0.0)
        self._exhausted_day = ""  # the day of which the budget is used up
        self._scheduled_runs_per_minute = sum(
            _RATE_WINDOW / share.interval for share in expected_costs.values()
        )  # runs a minute at full speed
        self._recent_runs, self._recent_retries, self._recent_skipped = (
            _SlidingWindowCounter(),
            _SlidingWindowCounter(),
            _SlidingWindowCounter(),
        )
        self.spend_by_day: dict[str, Spend] = {}

    def admit(self, name: str, wall: float, now: float) -> BudgetState | None:
        """Return how the budget stands for a turn of the canary ``name``; ``None`` if there is none.

        It runs if that is ``None``, ``within`` or ``exempt``, and then :meth:`charge` must follow. ``wall`` is seconds
        since the epoch, ``now`` monotonic seconds.
        """
        expected = self._expected_costs[name]
        is_paid = self._config.usd_per_day is not None and expected.usd > 0
        if is_paid and self._is_exhausted(expected.interval, wall):
            return BudgetState.EXHAUSTED
        slowdown = max(self._request_slowdown(now), self._usd_slowdown(wall) if is_paid else 1.0)
        credit = self._turn_credits[name] + 1 / slowdown
        if credit < 1 - _EPSILON or self._is_request_limit_reached(now) or (is_paid and not self._can_afford_run(wall)):
            self._turn_credits[name] = min(_MAX_TURN_CREDIT, credit)
            self._recent_skipped.add(now)
            return BudgetState.SLOWED
        self._turn_credits[name] = max(0.0, credit - 1)
        self._recent_runs.add(now)
        if not is_paid:
            return None if self._config.usd_per_day is None else BudgetState.EXEMPT
        self._reserved_usd[name] = expected.usd
        return BudgetState.WITHIN

    def slowing_limit(self, wall: float, now: float) -> str | None:
        """Return the limit that canaries are slowed to at these times, by its key; ``None`` if they are not."""
        if self._request_slowdown(now) > 1:
            return "requests_per_minute"
        costly = self._config.usd_per_day is not None and self._usd_per_second > 0
        return "usd_per_day" if costly and self._usd_slowdown(wall) > 1 else None

    def record_retry(self, now: float) -> None:
        """Take note of an attempt after the first of a run."""
        self._recent_retries.add(now)

    def record_spend(self, name: str, spend: Spend, wall: float) -> None:
        """Enter what a run of ``name`` used."""
        self._reserved_usd.pop(name, None)
        day = utc_day(wall)
        self.spend_by_day[day] = self.spend_by_day.get(day, Spend()) + spend
        while len(self.spend_by_day) > _MAX_DAYS:
            del self.spend_by_day[min(self.spend_by_day)]
        expected = self._expected_costs[name]
        if expected.usd and spend.requests:
            usd = expected.usd + _EWMA_WEIGHT * (spend.usd - expected.usd)
            self._expected_costs[name] = ExpectedCost(expected.interval, usd)
            self._usd_per_second += (usd - expected.usd) / expected.interval
            self._max_run_usd = max(self._max_run_usd, spend.usd)

    def add_spend_by_day(self, days: Mapping[str, Spend]) -> None:
        """Add what an earlier daemon has spent."""
        for day, spend in days.items():
            self.spend_by_day[day] = self.spend_by_day.get(day, Spend()) + spend

    def usd_spent(self, wall: float) -> float:
        """Return the USD spent on the day of ``wall``."""
        spend = self.spend_by_day.get(utc_day(wall))
        return 0.0 if spend is None else spend.usd

    def _is_exhausted(self, interval: float, wall: float) -> bool:
        """Tell whether the day's budget is used up; shortly before midnight that is only a longer pause."""
        day = utc_day(wall)
        short = self._remaining_usd(wall) < self._max_run_usd - _EPSILON
        if self._exhausted_day != day and short and _seconds_until_midnight(wall) > MAX_SLOWDOWN * interval:
            self._exhausted_day = day
        return self._exhausted_day == day

    def _can_afford_run(self, wall: float) -> bool:
        """Tell whether there is money for a run beside those under way."""
        return self._remaining_usd(wall) - sum(self._reserved_usd.values()) >= self._max_run_usd - _EPSILON

    def _remaining_usd(self, wall: float) -> float:
        return (self._config.usd_per_day or 0.0) - self.usd_spent(wall)

    def _usd_slowdown(self, wall: float) -> float:
        """Return by which factor to slow down, so that what is left lasts until midnight."""
        if self.usd_spent(wall) < SLOWDOWN_THRESHOLD * (self._config.usd_per_day or 0.0):
            return 1.0
        spendable = self._remaining_usd(wall) - sum(self._reserved_usd.values()) - self._max_run_usd
        return min(
            MAX_SLOWDOWN, max(1.0, self._usd_per_second * _seconds_until_midnight(wall) / max(spendable, _EPSILON))
        )

    def _is_request_limit_reached(self, now: float) -> bool:
        limit = self._config.requests_per_minute
        return limit is not None and self._recent_runs.count(now) + self._recent_retries.count(now) >= limit

    def _request_slowdown(self, now: float) -> float:
        """Return by which factor to slow down, so that the requests of a minute fit."""
        if self._config.requests_per_minute is None:
            return 1.0
        runs = self._recent_runs.count(now)
        attempts_per_run = 1 + self._recent_retries.count(now) / max(1, runs)
        wanted = max(self._scheduled_runs_per_minute, runs + self._recent_skipped.count(now)) * attempts_per_run
        limit = self._config.requests_per_minute
        return wanted / (_TARGET_UTILIZATION * limit) if wanted > limit else 1.0


class _SlidingWindowCounter:
    """Counts what happened in the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self.count(now)  # forgets what is older
        self._times.append(now)

    def count(self, now: float) -> int:
        while self._times and self._times[0] <= now - _RATE_WINDOW:
            self._times.popleft()
        return len(self._times)


def utc_day(wall: float) -> str:
    """Return the day of UTC that ``wall`` (seconds since the epoch) is in: ``2026-02-02``."""
    return datetime.fromtimestamp(wall, UTC).date().isoformat()


def _seconds_until_midnight(wall: float) -> float:
    return 86400.0 - wall % 86400.0
