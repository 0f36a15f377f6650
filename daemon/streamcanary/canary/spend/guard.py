"""The spend guard: holds all canaries of a daemon to their budget, and keeps account of it in the store."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Final, Protocol, Self

from msgspec import Struct

from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend.budget import Allowance, BudgetConfig, Share, utc_day
from streamcanary.canary.spend.prices import Price
from streamcanary.canary.spend.usage import expect
from streamcanary.canary.target import TargetSpec
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.config_issue import Misfit
from streamcanary.model.outcome import BudgetStanding
from streamcanary.model.spend import Spend
from streamcanary.store.errors import StoreFailing, StoreLost

_log = logging.getLogger(__name__)

_PAUSE: Final = 1.0  # seconds between two writes: what a crash may lose of the account
_RETRY: Final = 5.0  # seconds, while the store fails
_NOT_AT_FULL_PACE: Final = (BudgetStanding.SLOWED, BudgetStanding.EXHAUSTED)
_CALM: Final = 600.0  # seconds without slowing, after which it is over: one that comes and goes is one
_LAST_WRITE: Final = 0.3  # seconds that the last one may take

Prices = Mapping[str, tuple[Price | None, ...]]
"""By canary: what its own route and its fallbacks cost, in their order."""


class Account(Protocol):
    """What the guard needs of a store."""

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set what was spent on these days; the same again does no harm.

        Raises:
            StoreFailing: if it could not be saved.
            StoreLost: if in addition what was saved before is gone.
        """
        ...

    async def load_spend(self) -> dict[str, Spend]:
        """Return what was spent by day.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...


def prices_of(budget: BudgetConfig, targets: Mapping[str, TargetSpec], canaries: Mapping[str, CanarySpec]) -> Prices:
    """Return the prices of all routes.

    List prices are looked up only where a budget in USD needs them: the table takes some megabytes, and stays.
    """
    listed = budget.usd_per_day is not None
    return {
        name: tuple(
            targets[target].price_of(model) if listed or targets[target].price != "auto" else None
            for _, target, model in routes(spec)
        )
        for name, spec in canaries.items()
    }


def routes(spec: CanarySpec) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Yield the ways that a canary's question may go: the key of the model in the canary, the target, the model."""
    yield ("model",), spec.target, spec.model
    for number, fallback in enumerate(spec.fallbacks):
        if fallback.model is None:
            yield ("model",), spec.target, spec.model
        else:
            yield ("fallbacks", number, "model"), fallback.target or spec.target, fallback.model


def budget_misfits(
    budget: BudgetConfig, targets: Mapping[str, TargetSpec], canaries: Mapping[str, CanarySpec]
) -> Iterator[Misfit]:
    """Yield why the canaries cannot be held to ``budget``, by path in the configuration."""
    if budget.usd_per_day is None:
        return
    dearest, dearest_name = 0.0, ""
    for name, spec in canaries.items():
        told = set()
        for path, target, model in routes(spec):
            if targets[target].price_of(model) is None and path not in told:
                told.add(path)
                message = (
                    f"its price is not known, and budget.usd_per_day needs one: set targets.{target}.price to USD "
                    "per million tokens such as {input: 0.15, output: 0.60}, or to free"
                )
                yield Misfit(("canaries", name, *path), message, against=("budget", "usd_per_day"))
        if (
            usd := share_of(spec, [targets[target].price_of(model) for _, target, model in routes(spec)]).usd
        ) > dearest:
            dearest, dearest_name = usd, name
    if dearest > budget.usd_per_day:
        message = f"is less than one run of canary {dearest_name}, which may cost {dearest:.2g} USD"
        yield Misfit(("budget", "usd_per_day"), message)


def share_of(spec: CanarySpec, prices: list[Price | None] | tuple[Price | None, ...]) -> Share:
    """Return what a canary is expected to use before anything is known of it: one whole attempt on its own route.

    If only a fallback costs something, it counts as that.
    """
    expected = expect(spec.prompt, spec.request)
    costs = [price.of(expected.input_tokens, expected.output_tokens).usd for price in prices if price is not None]
    return Share(spec.schedule.interval, next((usd for usd in costs if usd), 0.0))


class Demand(Struct, frozen=True):
    """What all canaries use if none is slowed and nothing is retried: USD a day at most, requests a minute."""

    usd_per_day: float
    requests_per_minute: float


def demand(prices: Prices, canaries: Mapping[str, CanarySpec]) -> Demand:
    """Return what ``canaries`` ask for at full speed."""
    shares = [share_of(spec, prices[name]) for name, spec in canaries.items()]
    return Demand(
        usd_per_day=sum(share.usd * 86400 / share.interval for share in shares),
        requests_per_minute=sum(60 / share.interval for share in shares),
    )


