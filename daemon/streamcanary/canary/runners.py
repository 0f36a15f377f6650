"""Creates the runners of all canaries. Those of one target share a retry budget, and the client if they may.

A reload replaces only what has changed: a canary keeps its runner, with the memory of what answered it, and a target
its clients with their connections.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, Self

from openai import AsyncOpenAI

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.run import MAX_OVERTIME, CanaryRunner
from streamcanary.canary.run_redaction import RunRedactor, TargetSecrets, targets_of
from streamcanary.canary.spec import CanarySpec, FallbackSpec
from streamcanary.canary.spend.guard import Prices, SpendGuard
from streamcanary.canary.targets.openai_client import open_client
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.client.async_client import AsyncStreamClient
from streamcanary.client.drivers.request_capture import capturing_async_client
from streamcanary.client.fallbacks import Fallback, NonStreaming, Route
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.events import Event
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.metric_labels import metric_labels
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.store.errors import StoreFailing
from streamcanary.transport.connections import ConnectionMode

_log = logging.getLogger(__name__)

_RESUME_TIMEOUT = 1.0  # seconds; the start does not wait longer for a slow disk
_ANSWERED_KINDS = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})
_RUN_KINDS = frozenset(OutcomeKind) - {OutcomeKind.SKIPPED}

# Of the event loop that all canaries share: a target that floods must not delay the others. It suffices for 1,000
# events a second, after a burst of 5,000.
_MAX_LOOP_SHARE = 0.05


class RunHistory(Protocol):
    """The part of the store that has the runs of earlier processes."""

    async def last_answers(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries`` that its primary route answered, by canary.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...

    async def last_outcomes(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries``, also a skipped one, by canary.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...

    async def last_runs(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries`` that was not skipped, by canary.

        Raises:
            StoreFailing: if it cannot be read.
        """
        ...


ClientKey = tuple[str, ConnectionMode]
"""A target, and whether its requests open connections of their own."""


class _CanaryClient(AsyncStreamClient):
    """A client of an SDK client that is captured already: a copy for each canary would take several kilobytes."""

    @staticmethod
    def _capturing_client(sdk: AsyncOpenAI) -> AsyncOpenAI:
        return sdk


class _Shared(NamedTuple):
    """What canaries with the same targets and connection mode share: the client, but for its options, and secrets."""

    client: _CanaryClient
    secrets: TargetSecrets


class _Setup(NamedTuple):
    """The runners of one configuration, and what they share."""

    targets: Mapping[str, BaseTarget]
    canaries: Mapping[str, CanarySpec]
    prices: Prices
    clients: Mapping[ClientKey, AsyncOpenAI]
    retry_budgets: Mapping[str, RetryBudget]
    runners: Mapping[str, CanaryRunner]
    members: int


_NOTHING = _Setup({}, {}, {}, {}, {}, {}, 1)


