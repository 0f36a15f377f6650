"""Shows the daemon of this process in a live view."""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from streamcanary.cli.live.view import LiveView
from streamcanary.model.alerts.status_snapshot import OpenIncident

if TYPE_CHECKING:
    from streamcanary.app.callbacks import RunningDaemon
    from streamcanary.cli.live.screen import LiveScreen

_INTERVAL = 1.0  # seconds


async def show_daemon(screen: "LiveScreen", daemon: "RunningDaemon", stop: asyncio.Event) -> None:
    """Draw the daemon once a second until ``stop`` is set, and restore the terminal then, or if drawing fails.

    It is drawn in another thread: a slow terminal must not delay the canaries.
    """
    screen.start()
    try:
        while not stop.is_set():
            await asyncio.to_thread(screen.show, _view(screen, daemon))
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await stop.wait()
    finally:
        screen.close()


def _view(screen: "LiveScreen", daemon: "RunningDaemon") -> LiveView:
    address, alerts, canaries = daemon.address(), daemon.alerts(), daemon.statuses.statuses()
    host = "" if address is None else f"[{address[0]}]" if ":" in address[0] else address[0]
    return LiveView(
        now=time.time(),
        connection="no web server" if address is None else f"http://{host}:{address[1]}",
        summary=daemon.statuses.summary(),
        canaries=canaries,
        canary_count=len(canaries),
        alerts=[_alert_line(each) for each in alerts.incidents],
        alert_count=alerts.firing_count,
        log_lines=screen.last_log_lines(),
    )


def _alert_line(one: OpenIncident) -> str:
    incident, evidence = one.incident, one.incident.evidence
    counts = f"  {evidence.bad} of {evidence.total}" if evidence.total else ""
    muted = f"  (muted: {one.muted_by})" if one.muted_by else ""
    return f"{incident.rule}  {incident.subject}{counts}  {evidence.message}{muted}"
