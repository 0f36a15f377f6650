"""The verb ``run``: runs the daemon."""

import argparse
import asyncio
import ctypes
import logging
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from streamcanary.cli.keep_running import start_again
from streamcanary.cli.load_config import UsageError, load_config
from streamcanary.settings import Settings

if TYPE_CHECKING:
    from streamcanary.app.callbacks import RunningDaemon
    from streamcanary.cli.live.screen import LiveScreen

_log = logging.getLogger(__name__)

_MIN_RELOAD_INTERVAL = 0.1  # seconds
_M_ARENA_MAX = -8  # of mallopt(3)
_MAX_WARNINGS = 20  # configuration warnings that are logged; `check` prints all


def main(arguments: argparse.Namespace) -> int:
    """Run the daemon; return 0 after SIGTERM or SIGINT.

    1 if a component had not stopped in time, 2 if the configuration or the store is unusable. With ``--keep-running``
    the latter does not return: the same process tries again.
    """
    from streamcanary.model.config_types.config_secrets import ConfigSecrets
    from streamcanary.model.config_types.secret import SecretUnreadable
    from streamcanary.store.errors import StoreError
    from streamcanary.telemetry import logs
    from streamcanary.telemetry.otlp.export_settings import TelemetryMisconfigured
    from streamcanary.transport.proxy import InvalidProxyUrl
    from streamcanary.transport.tls import TlsFileError

    try:
        reload_interval = _reload_interval(arguments.reload_interval)
    except ValueError as error:
        print(f"streamcanary run: error: argument --reload-interval: {error}", file=sys.stderr)
        return 2
    try:
        settings = load_config(arguments.config)
    except UsageError:
        return _unusable(arguments)
    screen = _open_screen(arguments.log_format)
    logs.configure(
        arguments.log_level,
        json=False if screen else {"auto": None, "json": True, "console": False}[arguments.log_format],
        secrets=ConfigSecrets(settings),
        public=settings.public,
        stream=cast("TextIO", screen.logs) if screen else None,
    )
    for problem in settings.warnings[:_MAX_WARNINGS]:
        _log.warning("configuration warning", extra={"problem": str(problem)})
    _use_one_malloc_arena()
    try:
        with screen or nullcontext():
            return asyncio.run(_run(settings, arguments.config, reload_interval, screen))
    except (StoreError, SecretUnreadable, TlsFileError, InvalidProxyUrl, TelemetryMisconfigured) as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return _unusable(arguments, settings.web.liveness_file)


def _unusable(arguments: argparse.Namespace, liveness_file: Path | None = None) -> int:
    """Return the exit code of a daemon that cannot start; with ``--keep-running``, start again instead."""
    if arguments.keep_running:
        start_again(arguments.config, liveness_file)
    return 2


def _open_screen(log_format: str) -> "LiveScreen | None":
    """Return the screen of a live view, if stderr is a terminal that may show one and no log format is chosen."""
    if log_format != "auto" or not sys.stderr or not sys.stderr.isatty():
        return None
    from streamcanary.cli.live.screen import LiveScreen, can_show_view

    return LiveScreen() if can_show_view() else None


async def _run(settings: Settings, file: Path, reload_interval: float, screen: "LiveScreen | None") -> int:
    from streamcanary.app.callbacks import DaemonCallbacks
    from streamcanary.app.daemon import run_daemon
    from streamcanary.cli.commands.running.garbage_collection import (
        collect_former_configuration,
        exempt_existing,
        exempt_repeatedly,
    )
    from streamcanary.cli.signals import stop_on_signal
    from streamcanary.model.config_types.config_secrets import ConfigSecrets
    from streamcanary.reload.reloader import ReloadSource
    from streamcanary.telemetry import logs

    exempt_existing()  # the imported packages, most of all objects, while nothing runs yet
    source = ReloadSource(file=file, interval=reload_interval, requested=asyncio.Event())
    stop = stop_on_signal(on_hangup=source.requested.set, before_exit=screen.close if screen else lambda: None)
    callbacks = DaemonCallbacks(
        on_ready=partial(exempt_repeatedly, len(settings.canaries)),
        on_reload=lambda settings: logs.add_secrets(ConfigSecrets(settings), settings.public),
        on_reloaded=collect_former_configuration,
        on_started=partial(_show, screen, stop.event) if screen else None,
    )
    has_stopped = await run_daemon(settings, stop.event, callbacks=callbacks, source=source)
    code = 0 if has_stopped else 1
    stop.stopped(code)
    return code


def _show(screen: "LiveScreen", stop: asyncio.Event, daemon: "RunningDaemon") -> None:
    """Show the daemon on the screen until it is to stop."""
    from streamcanary.cli.live.daemon_view import show_daemon

    task = asyncio.create_task(show_daemon(screen, daemon, stop), name="live view")
    task.add_done_callback(_log_failed_view)


def _log_failed_view(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:  # the daemon runs without its view
        _log.error("live view failed", exc_info=error)


def _reload_interval(text: str) -> float:
    """Return an interval in seconds. Not by the parser of arguments: that runs before signals are handled.

    Raises:
        ValueError: if it is no duration, or too short.
    """
    from streamcanary.model.config_types.duration import parse_duration

    seconds = parse_duration(0 if text == "0" else text)
    if 0 < seconds < _MIN_RELOAD_INTERVAL:
        raise ValueError(f"must be at least {_MIN_RELOAD_INTERVAL:g} s, or 0")
    return seconds


def _use_one_malloc_arena() -> None:
    """Let all threads allocate from one arena, where the C library is glibc.

    By default, it creates an arena for each thread, up to eight for each CPU, which keep what is freed: 2 MB for ten
    threads. They would spare threads that allocate at the same time from waiting; those of Python run one at a time.
    """
    with suppress(OSError, AttributeError):  # another C library has no mallopt()
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
