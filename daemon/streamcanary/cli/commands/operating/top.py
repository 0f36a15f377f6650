"""The verb ``top``: shows a running daemon in a live view."""

import argparse
import asyncio
import signal
import sys
import threading
from contextlib import suppress

from streamcanary.cli.daemon_client import DaemonRequestError, open_client
from streamcanary.cli.live.remote_view import RemoteView
from streamcanary.cli.live.screen import LiveScreen, can_show_view

_MIN_INTERVAL = 1.0  # seconds
_SNAPSHOT_COLUMNS = 140
_SNAPSHOT_LINES = 1100  # more than the canaries of a view


def main(arguments: argparse.Namespace) -> int:
    """Show the daemon until Ctrl-C or q; return 0, 1 if it could not be reached at first, 2 for invalid arguments."""
    from streamcanary.model.config_types.duration import parse_duration

    try:
        interval = parse_duration(arguments.interval)
    except ValueError as error:
        print(f"streamcanary top: error: argument --interval: {error}", file=sys.stderr)
        return 2
    if interval < _MIN_INTERVAL:
        print("streamcanary top: error: argument --interval: must be at least 1s", file=sys.stderr)
        return 2
    try:
        with open_client(arguments) as client:
            view = RemoteView(client, interval)
            view.load()  # a wrong address or token is an error, not a view that waits
            if not sys.stderr.isatty() or not can_show_view():
                _print_once(view)
                return 0
            asyncio.run(_show(view, interval))
    except DaemonRequestError as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return 1
    return 0


def _print_once(view: RemoteView) -> None:
    from rich.console import Console

    from streamcanary.cli.live.view import render

    console = Console(file=sys.stdout, width=_SNAPSHOT_COLUMNS)
    console.print(render(view.current([]), _SNAPSHOT_COLUMNS, _SNAPSHOT_LINES))


async def _show(view: RemoteView, interval: float) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with LiveScreen(on_quit=stop.set) as screen:
        screen.start()
        loading: threading.Thread | None = None
        next_load = loop.time() + interval
        while not stop.is_set():
            if loop.time() >= next_load and (loading is None or not loading.is_alive()):
                # Not a thread of the event loop: the end of that would wait for a daemon that does not answer.
                loading = threading.Thread(target=view.try_load, name="daemon requests", daemon=True)
                loading.start()
                next_load = loop.time() + interval
            await asyncio.to_thread(screen.show, view.current(screen.last_log_lines()))
            with suppress(TimeoutError):
                async with asyncio.timeout(_MIN_INTERVAL):
                    await stop.wait()
