"""Assembles the daemon: creates its components, connects them, and starts and stops them.

    telemetry ─▶ store ─▶ budget ─▶ canaries ─▶ alerting ─▶ scheduler ─▶ web server

Components start in this order and stop in reverse. Shutdown takes at most 10 s, whatever hangs: runs end or are
cancelled, pending notifications are sent or stay in the store, telemetry is exported or dropped.
"""

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TypeVar

from msgspec import Struct
from opentelemetry import metrics

from streamcanary import __version__
from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.service.heartbeat import Heartbeat, HeartbeatConfig
from streamcanary.alerting.service.service import AlertingService
from streamcanary.canary.loop_lag_report import LoopLagReport
from streamcanary.canary.preflight.diagnostics import FailureDiagnostics
from streamcanary.canary.run_slots import run_limits
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.scheduler import Scheduler
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.events import Event
from streamcanary.model import names
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock, SystemClock
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.settings import Settings
from streamcanary.store.database import Store
from streamcanary.telemetry.logs import OTLP_ATTRIBUTES
from streamcanary.telemetry.providers import SHUTDOWN_TIMEOUT, Telemetry
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.telemetry.series_limit import SERIES_PER_CANARY
from streamcanary.transport.file_descriptors import limit_warning, raise_limit
from streamcanary.transport.name_lookups import NameLookups
from streamcanary.web.api import api_routes
from streamcanary.web.authorization import Authorizer
from streamcanary.web.health import HealthCheck, health_routes
from streamcanary.web.metrics import metrics_routes
from streamcanary.web.runs import run_routes
from streamcanary.web.web_server import WebServer

_log = logging.getLogger(__name__)
T = TypeVar("T")

# Shutdown time limits, in seconds. A component that exceeds its limit is left behind, so that the store is closed in
# time whatever hangs. Telemetry has the rest of the whole time, at most 4 s. The command line ends a hanging process.
_SHUTDOWN_TIMEOUT = 8.0
_RUNS_DRAIN_TIMEOUT = 2.5
_ALERTING_DRAIN_TIMEOUT = 1.2
_STORE_CLOSE_TIMEOUT = 0.8
_WEB_STOP_TIMEOUT = 1.2
_STOP_TIMEOUT = 0.4  # of each other component
_MIN_EXPORT_TIMEOUT = 0.5
_EXECUTOR_THREADS = 64
"""For reading files and other blocking calls; with the default of a few more than the CPUs, a few that hang would keep
all others waiting. Name lookups have threads of their own."""


class DaemonCallbacks(Struct, frozen=True, kw_only=True):
    """Callbacks for observers of the daemon; none of them may block.

    ``on_event`` is called for every event of every stream, ``on_outcome`` for every run, ``on_transition`` for every
    incident that opens or resolves, and ``on_ready`` once all components have started.
    """

    on_event: Callable[[Canary, Event], None] | None = None
    on_outcome: Callable[[Outcome], None] | None = None
    on_transition: Callable[[Incident], None] | None = None
    on_ready: Callable[[], None] | None = None


