"""The spend guard: enforces the budget of all canaries of a daemon, or of all replicas that share a database."""

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Self

from msgspec import Struct

from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend.budget import BudgetConfig, BudgetLimiter, ExpectedCost, budget_days, utc_day
from streamcanary.canary.spend.prices import Price
from streamcanary.canary.spend.saved_spend import SavedSpend, SpendStore
from streamcanary.canary.spend.shared_spend import SharedSpend
from streamcanary.canary.spend.usage import estimate_tokens
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.outcome import BudgetState
from streamcanary.model.spend import Spend

_log = logging.getLogger(__name__)

_SLOWED_STATES: Final = (BudgetState.SLOWED, BudgetState.EXHAUSTED)
_SLOWDOWN_COOLDOWN: Final = (
    600.0  # seconds without slowdown after which it is logged as over; shorter gaps are not logged
)

Prices = Mapping[str, tuple[Price | None, ...]]
"""The prices of the primary route and the fallbacks, in this order, by canary."""


def prices_by_canary(
    budget: BudgetConfig, targets: Mapping[str, BaseTarget], canaries: Mapping[str, CanarySpec]
) -> Prices:
    """Return the prices of all routes by canary.

    List prices are looked up only for a budget in USD: their table stays in memory and takes some megabytes.
    """
    needs_list_prices = budget.usd_per_day is not None
    return {
        name: tuple(
            targets[target].price_of(model) if needs_list_prices or targets[target].price != "auto" else None
            for _, target, model in billable_routes(spec)
        )
        for name, spec in canaries.items()
    }