class SpendGuard:
    """Says who may run, and keeps account. A context manager: it loads the account, and writes it as it grows.

    While the store fails, the account is kept in memory, and what the store has is added once it can be read.
    """

    def __init__(
        self,
        config: BudgetConfig,
        canaries: Mapping[str, CanarySpec],
        prices: Prices,
        *,
        clock: Clock,
        account: Account,
    ) -> None:
        self.prices = prices
        self.gap = 60.0 / config.requests_per_minute if config.requests_per_minute else 0.0
        self._config = config
        self._allowance = Allowance(config, {name: share_of(spec, prices[name]) for name, spec in canaries.items()})
        self._clock = clock
        self._account = account
        self._told: BudgetStanding | None = None
        self._slowed: float | None = None  # when canaries were last seen to be slowed, monotonic
        self._loaded = False
        self._changed: set[str] = set()  # days that the store does not have yet
        self._grown = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._load()
        except StoreFailing as error:
            _log.error("the store cannot be read, the budget begins without what was spent before: %s", error)
        self._task = asyncio.create_task(self._keep(), name="spend")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(StoreFailing, TimeoutError):
            async with asyncio.timeout(_LAST_WRITE):
                if not self._loaded:
                    await self._load()
                await self._save()

    @property
    def spent(self) -> float:
        """The USD spent on this day of UTC."""
        return self._allowance.spent(self._clock.time())

    def admit(self, canary: Canary) -> BudgetStanding | None:
        """Return how the budget stands for a turn of ``canary``; ``None`` if there is none.

        It may run if that is ``None``, ``within`` or ``exempt``; then :meth:`charge` must follow.
        """
        wall, now = self._clock.time(), self._clock.monotonic()
        standing = self._allowance.admit(canary.name, wall, now)
        self._tell(standing)
        self._tell_of_slowing(standing, wall, now)
        return standing

    def retried(self) -> None:
        """Take note of an attempt after the first of a run."""
        self._allowance.retried(self._clock.monotonic())

    def charge(self, name: str, spend: Spend) -> None:
        """Enter what a run of the canary ``name`` used; it is written soon."""
        wall = self._clock.time()
        self._allowance.charge(name, spend, wall)
        if spend.requests:
            self._changed.add(utc_day(wall))
            self._grown.set()

    def _tell(self, standing: BudgetStanding | None) -> None:
        """Log when the budget of the day is used up, and when it is not any more."""
        if standing is BudgetStanding.EXHAUSTED and self._told is not standing:
            _log.warning(
                "the budget of the day is used up: what costs money stops until midnight UTC",
                extra={"usd": round(self.spent, 6), "usd_per_day": self._config.usd_per_day},
            )
            self._told = standing
        elif standing is BudgetStanding.WITHIN and self._told is not None:
            _log.info("there is a budget again")
            self._told = None

    def _tell_of_slowing(self, standing: BudgetStanding | None, wall: float, now: float) -> None:
        """Log when canaries begin to leave out turns, and when they have not for :data:`_CALM` seconds."""
        if standing is BudgetStanding.SLOWED and self._slowed is None:
            limits = {name: limit for name, limit in self._config.model_dump().items() if limit is not None}
            _log.warning(
                "canaries are slowed, to keep within the budget: some of their turns are left out",
                extra={"limit": self._allowance.slowed_by(wall, now) or " and ".join(limits), **limits}
                | ({"usd": round(self.spent, 6)} if "usd_per_day" in limits else {}),
            )
            self._slowed = now
        elif self._slowed is None:
            return
        elif standing in _NOT_AT_FULL_PACE or self._allowance.slowed_by(wall, now) is not None:
            self._slowed = now
        elif now - self._slowed >= _CALM:
            _log.info("canaries run at their full pace again")
            self._slowed = None

    async def _keep(self) -> None:
        """Write the account whenever it has grown, at most once a second."""
        failing = False
        while True:
            await self._grown.wait()
            try:
                if not self._loaded:
                    await self._load()
                await self._save()
            except StoreFailing as error:
                if not failing:
                    _log.warning("what was spent cannot be written, and is kept in memory: %s", error)
                failing = True
                await asyncio.sleep(_RETRY)
                continue
            failing = False
            await asyncio.sleep(_PAUSE)

    async def _load(self) -> None:
        self._allowance.adopt(await self._account.load_spend())
        self._loaded = True

    async def _save(self) -> None:
        if not self._loaded or not self._changed:
            self._grown.clear()
            return
        self._grown.clear()
        days, self._changed = self._changed, set()
        try:
            await self._account.save_spend(
                {day: self._allowance.days[day] for day in days if day in self._allowance.days}
            )
        except BaseException as error:  # it goes on to who saves; what was not written is to be written again
            self._changed |= set(self._allowance.days) if isinstance(error, StoreLost) else days
            self._grown.set()
            raise