class CanaryRunners:
    """The runners of all canaries, by name. A context manager: leaving it closes the connections.

    ``prepare`` and ``apply`` replace targets and canaries. A runner that is replaced finishes its run; its connections
    are closed after that.

    ``spend_guard`` records what runs use. ``on_event`` is called for every event of every run when it happens, and must
    not block. ``capture_content`` records prompts and answers on spans; ``None``: as the standard variable says.
    ``members`` is the number of daemons in the fleet that runs the canaries. With ``has_reduced_series``, canaries have
    no metric series before the first event, and rate limits have series by target.
    """

    def __init__(
        self,
        targets: Mapping[str, BaseTarget],
        canaries: Mapping[str, CanarySpec],
        *,
        clock: Clock,
        spend_guard: SpendGuard | None = None,
        on_event: Callable[[Canary, Event], None] | None = None,
        capture_content: bool | None = None,
        members: int = 1,
        has_reduced_series: bool = False,
    ) -> None:
        self._clock = clock
        self._spend_guard = spend_guard
        self._on_event = on_event
        self._capture_content = capture_content
        self.metrics = CanaryMetrics(clock, has_reduced_series=has_reduced_series)
        self._setup = _NOTHING
        self._closing: set[asyncio.Task[None]] = set()
        self.prepare(targets, canaries, spend_guard.prices if spend_guard else {}, members=members)
        self.apply()

    @property
    def by_name(self) -> Mapping[str, CanaryRunner]:
        """The runners by name of the canary."""
        return self._setup.runners

    @property
    def prepared(self) -> Mapping[str, CanaryRunner]:
        """The runners of the last :meth:`prepare`."""
        return self._prepared.runners

    @property
    def canaries(self) -> tuple[Canary, ...]:
        """The canaries as values for the other packages."""
        return tuple(run.canary for run in self.by_name.values())

    async def resume(self, store: RunHistory, names: Collection[str] | None = None) -> dict[str, float]:
        """Continue after the runs in ``store`` of all canaries, or of those of ``names``.

        Return when the last run of each canary that has one was due, in seconds since the epoch, also if it was
        skipped.

        A model that changed while the daemon was stopped is noticed, and the times of the last run and of the last
        success are kept: a canary that failed last and is next due in hours is still failing. A store that fails, or
        takes over a second, is logged; then the first answers are compared with nothing.
        """
        former_names = {
            canary.name: canary.renamed_from for canary in self.canaries if names is None or canary.name in names
        }
        try:
            async with asyncio.timeout(_RESUME_TIMEOUT):
                stored_names = [*filter(None, (*former_names, *former_names.values()))]
                last = await store.last_outcomes(stored_names)
                answers = await _with_earlier(last, stored_names, _ANSWERED_KINDS, store.last_answers)
                last_runs = await _with_earlier(last, stored_names, _RUN_KINDS, store.last_runs)
        except (StoreFailing, TimeoutError) as error:
            _log.warning("last answers not loaded", extra={"error": str(error) or "the store takes too long"})
            return {}
        due: dict[str, float] = {}
        for name, former in former_names.items():
            if outcome := last.get(name) or last.get(former or ""):
                due[name] = outcome.scheduled
            if (run := self.by_name.get(name)) is None:  # a reload has removed it
                continue
            answered = answers.get(name) or answers.get(former or "")
            if answered is not None:
                run.resume(answered)
                self.metrics.restore_last_success(run.canary, answered)
            last_run = last_runs.get(name) or last_runs.get(former or "")
            if last_run is not None:
                self.metrics.restore_last_run(run.canary, last_run)
        return due

    def prepare(
        self, targets: Mapping[str, BaseTarget], canaries: Mapping[str, CanarySpec], prices: Prices, *, members: int = 1
    ) -> None:
        """Create the clients and runners that differ from the current ones; they take effect at :meth:`apply`.

        May be called in another thread: it reads certificate files.

        Raises:
            TlsFileError: if a certificate or key file cannot be used.
            InvalidProxyUrl: if an environment variable has an invalid proxy URL.
        """
        before = self._setup
        used = {(target, spec.connection) for spec in canaries.values() for target in targets_of(spec)}
        used_targets = {name: target for name, target in targets.items() if any(name == other for other, _ in used)}
        clients = {
            (name, connection): before.clients.get((name, connection))
            if before.targets.get(name) == used_targets[name]
            else None
            for name, connection in sorted(used)
        }
        setup = _Setup(
            targets=used_targets,
            canaries=canaries,
            prices=prices,
            clients={
                (name, connection): client or capturing_async_client(open_client(used_targets[name], connection))
                for (name, connection), client in clients.items()
            },
            retry_budgets={name: before.retry_budgets.get(name) or RetryBudget() for name in used_targets},
            runners={},
            members=members,
        )
        shared: dict[tuple[tuple[str, ...], ConnectionMode], _Shared] = {}
        runners = {
            name: self._reused_runner(name, setup) or self._make_runner(name, spec, setup, shared)
            for name, spec in canaries.items()
        }
        self._prepared = setup._replace(runners=runners)

    def apply(self) -> None:
        """Apply what the last :meth:`prepare` has prepared."""
        before, self._setup = self._setup, self._prepared
        self.metrics.retain(self._setup.runners)
        kept = set(map(id, self._setup.clients.values()))
        if unused := [client for client in before.clients.values() if id(client) not in kept]:
            longest = max((spec.timeouts.total for spec in before.canaries.values()), default=0.0)
            task = asyncio.create_task(_close_later(unused, longest + 2 * MAX_OVERTIME), name="unused connections")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for client in self._setup.clients.values():
            await client.close()

    def _reused_runner(self, name: str, setup: _Setup) -> CanaryRunner | None:
        """Return the current runner of the canary ``name``, unless anything that it depends on differs in ``setup``."""
        before, spec = self._setup, setup.canaries[name]
        if before.members != setup.members:
            return None
        if before.canaries.get(name) != spec or before.prices.get(name) != setup.prices.get(name):
            return None
        if any(before.targets.get(target) != setup.targets[target] for target in targets_of(spec)):
            return None
        return before.runners[name]

    def _make_runner(
        self,
        name: str,
        spec: CanarySpec,
        setup: _Setup,
        shared: dict[tuple[tuple[str, ...], ConnectionMode], _Shared],
    ) -> CanaryRunner:
        spec = spec.with_requested_models(setup.targets)
        target = setup.targets[spec.target]
        canary = spec.to_canary(name, target, members=setup.members)
        key = targets_of(spec), spec.connection
        if key not in shared:
            shared[key] = self._share(spec, setup)
        redactor = RunRedactor(name, spec, setup.targets, shared[key].secrets)
        client = shared[key].client.with_options(
            retry=spec.retry,
            limits=spec.limits,
            timeouts=spec.timeouts,
            fallbacks=[_make_fallback(fallback, spec.connection, setup.clients) for fallback in spec.fallbacks],
            labels=metric_labels(canary),
            lenient=target.finish_reason == "lenient",
        )
        return CanaryRunner(
            canary,
            spec,
            client,
            clock=self._clock,
            metrics=self.metrics,
            prices=setup.prices.get(name, ()),
            spend_recorder=self._spend_guard,
            on_event=self._on_event,
            redactor=redactor,
            former=self._setup.runners.get(name) if _asks_the_same(name, self._setup, setup) else None,
        )

    def _share(self, spec: CanarySpec, setup: _Setup) -> _Shared:
        """Return what ``spec`` shares with all canaries of the same targets and connection mode."""
        secrets = TargetSecrets(*(setup.targets[target] for target in targets_of(spec)))
        client = _CanaryClient(
            setup.clients[spec.target, spec.connection],
            budget=setup.retry_budgets[spec.target],
            provider=setup.targets[spec.target].provider,
            secrets=secrets,
            breaker=None,  # canaries detect that a route has recovered, so they bypass the circuit breaker
            clock=self._clock,
            max_loop_share=_MAX_LOOP_SHARE,
            capture_content=self._capture_content,
            max_response_models=0,  # streamcanary.model.info has what answered, in one series a canary
        )
        return _Shared(client, secrets)


