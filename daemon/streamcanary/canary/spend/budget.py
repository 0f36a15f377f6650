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

from streamcanary.model.outcome import BudgetStanding
from streamcanary.model.spend import Spend

SLOW_FROM: Final = 0.8
"""The part of the day's budget from which canaries are slowed."""

MOST_SLOWED: Final = 10.0
"""The factor by which money slows down canaries at most."""

_WINDOW: Final = 60.0  # seconds
_WEIGHT: Final = 0.2  # of the last run in the mean cost of a canary's runs
_AIM: Final = 0.9  # of the requests of a minute: at all of them, chance would decide who finds the minute full
_MOST_TURNS: Final = 2.0  # that a canary can have in hand, when others were before it
_HAIR: Final = 1e-9
_DAYS: Final = 400


class BudgetConfig(BaseModel):
    """What all canaries of one daemon may use together; without a limit, as much as they like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_day: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None


class Share(Struct, frozen=True):
    """What one canary is expected to use: seconds between two runs, and USD for a run; 0 if it costs nothing."""

    interval: float
    usd: float


class Allowance:
    """Decides whose turn may be taken.

    ``days`` has what was spent, by UTC day; it is what outlives a restart.
    """

    def __init__(self, config: BudgetConfig, shares: Mapping[str, Share]) -> None:
        self._config = config
        self._shares = dict(shares)
        # Staggered: not all canaries leave out the same turn.
        self._turns = {name: position / max(1, len(shares)) for position, name in enumerate(shares)}
        self._reserved: dict[str, float] = {}
        self._rate = sum(share.usd / share.interval for share in shares.values())  # USD a second at full speed
        self._dearest = max((share.usd for share in shares.values()), default=0.0)
        self._exhausted = ""  # the day of which the budget is used up
        self._due = sum(_WINDOW / share.interval for share in shares.values())  # runs a minute at full speed
        self._runs, self._retries, self._forgone = _Recent(), _Recent(), _Recent()
        self.days: dict[str, Spend] = {}

    def admit(self, name: str, wall: float, now: float) -> BudgetStanding | None:
        """Return how the budget stands for a turn of the canary ``name``; ``None`` if there is none.

        It runs if that is ``None``, ``within`` or ``exempt``, and then :meth:`charge` must follow. ``wall`` is seconds
        since the epoch, ``now`` monotonic seconds.
        """
        share = self._shares[name]
        paid = self._config.usd_per_day is not None and share.usd > 0
        if paid and self._is_exhausted(share.interval, wall):
            return BudgetStanding.EXHAUSTED
        stretch = max(self._stretch_of_requests(now), self._stretch_of_usd(wall) if paid else 1.0)
        turn = self._turns[name] + 1 / stretch
        if turn < 1 - _HAIR or self._is_full(now) or (paid and not self._affords_one(wall)):
            self._turns[name] = min(_MOST_TURNS, turn)
            self._forgone.add(now)
            return BudgetStanding.SLOWED
        self._turns[name] = max(0.0, turn - 1)
        self._runs.add(now)
        if not paid:
            return None if self._config.usd_per_day is None else BudgetStanding.EXEMPT
        self._reserved[name] = share.usd
        return BudgetStanding.WITHIN

    def slowed_by(self, wall: float, now: float) -> str | None:
        """Return the limit that canaries are slowed to at these times, by its key; ``None`` if they are not."""
        if self._stretch_of_requests(now) > 1:
            return "requests_per_minute"
        costly = self._config.usd_per_day is not None and self._rate > 0
        return "usd_per_day" if costly and self._stretch_of_usd(wall) > 1 else None

    def retried(self, now: float) -> None:
        """Take note of an attempt after the first of a run."""
        self._retries.add(now)

    def charge(self, name: str, spend: Spend, wall: float) -> None:
        """Enter what a run of ``name`` used."""
        self._reserved.pop(name, None)
        day = utc_day(wall)
        self.days[day] = self.days.get(day, Spend()) + spend
        while len(self.days) > _DAYS:
            del self.days[min(self.days)]
        share = self._shares[name]
        if share.usd and spend.requests:
            usd = share.usd + _WEIGHT * (spend.usd - share.usd)
            self._shares[name] = Share(share.interval, usd)
            self._rate += (usd - share.usd) / share.interval
            self._dearest = max(self._dearest, spend.usd)

    def adopt(self, days: Mapping[str, Spend]) -> None:
        """Add what an earlier daemon has spent."""
        for day, spend in days.items():
            self.days[day] = self.days.get(day, Spend()) + spend

    def spent(self, wall: float) -> float:
        """Return the USD spent on the day of ``wall``."""
        spend = self.days.get(utc_day(wall))
        return 0.0 if spend is None else spend.usd

    def _is_exhausted(self, interval: float, wall: float) -> bool:
        """Tell whether the day's budget is used up; shortly before midnight that is only a longer pause."""
        day = utc_day(wall)
        short = self._left(wall) < self._dearest - _HAIR
        if self._exhausted != day and short and _until_midnight(wall) > MOST_SLOWED * interval:
            self._exhausted = day
        return self._exhausted == day

    def _affords_one(self, wall: float) -> bool:
        """Tell whether there is money for a run beside those under way."""
        return self._left(wall) - sum(self._reserved.values()) >= self._dearest - _HAIR

    def _left(self, wall: float) -> float:
        return (self._config.usd_per_day or 0.0) - self.spent(wall)

    def _stretch_of_usd(self, wall: float) -> float:
        """Return by which factor to slow down, so that what is left lasts until midnight."""
        if self.spent(wall) < SLOW_FROM * (self._config.usd_per_day or 0.0):
            return 1.0
        left = self._left(wall) - sum(self._reserved.values()) - self._dearest
        return min(MOST_SLOWED, max(1.0, self._rate * _until_midnight(wall) / max(left, _HAIR)))

    def _is_full(self, now: float) -> bool:
        limit = self._config.requests_per_minute
        return limit is not None and self._runs.count(now) + self._retries.count(now) >= limit

    def _stretch_of_requests(self, now: float) -> float:
        """Return by which factor to slow down, so that the requests of a minute fit."""
        if self._config.requests_per_minute is None:
            return 1.0
        runs = self._runs.count(now)
        attempts_per_run = 1 + self._retries.count(now) / max(1, runs)
        wanted = max(self._due, runs + self._forgone.count(now)) * attempts_per_run
        limit = self._config.requests_per_minute
        return wanted / (_AIM * limit) if wanted > limit else 1.0


class _Recent:
    """Counts what happened in the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self.count(now)  # forgets what is older
        self._times.append(now)

    def count(self, now: float) -> int:
        while self._times and self._times[0] <= now - _WINDOW:
            self._times.popleft()
        return len(self._times)


def utc_day(wall: float) -> str:
    """Return the day of UTC that ``wall`` (seconds since the epoch) is in: ``2026-02-02``."""
    return datetime.fromtimestamp(wall, UTC).date().isoformat()


def _until_midnight(wall: float) -> float:
    return 86400.0 - wall % 86400.0
