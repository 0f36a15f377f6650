"""Assembles the daemon: creates its components, connects them, and starts and stops them.

    telemetry ─▶ store ─▶ budget ─▶ canaries ─▶ alerting ─▶ scheduler ─▶ web server ─▶ reload

Components start in this order and stop in reverse. A reload gives them other parts of the configuration: ``prepare``
does what can fail, ``apply`` or ``configure`` takes effect. Shutdown takes at most 10 s, whatever hangs: runs end or
are cancelled, pending notifications are sent or stay in the store, telemetry is exported or dropped.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import TypeVar

from msgspec import Struct

from streamcanary.alerting.service.heartbeat import HeartbeatTask
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
from streamcanary.reload.metrics import ConfigMetrics
from streamcanary.reload.reloader import Reloader, ReloadSource
from streamcanary.settings import Settings
from streamcanary.store.database import Store
from streamcanary.telemetry.logs import OTLP_ATTRIBUTES
from streamcanary.telemetry.providers import SHUTDOWN_TIMEOUT, Telemetry
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.telemetry.series_limit import expected_series
from streamcanary.transport.file_descriptors import limit_warning, raise_limit
from streamcanary.transport.name_lookups import NameLookups
from streamcanary.web.api import api_routes
from streamcanary.web.authorization import Authorizer
from streamcanary.web.health import HealthCheck, health_routes
from streamcanary.web.liveness_file import LivenessFile
from streamcanary.web.metrics import metrics_routes
from streamcanary.web.reload import reload_routes
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
    incident that opens or resolves, ``on_ready`` once all components have started, ``on_reload`` with other settings
    just before a reload applies them, and ``on_reloaded`` after that.
    """

    on_event: Callable[[Canary, Event], None] | None = None
    on_outcome: Callable[[Outcome], None] | None = None
    on_transition: Callable[[Incident], None] | None = None
    on_ready: Callable[[], None] | None = None
    on_reload: Callable[[Settings], None] | None = None
    on_reloaded: Callable[[], None] | None = None


