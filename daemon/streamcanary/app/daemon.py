"""Assembles the daemon: creates its components, connects them, and starts and stops them.

    telemetry ─▶ store ─▶ budget ─▶ canaries ─▶ alerting ─▶ scheduler ─▶ web server ─▶ reload ─▶ leases

Components start in this order and stop in reverse. A reload gives them other parts of the configuration: ``prepare``
does what can fail, ``apply`` or ``configure`` takes effect. Leases are those of replicas that share the store: work
begins with them, and a replica that stops hands them over first. Shutdown takes at most 10 s, whatever hangs: runs end
or are cancelled, pending notifications are sent or stay in the store, telemetry is exported or dropped.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from streamcanary.alerting.service.heartbeat import HeartbeatTask
from streamcanary.alerting.service.service import AlertingService
from streamcanary.app.callbacks import DaemonCallbacks, RunningDaemon
from streamcanary.app.event_logs import log_outcome, transition_callback
from streamcanary.app.reloadable_parts import ReloadableParts, check_file_descriptors, max_concurrent_runs
from streamcanary.app.shutdown import (
    ALERTING_DRAIN_TIMEOUT,
    HAND_OVER_TIMEOUT,
    RUNS_DRAIN_TIMEOUT,
    STORE_CLOSE_TIMEOUT,
    WEB_STOP_TIMEOUT,
    Shutdown,
)
from streamcanary.app.web_routes import readiness_checks
from streamcanary.canary.loop_lag_report import LoopLagReport
from streamcanary.canary.owned_canaries import OwnedCanaries
from streamcanary.canary.preflight.diagnostics import FailureDiagnostics
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.scheduler import Scheduler
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock, SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.reload.metrics import ConfigMetrics
from streamcanary.reload.reloader import Reloader, ReloadSource
from streamcanary.settings import Settings
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store
from streamcanary.telemetry.providers import Telemetry
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.telemetry.series_limit import expected_series
from streamcanary.transport.name_lookups import NameLookups
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.event_feed import EventSource
from streamcanary.web.api.events import EventHub
from streamcanary.web.api.table import ApiSources, api_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.health import health_routes
from streamcanary.web.liveness_file import LivenessFile
from streamcanary.web.metrics import metrics_routes
from streamcanary.web.page.live_parts import LiveParts
from streamcanary.web.page.page import page_routes
from streamcanary.web.page.sources import PageSources
from streamcanary.web.web_server import WebServer

if TYPE_CHECKING:
    from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
    from streamcanary.app.replication import Replication

_log = logging.getLogger(__name__)

_EXECUTOR_THREADS = 64
"""For reading files and other blocking calls; with the default of a few more than the CPUs, a few that hang would keep
all others waiting. Name lookups have threads of their own."""


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
        telemetry = Telemetry(
            region=settings.region,
            expected_series=expected,
            has_reduced_series=settings.has_reduced_series,
            clock=clock,
            runs=runs,
        )
        telemetry.prepare(settings.telemetry)
        telemetry.apply()
        shutdown = Shutdown(stack)
        check_file_descriptors(settings)
        stack.push_async_callback(shutdown.close_telemetry, telemetry)

        await shutdown.enter(LoopLagReport())
        store = open_store(settings.store, clock)
        stack.push_async_callback(store.close, STORE_CLOSE_TIMEOUT)
        replication = _create_replication(settings, store, clock)

        prices = prices_by_canary(settings.budget, settings.targets, settings.canaries)
        spend_guard = await shutdown.enter(
            SpendGuard(
                settings.budget,
                settings.canaries,
                prices,
                clock=clock,
                store=store if replication is None else None,
                shared=None if replication is None else replication.spend,
            )
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
                has_reduced_series=settings.has_reduced_series,
            )
        )
        if replication is None:
            await runners.resume(store)
        statuses = await shutdown.enter(
            CanaryStatuses(runners.canaries, instance=settings.member_instance, clock=clock)
        )
        alerting, record = _create_alerting(settings, runners.canaries, store, replication, clock)
        alerting.on_transition = transition_callback(callbacks)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        alerting_task = tasks.create_task(alerting.run(), name="alerting")
        stack.push_async_callback(_stop_alerting, alerting, alerting_task)

        diagnostics = await shutdown.enter(
            FailureDiagnostics(
                settings.targets, settings.canaries, clock=clock, on_diagnosis=alerting.enqueue_diagnosis
            )
        )

        def on_outcome(outcome: Outcome) -> None:
            log_outcome(outcome)
            recorded = record(outcome)
            if recorded is None:
                return
            diagnostics.observe(recorded)
            statuses.observe(recorded)
            if callbacks.on_outcome is not None:
                callbacks.on_outcome(recorded)

        scheduler = Scheduler(
            list(runners.by_name.values()) if replication is None else [],
            instance=settings.member_instance,
            clock=clock,
            metrics=runners.metrics,
            on_outcome=on_outcome,
            guard=spend_guard,
            on_clock_step=alerting.wake,
            max_concurrent_runs=max_concurrent_runs(settings),
            starts_at_phase=settings.replicas > 1 or replication is not None,
        )
        stack.push_async_callback(scheduler.drain, RUNS_DRAIN_TIMEOUT)
        scheduler.start()
        schedule: Scheduler | OwnedCanaries = scheduler
        show_series = lambda: telemetry.show_canaries(runners.canaries)  # noqa: E731 - one of two
        if replication is not None:
            schedule = replication.create_schedule(settings, scheduler, runners, statuses)
            show_series = replication.create_series(telemetry, runners, spend_guard).update
        statuses.next_run, statuses.alerts = schedule.next_run, lambda: alerting.status
        statuses.load(store)

        authorizer = Authorizer(settings.web)
        heartbeat = await shutdown.enter(_create_heartbeat(settings, clock, alerting, replication))
        reloader = None
        if source is not None:
            parts = ReloadableParts(
                settings,
                telemetry=telemetry,
                spend_guard=spend_guard,
                runners=runners,
                alerting=alerting,
                diagnostics=diagnostics,
                statuses=statuses,
                scheduler=schedule,
                authorizer=authorizer,
                heartbeat=heartbeat,
                on_reload=callbacks.on_reload,
                show_series=show_series,
                replication=replication,
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
        replicas = None if replication is None else replication.overview
        shown = PageSources(
            canaries=statuses, recorded=store, faults=statuses, kept=runs, alerts=alerting, replicas=replicas
        )
        events = EventHub(EventSource(statuses, lambda: alerting.status, LiveParts(shown, clock)))
        sources = ApiSources(
            statuses=statuses,
            faults=statuses,
            recorded_runs=store,
            runs=runs,
            rules=alerting.view.rules,
            alerts=alerting,
            history=alerting.history,
            view=alerting.view,
            reloads=reloader,
            events=events,
            clock=clock,
            replicas=replicas,
        )
        routes = [
            *health_routes(readiness_checks(scheduler, store, replication)),
            *metrics_routes(telemetry.scraper, authorizer),
            *endpoint_routes(api_endpoints(sources), authorizer),
            *page_routes(shown, authorizer, clock),
        ]
        await shutdown.enter(LivenessFile(settings.web.liveness_file))
        web_server = await shutdown.enter(
            WebServer(settings.web, routes, retry=settings.fleet is None), WEB_STOP_TIMEOUT
        )
        await shutdown.enter(events)  # its streams end before the server does
        if reloader is not None:
            await shutdown.enter(reloader)
        if replication is not None:  # the last to start, and the first to stop: it hands over at once
            await shutdown.enter(replication, HAND_OVER_TIMEOUT)
        _log.info("daemon started", extra={"canaries": len(runners.by_name), "targets": len(settings.targets)})
        if callbacks.on_started is not None:
            callbacks.on_started(
                RunningDaemon(statuses=statuses, alerts=lambda: alerting.status, address=lambda: web_server.address)
            )
        if callbacks.on_ready is not None:
            callbacks.on_ready()
        await stop.wait()
        shutdown.begin()
        _log.info("daemon stopping")
    return not shutdown.has_hanging_component


def _create_replication(settings: Settings, store: Store, clock: Clock) -> "Replication | None":
    """Return the part of this replica in the work of all; ``None`` if it does not share its store."""
    if not settings.store.is_shared:
        return None
    from streamcanary.app.replication import Replication

    return Replication(settings, store, clock)


def _create_alerting(
    settings: Settings, canaries: Sequence[Canary], store: Store, replication: "Replication | None", clock: Clock
) -> "tuple[AlertingService | SharedAlerting, Callable[[Outcome], Outcome | None]]":
    """Return alerting, and the function that records a run for it; that one returns the run if it counts."""
    if replication is not None:
        return replication.create_alerting(settings, canaries), replication.record
    alerting = AlertingService(
        config=settings.alerts, instance=settings.member_instance, canaries=canaries, store=store, clock=clock
    )

    def record(outcome: Outcome) -> Outcome:
        alerting.enqueue_outcome(outcome)
        return outcome

    return alerting, record


def _create_heartbeat(
    settings: Settings,
    clock: Clock,
    alerting: "AlertingService | SharedAlerting",
    replication: "Replication | None",
) -> HeartbeatTask:
    """Return the heartbeat; of several replicas, the owner of the alerts sends it for all."""
    checks = alerting.liveness_checks()
    if replication is None:
        return HeartbeatTask(settings.heartbeat, clock, checks)
    checks = {**checks, **replication.liveness_checks()}
    return HeartbeatTask(settings.heartbeat, clock, checks, lambda: replication.alerting.is_owner)


async def _stop_alerting(alerting: "AlertingService | SharedAlerting", task: asyncio.Task[None]) -> None:
    await alerting.drain(ALERTING_DRAIN_TIMEOUT)
    task.cancel()
