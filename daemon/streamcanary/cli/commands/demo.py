"""``streamcanary demo``: an outage to look at. Provider, daemon and pager in one process, over real sockets."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from streamcanary.events import AttemptFailed, Event, FallbackStarted
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Pace, Simulator, Timeline

_FOLDER = Path(__file__).parents[1] / "demo"
_CYCLE = 75.0  # seconds after which, unless --once, it all begins again
_TOO_LONG = 85.0  # seconds after which --once gives up
_PACE = Pace(retry_after=0.3)
_SAYS = {
    "ok": "the provider is well",
    "cut": "the provider cuts streams in the middle",
    "stall": "the provider stalls in the middle of its answers",
    "429-retry-after-ms": "the provider says 429, too many requests",
}


class Summary(Struct):
    """What happened; the last line that ``--once`` prints to stdout. Times are seconds."""

    runs: int = 0
    failed: int = 0
    attempts: int = 0
    alerts_fired: int = 0
    alerts_resolved: int = 0
    seconds_to_fire: float | None = None
    seconds_to_resolve: float | None = None


def main(arguments: argparse.Namespace) -> int:
    """Show an outage; with ``--once`` return 0 if its alerts fired and were resolved, else 1."""
    from streamcanary.telemetry import logs

    logs.configure("error")
    return asyncio.run(_demonstrate(once=arguments.once))


class Demo:
    """What is shown and counted of the daemon, as it happens. Where the lines go: stderr.

    The outage of ``timeline`` begins with its first phase that is not ``ok``, and is over with its last that is.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.outage = next(phase.at for phase in timeline.phases if phase.fault != "ok")
        self.recovery = next(phase.at for phase in reversed(timeline.phases) if phase.fault == "ok")
        self.summary = Summary()
        self.over = asyncio.Event()
        self._began = time.monotonic()
        self._open: set[str] = set()
        self._paged: set[str] = set()

    def begin(self) -> None:
        """Start the clock, with the timeline."""
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        print(f"{time.monotonic() - self._began:6.1f}s  {text}", file=sys.stderr, flush=True)

    def on_event(self, canary: Canary, event: Event) -> None:
        """Show faults and what is done about them."""
        match event:
            case AttemptFailed(attempt=attempt, next_delay=delay):
                then = (
                    "gives up" if delay is None else f"next attempt in {format_duration(delay)}" if delay else "no wait"
                )
                fault = attempt.fault
                self.say(f"  {canary.name}: attempt {attempt.number}: {fault.kind if fault else ''}, {then}")
            case FallbackStarted(route=route):
                self.say(f"  {canary.name}: falls back to {route}")

    def on_outcome(self, outcome: Outcome) -> None:
        """Show and count a run."""
        if outcome.kind is OutcomeKind.SKIPPED:
            return
        self.summary.runs += 1
        self.summary.failed += outcome.kind in (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
        self.summary.attempts += len(outcome.attempts)
        first = outcome.time_to_first_token
        timing = f", first token after {format_duration(first)}" if first is not None else ""
        self.say(f"{outcome.canary}: {outcome.kind.value} after {format_duration(outcome.duration)}{timing}")

    def on_transition(self, incident: Incident) -> None:
        """Count an incident that has opened or is over."""
        elapsed = time.monotonic() - self._began
        if incident.is_firing:
            self.summary.alerts_fired += 1
            self._open.add(incident.key)
            if self.summary.seconds_to_fire is None:
                self.summary.seconds_to_fire = round(elapsed - self.outage, 1)
        else:
            self.summary.alerts_resolved += 1
            self._open.discard(incident.key)
            self.summary.seconds_to_resolve = round(elapsed - self.recovery, 1)
        self._look_for_the_end()

    def on_page(self, page: dict[str, Any]) -> None:
        """Show what the pager was told. As any that knows alerts by their key, it drops the end of one it has not."""
        if page["type"] == "alert.resolved" and page["key"] not in self._paged:
            return
        told = {"alert.fired": "FIRING", "alert.updated": "UPDATED", "alert.resolved": "RESOLVED"}[page["type"]]
        self.say(f"PAGE  {told}  {page['title']}")
        for alert in page["alerts"]:
            self._show(alert)
        if page["type"] == "alert.resolved":
            self._paged.discard(page["key"])
        else:
            self._paged.add(page["key"])
        self._look_for_the_end()

    def _show(self, alert: dict[str, Any]) -> None:
        """Show one alert of a page."""
        evidence = alert["evidence"]
        if alert["resolved"] is not None:
            self.say(f"      {alert['canary']}: {alert['reason']}")
            return
        counts = ", ".join(f"{kind} {count}x" for kind, count in evidence["faults"].items())
        self.say(f"      {alert['canary']}: {evidence['bad']} of {evidence['total']} runs bad; {counts}")
        self.say(f"      last: {evidence['message']}")
        if evidence["diagnosis"]:
            self.say(f"      diagnosis: {evidence['diagnosis']}")
        self.say(f"      resolves after {alert['resolves']}")

    def _look_for_the_end(self) -> None:
        resolved = self.summary.alerts_resolved
        if resolved and resolved == self.summary.alerts_fired and not self._open and not self._paged:
            self.over.set()


async def _demonstrate(*, once: bool) -> int:
    from streamcanary.app import Watch, serve
    from streamcanary.cli.demo.webhook_receiver import Pager
    from streamcanary.cli.signals import stop_on_signal
    from streamcanary.settings import load

    stop, demo = stop_on_signal(), Demo(Timeline.load(_FOLDER / "demo-timeline.yaml"))
    watch = Watch(event=demo.on_event, outcome=demo.on_outcome, transition=demo.on_transition)
    with tempfile.TemporaryDirectory(prefix="streamcanary-demo-") as folder:
        async with Pager(demo.on_page) as pager, Simulator(timeline=demo.timeline, pace=_PACE) as provider:
            settings = load(
                _FOLDER / "demo.yaml",
                {
                    "DEMO_PROVIDER": provider.base_url,
                    "DEMO_PAGER": pager.url,
                    "DEMO_PAGER_SECRET": pager.secret,
                    "DEMO_FOLDER": folder,
                },
            )
            demo.say("three canaries stream from a simulated provider, two seconds apart")
            provider.restart_timeline()
            demo.begin()
            async with asyncio.TaskGroup() as tasks:
                narrator = tasks.create_task(_narrate(demo, provider, stop, once=once))
                await serve(settings, stop, watch=watch)
                narrator.cancel()
    summary = demo.summary
    if once:
        print(msgspec.json.encode(summary).decode(), flush=True)
        return 0 if demo.over.is_set() else 1
    return 0


async def _narrate(demo: Demo, provider: Simulator, stop: asyncio.Event, *, once: bool) -> None:
    """Tell when the provider changes, and see to the end: of the demo with ``once``, else of each cycle."""
    while True:
        phases = demo.timeline.phases
        for now, then in zip(phases, (*phases[1:], None), strict=True):
            demo.say(f"--- {_SAYS.get(now.fault, f'the provider plays {now.fault}')} ---")
            if then is not None:
                await asyncio.sleep(then.at - now.at)
        try:
            async with asyncio.timeout((_TOO_LONG if once else _CYCLE) - demo.recovery):
                await demo.over.wait()
                if once:
                    break
                demo.say("all alerts are resolved; the next outage comes soon, Ctrl-C ends the demo")
                await asyncio.Event().wait()
        except TimeoutError:
            if once:
                break
        demo.over.clear()
        provider.restart_timeline()
        demo.begin()
    stop.set()