async def run_daemon(
    settings: Settings, stop: asyncio.Event, *, clock: Clock | None = None, callbacks: DaemonCallbacks | None = None
) -> bool:
    """Run the daemon until ``stop`` is set; return whether all components have stopped in time.

    Raises:
        StoreUnwritable, StoreLocked, StoreTooNew: if the store cannot be used.
        SecretUnreadable: if a secret file cannot be read.
        TlsFileError: if a certificate or key file cannot be used.
        InvalidProxyUrl: if an environment variable has an invalid proxy URL.
    """
    clock, callbacks = clock or SystemClock(), callbacks or DaemonCallbacks()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_EXECUTOR_THREADS, "streamcanary"))
    async with AsyncExitStack() as stack:
        stack.enter_context(NameLookups())
        runs = RunStore()
        telemetry = Telemetry(expected_series=len(settings.canaries) * SERIES_PER_CANARY, clock=clock, runs=runs)
        telemetry.prepare(settings.telemetry)
        telemetry.apply()
        shutdown = _Shutdown(stack)
        max_runs = {name: target.max_concurrent_runs for name, target in settings.targets.items()}
        if too_many := limit_warning(sum(run_limits(settings.to_canaries(), max_runs).values()), raise_limit()):
            _log.warning("too few file descriptors", extra={"problem": too_many})
        stack.push_async_callback(shutdown.close_telemetry, telemetry)

        await shutdown.enter(LoopLagReport())
        store = Store.open(settings.store, clock)
        stack.push_async_callback(store.close, _STORE_CLOSE_TIMEOUT)

        prices = prices_by_canary(settings.budget, settings.targets, settings.canaries)
        spend_guard = await shutdown.enter(
            SpendGuard(settings.budget, settings.canaries, prices, clock=clock, store=store)
        )
        runners = await shutdown.enter(
            CanaryRunners(
                settings.targets,
                settings.canaries,
                clock=clock,
                spend_guard=spend_guard,
                on_event=callbacks.on_event,
                capture_content=settings.telemetry.content,
            )
        )
        await runners.resume(store)
        alerting = AlertingService(
            config=settings.alerts, instance=settings.instance, canaries=runners.canaries, store=store, clock=clock
        )
        alerting.on_transition = _transition_callback(callbacks)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        alerting_task = tasks.create_task(alerting.run(), name="alerting")
        stack.push_async_callback(_stop_alerting, alerting, alerting_task)

        diagnostics = await shutdown.enter(
            FailureDiagnostics(
                settings.targets, settings.canaries, clock=clock, on_diagnosis=alerting.enqueue_diagnosis
            )
        )

        def on_outcome(outcome: Outcome) -> None:
            _log_outcome(outcome)
            alerting.enqueue_outcome(outcome)
            diagnostics.observe(outcome)
            if callbacks.on_outcome is not None:
                callbacks.on_outcome(outcome)

        scheduler = Scheduler(
            list(runners.by_name.values()),
            instance=settings.instance,
            clock=clock,
            metrics=runners.metrics,
            on_outcome=on_outcome,
            guard=spend_guard,
            on_clock_step=alerting.wake,
            max_concurrent_runs=max_runs,
        )
        stack.push_async_callback(scheduler.drain, _RUNS_DRAIN_TIMEOUT)
        scheduler.start()

        authorizer = Authorizer(settings.web)
        routes = [
            *health_routes(_readiness_checks(scheduler, store)),
            *metrics_routes(telemetry.scraper, authorizer),
            *api_routes(alerting, authorizer, clock),
            *run_routes(runs, authorizer, clock),
        ]
        await shutdown.enter(WebServer(settings.web, routes), _WEB_STOP_TIMEOUT)
        if settings.heartbeat is not None:
            await shutdown.enter(_running_heartbeat(settings.heartbeat, clock, alerting))
        _record_config_load(clock, settings)
        _log.info("daemon started", extra={"canaries": len(runners.by_name), "targets": len(settings.targets)})
        if callbacks.on_ready is not None:
            callbacks.on_ready()
        await stop.wait()
        shutdown.begin()
        _log.info("daemon stopping")
    return not shutdown.has_hanging_component