def _make_fallback(
    spec: FallbackSpec, connection: ConnectionMode, clients: Mapping[ClientKey, AsyncOpenAI]
) -> Fallback:
    if spec.non_streaming:
        return NonStreaming()
    client = clients[spec.target, connection] if spec.target else None
    return Route(model=spec.model, client=client, name=f"{spec.model}@{spec.target}" if spec.target else spec.model)


def _asks_the_same(name: str, before: _Setup, after: _Setup) -> bool:
    """Return whether a canary has the same model at the same endpoint as before, so that a change of it is one."""
    former, spec = before.canaries.get(name), after.canaries[name]
    return (
        former is not None
        and former.model == spec.model
        and before.targets[former.target].base_url == after.targets[spec.target].base_url
    )


async def _with_earlier(
    last: Mapping[str, Outcome],
    canaries: Sequence[str],
    kinds: Collection[OutcomeKind],
    read: Callable[[Sequence[str]], Awaitable[dict[str, Outcome]]],
) -> dict[str, Outcome]:
    """Return the last run of ``kinds`` of each canary: its ``last`` one, which most have, or one to ``read``."""
    found = {name: outcome for name, outcome in last.items() if outcome.kind in kinds}
    others = [name for name in canaries if name not in found]
    return {**found, **await read(others)} if others else found


async def _close_later(clients: Sequence[AsyncOpenAI], seconds: float) -> None:
    """Close ``clients`` after ``seconds``, when the last run with them has ended, or when cancelled."""
    try:
        await asyncio.sleep(seconds)
    finally:
        for client in clients:
            await client.close()
