"""The ``budget:`` section, and the decision which runs it admits. Pure: times are arguments, and there is no I/O.

``usd_per_day`` is for a UTC day, as in the invoices of providers, by the wall clock: after a clock step into another
day, the spend of that day counts. From 80 % of the budget on, canaries are slowed down so that the rest lasts until
midnight, by a factor of at most 10: a canary that runs less often hardly monitors anything, so an explicit stop is
better. When the rest is less than the cost of the most expensive run, all paid canaries stop until the next day.
Canaries without cost are not affected. A member of a fleet may run less often than once a day, so its part of
``usd_per_day`` is summed up over as many UTC days as ten runs of its slowest paid canary take: that of each day would
not pay for a single run.

``requests_per_minute`` counts attempts, with retries and fallbacks, in the last 60 s of the monotonic clock. A limit
below 1, as a member of a fleet has, counts those in the time in which it allows ten. A run that has started completes
with all its retries, which delay the runs after it.

Canaries are slowed down evenly: with a factor k, each canary makes one of every k scheduled runs. The run counts of two
canaries with the same interval differ by at most one; by a few more when the request limit of a minute is reached. The
other runs are skipped.

Replicas that share a database have one budget: ``usd_per_day`` counts the spend of all of them, and each may use the
part of ``requests_per_minute`` that its canaries have of all scheduled runs.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend

SLOWDOWN_THRESHOLD: Final = 0.8
"""The fraction of the daily budget from which canaries are slowed down."""

MAX_SLOWDOWN: Final = 10.0
"""The maximum factor by which ``usd_per_day`` slows canaries down."""

_MINUTE: Final = 60.0  # seconds
_MIN_WINDOW_REQUESTS: Final = 10  # of a limit below 1 a minute; with fewer, the retries of a run would hardly count
_DAY: Final = 86400.0  # seconds
_PERIOD_RUNS: Final = 10  # of the slowest paid canary of a member; with fewer, chance would decide which days exceed it
_EWMA_WEIGHT: Final = 0.2  # weight of the last run in the mean cost of a canary's runs
# Fraction of ``requests_per_minute``. At 1.0 chance would decide which canaries exceed the limit.
_TARGET_UTILIZATION: Final = 0.9
_MAX_RUN_CREDIT: Final = 2.0  # runs that a canary can make up for after it was skipped
_EPSILON: Final = 1e-9
_MAX_DAYS: Final = 400


class BudgetConfig(BaseModel):
    """The limits of all canaries of one daemon together; ``None`` is no limit.

    ``members`` is the number of daemons in the fleet for whose share the limits are; it is no key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_day: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    requests_per_minute: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None

    _members: int = PrivateAttr(1)

    @property
    def members(self) -> int:
        """The daemons that share the limits; those of this configuration are for one of them."""
        return self._members

    def share(self, members: int) -> "BudgetConfig":
        """Return the part of this budget that each of ``members`` daemons of a fleet may use."""
        limits = {name: getattr(self, name) for name in type(self).model_fields}
        shared = self.model_copy(update={name: limit / members for name, limit in limits.items() if limit is not None})
        shared._members = members
        return shared


class ExpectedCost(Struct, frozen=True, gc=False):
    """The expected cost of one canary: seconds between two runs, and USD per run; 0 if it costs nothing."""

    interval: float
    usd: float


def budget_days(config: BudgetConfig, expected_costs: Iterable[ExpectedCost]) -> int:
    """Return the number of UTC days for which ``usd_per_day`` is summed up: 1 without a fleet, at most 400."""
    if config.members == 1:
        return 1
    longest = max((expected.interval for expected in expected_costs if expected.usd), default=0.0)
    return max(1, min(_MAX_DAYS, math.ceil(_PERIOD_RUNS * longest / _DAY)))