async def run_daemon(
    settings: Settings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    callbacks: DaemonCallbacks | None = None,
    source: ReloadSource | None = None,
) -> bool:
    """Run the daemon until ``stop`` is set; return whether all components have stopped in time.

    The settings can be reloaded from ``source``; without it they stay.

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
        expected = expected_series(len(settings.canaries), can_reload=source is not None)
        telemetry = Telemetry(expected_series=expected, clock=clock, runs=runs)
        telemetry.prepare(settings.telemetry)
        telemetry.apply()
        shutdown = _Shutdown(stack)
        _check_file_descriptors(settings)
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
                members=settings.replicas,
            )
        )
        await runners.resume(store)
        alerting = AlertingService(
            config=settings.alerts,
            instance=settings.member_instance,
            canaries=runners.canaries,
            store=store,
            clock=clock,
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
            instance=settings.member_instance,
            clock=clock,
            metrics=runners.metrics,
            on_outcome=on_outcome,
            guard=spend_guard,
            on_clock_step=alerting.wake,
            max_concurrent_runs=_max_concurrent_runs(settings),
            starts_at_phase=settings.replicas > 1,
        )
        stack.push_async_callback(scheduler.drain, _RUNS_DRAIN_TIMEOUT)
        scheduler.start()

        authorizer = Authorizer(settings.web)
        heartbeat = await shutdown.enter(HeartbeatTask(settings.heartbeat, clock, alerting.liveness_checks()))
        reloader = None
        if source is not None:
            parts = _Parts(
                settings,
                telemetry=telemetry,
                spend_guard=spend_guard,
                runners=runners,
                alerting=alerting,
                diagnostics=diagnostics,
                scheduler=scheduler,
                authorizer=authorizer,
                heartbeat=heartbeat,
                on_reload=callbacks.on_reload,
            )
            reloader = Reloader(
                source,
                settings,
                parts,
                clock=clock,
                on_result=alerting.report_config,
                on_applied=callbacks.on_reloaded or (lambda: None),
            )
        else:
            ConfigMetrics(settings, clock.time())
        routes = [
            *health_routes(_readiness_checks(scheduler, store)),
            *metrics_routes(telemetry.scraper, authorizer),
            *api_routes(alerting, authorizer, clock),
            *run_routes(runs, authorizer, clock),
            *reload_routes(reloader, authorizer),
        ]
        await shutdown.enter(LivenessFile(settings.web.liveness_file))
        await shutdown.enter(WebServer(settings.web, routes, retry=settings.fleet is None), _WEB_STOP_TIMEOUT)
        if reloader is not None:
            await shutdown.enter(reloader)
        _log.info("daemon started", extra={"canaries": len(runners.by_name), "targets": len(settings.targets)})
        if callbacks.on_ready is not None:
            callbacks.on_ready()
        await stop.wait()
        shutdown.begin()
        _log.info("daemon stopping")
    return not shutdown.has_hanging_component


class _Parts:
    """The components that a reload gives other parts of the configuration."""

    def __init__(
        self,
        settings: Settings,
        *,
        telemetry: Telemetry,
        spend_guard: SpendGuard,
        runners: CanaryRunners,
        alerting: AlertingService,
        diagnostics: FailureDiagnostics,
        scheduler: Scheduler,
        authorizer: Authorizer,
        heartbeat: HeartbeatTask,
        on_reload: Callable[[Settings], None] | None,
    ) -> None:
        self._current = self._prepared = settings
        self._telemetry = telemetry
        self._spend_guard = spend_guard
        self._runners = runners
        self._alerting = alerting
        self._diagnostics = diagnostics
        self._scheduler = scheduler
        self._authorizer = authorizer
        self._heartbeat = heartbeat
        self._on_reload = on_reload

    def prepare(self, settings: Settings) -> None:
        """Do all that can fail, without effect."""
        prices = prices_by_canary(settings.budget, settings.targets, settings.canaries)
        self._spend_guard.prepare(settings.budget, settings.canaries, prices)
        self._runners.prepare(settings.targets, settings.canaries, prices, members=settings.replicas)
        runners = self._runners.prepared.values()
        self._scheduler.prepare(
            runners,
            instance=settings.member_instance,
            max_concurrent_runs=_max_concurrent_runs(settings),
            starts_at_phase=settings.replicas > 1,
        )
        self._alerting.prepare(settings.alerts, settings.member_instance, [runner.canary for runner in runners])
        if settings.telemetry != self._current.telemetry:
            self._telemetry.prepare(settings.telemetry)
        self._prepared = settings

    def apply(self) -> None:
        """Apply what was prepared. The budget and alerting know a canary before it runs."""
        before, settings = self._current, self._prepared
        self._current = settings
        if self._on_reload is not None:
            self._on_reload(settings)
        if settings.telemetry != before.telemetry:
            self._telemetry.apply()
        self._spend_guard.apply()
        self._runners.apply()
        self._alerting.apply()
        self._diagnostics.configure(settings.targets, settings.canaries)
        self._scheduler.apply()
        self._authorizer.configure(settings.web)
        self._heartbeat.configure(settings.heartbeat)
        self._telemetry.show_canaries(self._runners.canaries)
        _check_file_descriptors(settings)


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


def _max_concurrent_runs(settings: Settings) -> dict[str, int | None]:
    return {name: target.max_concurrent_runs for name, target in settings.targets.items()}


def _check_file_descriptors(settings: Settings) -> None:
    """Log a warning if the canaries may need more file descriptors than the process can have."""
    limits = run_limits(settings.to_canaries(), _max_concurrent_runs(settings))
    if too_many := limit_warning(sum(limits.values()), raise_limit()):
        _log.warning("too few file descriptors", extra={"problem": too_many})


def _readiness_checks(scheduler: Scheduler, store: Store) -> dict[str, HealthCheck]:
    """Return the readiness checks. A failing provider does not make the daemon unready."""

    async def store_is_writable() -> str | None:
        return None if await store.probe() else f"{store.path} is not writable"

    return {
        "config": lambda: None,  # the daemon does not start without a valid configuration
        "scheduler": lambda: None if scheduler.is_running else "the scheduler does not run",
        "store": store_is_writable,
    }


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
                    for label in (names.CANARY, names.SCOPE, names.TARGET, names.PROVIDER_LABEL, names.SEVERITY)
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