class _Shutdown:
    """Limits the time that each component takes to stop, and the time of all."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._now = asyncio.get_running_loop().time
        self._began: float | None = None
        self.has_hanging_component = False

    def begin(self) -> None:
        """Start the time limit of the whole shutdown."""
        self._began = self._now()

    async def enter(self, component: AbstractAsyncContextManager[T], limit: float = _STOP_TIMEOUT) -> T:
        """Start ``component``; when the daemon stops, it has ``limit`` seconds."""
        started = await component.__aenter__()

        async def stop(
            kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            try:
                async with asyncio.timeout(limit):
                    await component.__aexit__(kind, error, traceback)
            except TimeoutError:
                self.has_hanging_component = True
                _log.warning(
                    "component did not stop in time", extra={"component": type(component).__name__, "seconds": limit}
                )

        self._stack.push_async_exit(stop)
        return started

    async def close_telemetry(self, telemetry: Telemetry) -> None:
        """Export what is pending, in the time that is left."""
        elapsed = 0.0 if self._began is None else self._now() - self._began
        await telemetry.close(min(SHUTDOWN_TIMEOUT, max(_MIN_EXPORT_TIMEOUT, _SHUTDOWN_TIMEOUT - elapsed)))


def _readiness_checks(scheduler: Scheduler, store: Store) -> dict[str, HealthCheck]:
    """Return the readiness checks. A failing provider does not make the daemon unready."""

    async def store_is_writable() -> str | None:
        return None if await store.probe() else f"{store.path} is not writable"

    return {
        "config": lambda: None,  # the daemon does not start without a valid configuration
        "scheduler": lambda: None if scheduler.is_running else "the scheduler does not run",
        "store": store_is_writable,
    }


@asynccontextmanager
async def _running_heartbeat(config: HeartbeatConfig, clock: Clock, alerting: AlertingService) -> AsyncIterator[None]:
    async with open_http_client() as http:
        task = asyncio.create_task(Heartbeat(config, http, clock, alerting.liveness_checks()).run(), name="heartbeat")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _stop_alerting(alerting: AlertingService, task: asyncio.Task[None]) -> None:
    await alerting.drain(_ALERTING_DRAIN_TIMEOUT)
    task.cancel()


def _transition_callback(callbacks: DaemonCallbacks) -> Callable[[Incident], None]:
    def report(incident: Incident) -> None:
        evidence = incident.evidence
        _log.warning(
            "alert fired" if incident.is_firing else "alert resolved",
            extra={
                "alert": incident.rule,
                "subject": incident.subject,
                "reason": incident.resolve_reason,
                "bad": evidence.bad,
                "total": evidence.total,
                "last_message": evidence.message,
                "trace_ids": list(evidence.trace_ids),
                OTLP_ATTRIBUTES: {
                    label: incident.labels[label]
                    for label in (names.CANARY, names.TARGET, names.PROVIDER_LABEL, names.SEVERITY)
                    if label in incident.labels
                },
            },
        )
        if callbacks.on_transition is not None:
            callbacks.on_transition(incident)

    return report


def _log_outcome(outcome: Outcome) -> None:
    level = logging.INFO if outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW) else logging.WARNING
    if outcome.kind is OutcomeKind.SKIPPED and (outcome.budget is not None or outcome.reason == "concurrency"):
        level = logging.DEBUG  # the spend guard and the scheduler log the reason once, not for each skipped run
    if not _log.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "canary": outcome.canary,
        "outcome": outcome.kind.value,
        "duration": round(outcome.duration, 3),
        "attempts": len(outcome.attempts),
        "trace_id": outcome.trace_id,
    }
    if outcome.fault is not None:
        fields |= {
            "fault": outcome.fault.kind.value,
            "blame": outcome.fault.blame.value,
            "error": outcome.fault.message,
        }
    elif outcome.reason is not None:
        fields["reason"] = outcome.reason
    _log.log(level, "run finished", extra=fields)


def _record_config_load(clock: Clock, settings: Settings) -> None:
    meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)

    def set_gauge(metric: names.Metric, value: float, labels: dict[str, str] | None = None) -> None:
        meter.create_gauge(metric.name, metric.unit, metric.description).set(value, labels)

    set_gauge(names.RELOAD_SUCCESS, 1)
    set_gauge(names.RELOAD_TIME, clock.time())
    set_gauge(names.BUILD_INFO, 1, {names.VERSION: __version__, names.PYTHON_VERSION: platform.python_version()})
    counts = {
        "target": len(settings.targets),
        "canary": len(settings.canaries),
        "rule": len(settings.alerts.all_rules),
        "receiver": len(settings.alerts.receivers),
    }
    for kind, count in counts.items():
        set_gauge(names.CONFIG_OBJECTS, count, {names.TYPE: kind})