class BudgetLimiter:
    """Decides which scheduled runs are made.

    ``spend_by_day`` is the spend by UTC day, which is saved across restarts; ``other_spend_by_day`` that of other
    replicas, which counts as well.
    """

    def __init__(self, config: BudgetConfig, expected_costs: Mapping[str, ExpectedCost]) -> None:
        self._config = config
        self._expected_costs = dict(expected_costs)
        self._run_credits = _staggered_credits(expected_costs)
        self._reserved_usd: dict[str, float] = {}
        self._usd_per_second = self._scheduled_runs_per_second = self._max_run_usd = 0.0
        self._owned: Collection[str] | None = None  # the canaries that this replica runs; None for all
        self._owned_part = 1.0  # of the scheduled runs of all canaries
        self._sum_up_costs()
        self._exhausted_day = ""  # the UTC day that begins the period whose budget is exhausted
        self._recent_runs = _SlidingWindowCounter()
        self._recent_retries = _SlidingWindowCounter()
        self._recent_skipped = _SlidingWindowCounter()
        self._set_rate_window()
        self.spend_by_day: dict[str, Spend] = {}
        self.other_spend_by_day: Mapping[str, Spend] = {}

    def set_owned(self, canaries: Collection[str]) -> None:
        """Let ``requests_per_minute`` apply to these canaries alone, which have their part of it.

        Requests of the last minute count in the same proportion: others make those of canaries that they have taken.
        """
        self._owned = canaries
        before = self._owned_part
        self._sum_up_costs()
        self._set_rate_window()
        if self._owned_part < before:
            for counter in (self._recent_runs, self._recent_retries, self._recent_skipped):
                counter.thin(self._owned_part / before)

    def configure(self, config: BudgetConfig, expected_costs: Mapping[str, ExpectedCost]) -> None:
        """Replace limits and canaries. What was spent and run counts on; a larger budget is available at once.

        ``expected_costs`` of canaries that stay the same should be those of :attr:`expected_costs`.
        """
        self._config = config
        self._expected_costs = dict(expected_costs)
        staggered = _staggered_credits(expected_costs)
        self._run_credits = {name: self._run_credits.get(name, staggered[name]) for name in expected_costs}
        self._reserved_usd = {name: usd for name, usd in self._reserved_usd.items() if name in expected_costs}
        self._sum_up_costs()
        self._exhausted_day = ""
        self._set_rate_window()

    @property
    def expected_costs(self) -> Mapping[str, ExpectedCost]:
        """The expected costs by canary, as its runs have corrected them."""
        return self._expected_costs

    def admit(self, name: str, wall: float, now: float) -> BudgetState | None:
        """Return the budget state for a scheduled run of the canary ``name``; ``None`` without a budget.

        The run is made if the state is ``None``, ``within`` or ``exempt``; the caller then calls :meth:`record_spend`
        after it. ``wall`` is in seconds since the epoch, ``now`` in monotonic seconds.
        """
        expected = self._expected_costs[name]
        is_paid = self._config.usd_per_day is not None and expected.usd > 0
        if is_paid and self._is_exhausted(expected.interval, wall):
            return BudgetState.EXHAUSTED
        slowdown = max(self._request_slowdown(now), self._usd_slowdown(wall) if is_paid else 1.0)
        credit = self._run_credits[name] + 1 / slowdown
        if credit < 1 - _EPSILON or self._is_request_limit_reached(now) or (is_paid and not self._can_afford_run(wall)):
            self._run_credits[name] = min(_MAX_RUN_CREDIT, credit)
            self._recent_skipped.add(now)
            return BudgetState.SLOWED
        self._run_credits[name] = max(0.0, credit - 1)
        self._recent_runs.add(now)
        if not is_paid:
            return None if self._config.usd_per_day is None else BudgetState.EXEMPT
        self._reserved_usd[name] = expected.usd
        return BudgetState.WITHIN

    def slowing_limit(self, wall: float, now: float) -> str | None:
        """Return the key of the limit that slows canaries down at these times; ``None`` if they are not slowed down."""
        if self._request_slowdown(now) > 1:
            return "requests_per_minute"
        is_paid = self._config.usd_per_day is not None and self._usd_per_second > 0
        return "usd_per_day" if is_paid and self._usd_slowdown(wall) > 1 else None

    def record_retry(self, now: float) -> None:
        """Record an attempt after the first of a run."""
        self._recent_retries.add(now)

    def record_spend(self, name: str, spend: Spend, wall: float) -> None:
        """Record what a run of the canary ``name`` used."""
        self._reserved_usd.pop(name, None)
        day = utc_day(wall)
        self.spend_by_day[day] = self.spend_by_day.get(day, Spend()) + spend
        while len(self.spend_by_day) > _MAX_DAYS:
            del self.spend_by_day[min(self.spend_by_day)]
        expected = self._expected_costs.get(name)
        if expected is None:  # a reload has removed the canary during its run
            return
        if expected.usd and spend.requests:
            usd = expected.usd + _EWMA_WEIGHT * (spend.usd - expected.usd)
            self._expected_costs[name] = ExpectedCost(expected.interval, usd)
            self._usd_per_second += (usd - expected.usd) / expected.interval
            self._max_run_usd = max(self._max_run_usd, spend.usd)

    def add_spend_by_day(self, days: Mapping[str, Spend]) -> None:
        """Add the spend of earlier processes."""
        for day, spend in days.items():
            self.spend_by_day[day] = self.spend_by_day.get(day, Spend()) + spend

    def usd_spent(self, wall: float) -> float:
        """Return the USD spent on the day of ``wall``."""
        day = utc_day(wall)
        return self._usd_of_days(day, day)

    def usd_spent_in_period(self, wall: float) -> float:
        """Return the USD spent in the days for which the budget is summed up, one without a fleet."""
        start = self._period_start(wall)
        return self._usd_of_days(utc_day(start), utc_day(start + (self.days - 1) * _DAY))

    def _usd_of_days(self, first: str, last: str) -> float:
        tables = (self.spend_by_day, self.other_spend_by_day)
        return sum(spend.usd for table in tables for day, spend in table.items() if first <= day <= last)

    def _period_start(self, wall: float) -> float:
        return wall - wall % (self.days * _DAY)

    def _seconds_left(self, wall: float) -> float:
        """Return the seconds until the budget is available again: until midnight without a fleet."""
        return self._period_start(wall) + self.days * _DAY - wall

    def _sum_up_costs(self) -> None:
        costs = self._expected_costs.values()
        self.days = budget_days(self._config, costs)
        # Rates are those without slowdown. Those in USD are of the canaries of all replicas, as the budget is.
        self._usd_per_second = sum(cost.usd / cost.interval for cost in costs)
        all_runs = sum(1 / cost.interval for cost in costs)
        owned = self._expected_costs if self._owned is None else self._owned
        self._scheduled_runs_per_second = sum(
            1 / cost.interval for name, cost in self._expected_costs.items() if name in owned
        )
        self._owned_part = self._scheduled_runs_per_second / all_runs if all_runs else 1.0
        self._max_run_usd = max((cost.usd for cost in costs), default=0.0)

    @property
    def _requests_per_minute(self) -> float | None:
        limit = self._config.requests_per_minute
        return None if limit is None else limit * self._owned_part

    def _set_rate_window(self) -> None:
        limit = self._requests_per_minute
        window = _MINUTE if not limit or limit >= 1 else _MINUTE * _MIN_WINDOW_REQUESTS / limit
        for counter in (self._recent_runs, self._recent_retries, self._recent_skipped):
            counter.window = window

    @property
    def _window_requests(self) -> float | None:
        """The requests that the limit allows in its window; ``None`` without a limit."""
        limit = self._requests_per_minute
        return None if limit is None else limit * self._recent_runs.window / _MINUTE

    def _is_exhausted(self, interval: float, wall: float) -> bool:
        """Return whether the daily budget is exhausted; shortly before midnight canaries are only slowed down."""
        day = utc_day(self._period_start(wall))
        is_too_low = self._remaining_usd(wall) < self._max_run_usd - _EPSILON
        if self._exhausted_day != day and is_too_low and self._seconds_left(wall) > MAX_SLOWDOWN * interval:
            self._exhausted_day = day
        return self._exhausted_day == day

    def _can_afford_run(self, wall: float) -> bool:
        """Return whether the rest of the budget covers one more run besides the running ones."""
        return self._remaining_usd(wall) - sum(self._reserved_usd.values()) >= self._max_run_usd - _EPSILON

    def _remaining_usd(self, wall: float) -> float:
        return self._usd_limit - self.usd_spent_in_period(wall)

    @property
    def _usd_limit(self) -> float:
        return (self._config.usd_per_day or 0.0) * self.days

    def _usd_slowdown(self, wall: float) -> float:
        """Return the slowdown factor with which the rest of the budget lasts until there is a new one."""
        if self.usd_spent_in_period(wall) < SLOWDOWN_THRESHOLD * self._usd_limit:
            return 1.0
        spendable = self._remaining_usd(wall) - sum(self._reserved_usd.values()) - self._max_run_usd
        return min(MAX_SLOWDOWN, max(1.0, self._usd_per_second * self._seconds_left(wall) / max(spendable, _EPSILON)))

    def _is_request_limit_reached(self, now: float) -> bool:
        limit = self._window_requests
        return limit is not None and self._recent_runs.count(now) + self._recent_retries.count(now) >= limit - _EPSILON

    def _request_slowdown(self, now: float) -> float:
        """Return the slowdown factor with which the requests of the window are within the limit."""
        limit = self._window_requests
        if limit is None:
            return 1.0
        runs = self._recent_runs.count(now)
        attempts_per_run = 1 + self._recent_retries.count(now) / max(1, runs)
        scheduled = self._scheduled_runs_per_second * self._recent_runs.window
        requested = max(scheduled, runs + self._recent_skipped.count(now)) * attempts_per_run
        return requested / (_TARGET_UTILIZATION * max(limit, _EPSILON)) if requested > limit + _EPSILON else 1.0


class _SlidingWindowCounter:
    """Counts events in the last ``window`` seconds."""

    def __init__(self) -> None:
        self.window = _MINUTE
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self.count(now)  # removes older events
        self._times.append(now)

    def thin(self, part: float) -> None:
        """Keep this part of the events, evenly."""
        times = list(self._times)
        kept = round(part * len(times))
        self._times = deque(times[position * len(times) // kept] for position in range(kept))

    def count(self, now: float) -> int:
        while self._times and self._times[0] <= now - self.window:
            self._times.popleft()
        return len(self._times)


def _staggered_credits(expected_costs: Mapping[str, ExpectedCost]) -> dict[str, float]:
    """Return the first run credits: staggered, so that canaries do not all skip at the same time."""
    return {name: position / max(1, len(expected_costs)) for position, name in enumerate(expected_costs)}


def utc_day(wall: float) -> str:
    """Return the UTC day of ``wall`` (seconds since the epoch), such as ``2026-02-02``."""
    return datetime.fromtimestamp(wall, UTC).date().isoformat()
