"""Creates the runners of all canaries. Those of one target share a retry budget, and the client if they may."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

from openai import AsyncOpenAI

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.openai_client import open_client
from streamcanary.canary.run import CanaryRunner
from streamcanary.canary.run_redaction import RunRedactor, targets_of
from streamcanary.canary.spec import CanarySpec, FallbackSpec
from streamcanary.canary.spend.guard import SpendGuard
from streamcanary.canary.target import TargetSpec
from streamcanary.client.async_client import AsyncStreamClient
from streamcanary.client.fallbacks import Fallback, NonStreaming, Route
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.events import Event
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.metric_labels import metric_labels
from streamcanary.model.outcome import Outcome
from streamcanary.store.errors import StoreFailing
from streamcanary.transport.connections import ConnectionMode

_log = logging.getLogger(__name__)

_RESUME_TIMEOUT = 1.0  # seconds; the start does not wait longer for a slow disk

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


class CanaryRunners:
    """The runners of all canaries, by name. A context manager: leaving it closes the connections.

    ``spend_guard`` records what runs use. ``on_event`` is called for every event of every run when it happens, and must
    not block. ``capture_content`` records prompts and answers on spans; ``None``: as the standard variable says.
    """

    def __init__(
        self,
        targets: Mapping[str, TargetSpec],
        canaries: Mapping[str, CanarySpec],
        *,
        clock: Clock,
        spend_guard: SpendGuard | None = None,
        on_event: Callable[[Canary, Event], None] | None = None,
        capture_content: bool | None = None,
    ) -> None:
        used = {(target, spec.connection) for spec in canaries.values() for target in targets_of(spec)}
        self._targets = {name: target for name, target in targets.items() if any(name == other for other, _ in used)}
        self._clients = {
            (name, connection): open_client(self._targets[name], connection) for name, connection in sorted(used)
        }
        self._retry_budgets = {name: RetryBudget() for name in self._targets}
        self._clock = clock
        self._spend_guard = spend_guard
        self._on_event = on_event
        self._capture_content = capture_content
        self.metrics = CanaryMetrics(clock)
        self.by_name = {name: self._make_runner(name, spec) for name, spec in canaries.items()}

    @property
    def canaries(self) -> tuple[Canary, ...]:
        """The canaries as values for the other packages."""
        return tuple(run.canary for run in self.by_name.values())

    async def resume(self, store: RunHistory) -> None:
        """Continue after the runs in ``store``.

        A model that changed while the daemon was stopped is noticed, and the time of the last success is kept. A store
        that fails, or takes over a second, is logged; then the first answers are compared with nothing.
        """
        former_names = {canary.name: canary.renamed_from for canary in self.canaries}
        try:
            async with asyncio.timeout(_RESUME_TIMEOUT):
                answers = await store.last_answers([*filter(None, (*former_names, *former_names.values()))])
        except (StoreFailing, TimeoutError) as error:
            _log.warning("last answers not loaded", extra={"error": str(error) or "the store takes too long"})
            return
        for name, run in self.by_name.items():
            answered = answers.get(name) or answers.get(former_names[name] or "")
            if answered is not None:
                run.resume(answered)
                self.metrics.restore_last_success(run.canary, answered)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in self._clients.values():
            await client.close()

    def _make_runner(self, name: str, spec: CanarySpec) -> CanaryRunner:
        target = self._targets[spec.target]
        canary = spec.to_canary(name, target)
        redactor = RunRedactor(name, spec, self._targets)
        client = AsyncStreamClient(
            self._clients[spec.target, spec.connection],
            retry=spec.retry,
            limits=spec.limits,
            timeouts=spec.timeouts,
            fallbacks=[self._make_fallback(fallback, spec.connection) for fallback in spec.fallbacks],
            budget=self._retry_budgets[spec.target],
            provider=target.provider,
            labels=metric_labels(canary),
            lenient=target.finish_reason == "lenient",
            secrets=redactor.secrets,
            breaker=None,  # canaries detect that a route has recovered, so they bypass the circuit breaker
            clock=self._clock,
            max_loop_share=_MAX_LOOP_SHARE,
            capture_content=self._capture_content,
            max_response_models=0,  # streamcanary.model.info has what answered, in one series a canary
        )
        return CanaryRunner(
            canary,
            spec,
            client,
            clock=self._clock,
            metrics=self.metrics,
            prices=self._spend_guard.prices[name] if self._spend_guard else (),
            spend_recorder=self._spend_guard,
            on_event=self._on_event,
            redactor=redactor,
        )

    def _make_fallback(self, spec: FallbackSpec, connection: ConnectionMode) -> Fallback:
        if spec.non_streaming:
            return NonStreaming()
        client: AsyncOpenAI | None = self._clients[spec.target, connection] if spec.target else None
        return Route(model=spec.model, client=client, name=f"{spec.model}@{spec.target}" if spec.target else spec.model)