def billable_routes(spec: CanarySpec) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Yield the routes of a canary's request: the path of the model's key in the canary, the target, the model."""
    yield ("model",), spec.target, spec.model
    for number, fallback in enumerate(spec.fallbacks):
        if fallback.model is None:
            yield ("model",), spec.target, spec.model
        else:
            yield ("fallbacks", number, "model"), fallback.target or spec.target, fallback.model


def budget_config_errors(
    budget: BudgetConfig, targets: Mapping[str, BaseTarget], canaries: Mapping[str, CanarySpec], *, replicas: int = 1
) -> Iterator[ConfigIssue]:
    """Yield the config errors of ``budget``: unknown prices, and a daily budget below the cost of one run.

    ``budget`` is that of one of ``replicas`` members of a fleet.
    """
    if budget.usd_per_day is None:
        return
    max_usd, max_usd_canary, costs = 0.0, "", []
    for name, spec in canaries.items():
        reported_paths = set()
        for path, target, model in billable_routes(spec):
            if targets[target].price_of(model) is None and path not in reported_paths:
                reported_paths.add(path)
                message = (
                    f"has no known price, which budget.usd_per_day requires; set targets.{target}.price to USD per "
                    "million tokens such as {input: 0.15, output: 0.60}, or to free"
                )
                yield ConfigIssue(("canaries", name, *path), message, conflicts_with=("budget", "usd_per_day"))
        prices = [targets[target].price_of(model) for _, target, model in billable_routes(spec)]
        costs.append(expected := expected_cost(spec, prices))
        if expected.usd > max_usd:
            max_usd, max_usd_canary = expected.usd, name
    if max_usd > budget.usd_per_day * budget_days(budget, costs):
        divided = f"divided by the {replicas} members of fleet, " if replicas > 1 else ""
        message = (
            f"{divided}is less than the cost of one run of canary {max_usd_canary} (up to {max_usd:.2g} USD); raise it"
        )
        yield ConfigIssue(("budget", "usd_per_day"), message)


def expected_cost(spec: CanarySpec, prices: list[Price | None] | tuple[Price | None, ...]) -> ExpectedCost:
    """Return the expected cost of a canary before its first run: one complete attempt on the primary route.

    If the primary route is free, the first fallback that costs something counts instead.
    """
    estimate = estimate_tokens(spec.prompt, spec.request)
    costs = [
        price.spend_for(estimate.input_tokens, estimate.output_tokens).usd for price in prices if price is not None
    ]
    return ExpectedCost(spec.schedule.interval, next((usd for usd in costs if usd), 0.0))


class ExpectedSpend(Struct, frozen=True):
    """The spend of all canaries without slowdown and retries: maximum USD per day, and requests per minute."""

    usd_per_day: float
    requests_per_minute: float


def expected_spend(prices: Prices, canaries: Mapping[str, CanarySpec]) -> ExpectedSpend:
    """Return the expected spend of ``canaries`` without slowdown."""
    costs = [expected_cost(spec, prices[name]) for name, spec in canaries.items()]
    return ExpectedSpend(
        usd_per_day=sum(cost.usd * 86400 / cost.interval for cost in costs),
        requests_per_minute=sum(60 / cost.interval for cost in costs),
    )


class _Books(Struct, frozen=True):
    """A budget, its canaries, and what their runs cost."""

    config: BudgetConfig
    canaries: Mapping[str, CanarySpec]
    prices: Prices
    expected_costs: Mapping[str, ExpectedCost]


class SpendGuard:
    """Admits runs and records their spend. A context manager: it loads the spend, and follows or saves it.

    ``prepare`` and ``apply`` replace the budget and the canaries; what was spent is kept. The spend is in ``store``, or
    with other replicas in ``shared``: then ``usd_per_day`` is for all of them together.
    """

    def __init__(
        self,
        config: BudgetConfig,
        canaries: Mapping[str, CanarySpec],
        prices: Prices,
        *,
        clock: Clock,
        store: SpendStore | None = None,
        shared: SharedSpend | None = None,
    ) -> None:
        self.prepare(config, canaries, prices)
        self._books = self._prepared
        self._limiter = BudgetLimiter(config, self._books.expected_costs)
        self._clock = clock
        self._saved = None if store is None else SavedSpend(store, self._limiter)
        self._shared = shared
        if shared is not None:
            shared.bind(self._limiter)
        self._logged_state: BudgetState | None = None
        self._last_slowed: float | None = None  # when canaries were last slowed down, in monotonic seconds

    async def __aenter__(self) -> Self:
        if self._saved is not None:
            await self._saved.__aenter__()
        if self._shared is not None:
            await self._shared.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._saved is not None:
            await self._saved.__aexit__(*exc)
        if self._shared is not None:
            await self._shared.__aexit__(*exc)

    def prepare(self, config: BudgetConfig, canaries: Mapping[str, CanarySpec], prices: Prices) -> None:
        """Prepare another budget and other canaries; they take effect at :meth:`apply`."""
        costs = {name: expected_cost(spec, prices[name]) for name, spec in canaries.items()}
        self._prepared = _Books(config, canaries, prices, costs)

    def apply(self) -> None:
        """Apply what the last :meth:`prepare` has prepared."""
        before, self._books = self._books, self._prepared
        known = self._limiter.expected_costs
        costs = {
            name: known[name]
            if (before.canaries.get(name), before.prices.get(name)) == (spec, self._books.prices[name])
            else self._books.expected_costs[name]
            for name, spec in self._books.canaries.items()
        }
        self._limiter.configure(self._books.config, costs)

    def set_owned(self, canaries: Collection[str]) -> None:
        """Let ``requests_per_minute`` apply to these canaries: they have their part of it. At first, they are all."""
        self._limiter.set_owned(canaries)

    @property
    def prices(self) -> Prices:
        """The prices of the routes of each canary."""
        return self._books.prices

    @property
    def min_start_gap(self) -> float:
        """The least seconds between the first runs of two canaries."""
        limit = self._config.requests_per_minute
        return 60.0 / limit if limit else 0.0

    @property
    def _config(self) -> BudgetConfig:
        return self._books.config

    @property
    def usd_spent_today(self) -> float:
        """The USD spent on the current UTC day."""
        return self._limiter.usd_spent(self._clock.time())

    @property
    def _usd_spent(self) -> dict[str, float]:
        """What was spent of the budget, for the log; with the days for which it is, if these are several."""
        usd = {"usd": round(self._limiter.usd_spent_in_period(self._clock.time()), 6)}
        return usd if self._limiter.days == 1 else {**usd, "days": self._limiter.days}

    def admit(self, canary: Canary) -> BudgetState | None:
        """Return the budget state for a scheduled run of ``canary``; ``None`` without a budget.

        The run may be made if the state is ``None``, ``within`` or ``exempt``; the caller then calls
        :meth:`record_spend` after it.
        """
        wall, now = self._clock.time(), self._clock.monotonic()
        state = self._limiter.admit(canary.name, wall, now)
        self._log_exhaustion(state)
        self._log_slowdown(state, wall, now)
        return state

    def record_retry(self) -> None:
        """Record an attempt after the first of a run."""
        self._limiter.record_retry(self._clock.monotonic())

    def record_spend(self, name: str, spend: Spend) -> None:
        """Record what a run of the canary ``name`` used; it is saved within about a second."""
        wall = self._clock.time()
        self._limiter.record_spend(name, spend, wall)
        if spend.requests and self._saved is not None:
            self._saved.mark_changed(utc_day(wall))

    def _log_exhaustion(self, state: BudgetState | None) -> None:
        """Log when the daily budget is exhausted, and when there is a new one."""
        if state is BudgetState.EXHAUSTED and self._logged_state is not state:
            _log.warning(
                "budget exhausted",
                extra={**self._usd_spent, "usd_per_day": self._config.usd_per_day},
            )
            self._logged_state = state
        elif state is BudgetState.WITHIN and self._logged_state is not None:
            _log.info("budget available again")
            self._logged_state = None

    def _log_slowdown(self, state: BudgetState | None, wall: float, now: float) -> None:
        """Log when the budget begins to slow canaries down, and :data:`_SLOWDOWN_COOLDOWN` seconds after it stopped."""
        if state is BudgetState.SLOWED and self._last_slowed is None:
            limits = {name: limit for name, limit in self._config.model_dump().items() if limit is not None}
            _log.warning(
                "canaries slowed down by budget",
                extra={"limit": self._limiter.slowing_limit(wall, now) or " and ".join(limits), **limits}
                | (self._usd_spent if "usd_per_day" in limits else {}),
            )
            self._last_slowed = now
        elif self._last_slowed is None:
            return
        elif state in _SLOWED_STATES or self._limiter.slowing_limit(wall, now) is not None:
            self._last_slowed = now
        elif now - self._last_slowed >= _SLOWDOWN_COOLDOWN:
            _log.info("canaries at full rate again")
            self._last_slowed = None
