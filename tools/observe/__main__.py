"""Show the dashboards and traces with data: run everything on loopback, print the addresses, end on Ctrl-C.

Builds Prometheus, Jaeger and an OpenTelemetry Collector with Go if need be, and unpacks PostgreSQL; what is not
available is left out with the reason. Grafana is used if it is on PATH.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from streamcanary.telemetry.dashboards import load_dashboards

from .pictures import Source, draw
from .processes import StartFailed
from .stack import REPLICAS, Stack, find_programs, running_stack

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from support.postgresql.cluster import Cluster  # type: ignore[import-not-found]

_PROGRAMS = ("prometheus", "jaeger", "otelcol", "postgresql")


def main() -> int:
    """Return 0 after SIGINT, SIGTERM or ``--for``, or 1 if a program did not start."""
    parser = argparse.ArgumentParser(prog="make observe", description=__doc__)
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="end by itself")
    parser.add_argument("--find", action="store_true", help="use the programs that are there, and build none")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="at the end, draw each dashboard as SVG there")
    arguments = parser.parse_args()
    programs, missing = find_programs(_PROGRAMS, build=not arguments.find)
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="streamcanary-observe-"))
        database = None
        if programs.pop("postgresql", None):
            database = cleanup.enter_context(cleanup.enter_context(Cluster()).database())
        try:
            asyncio.run(_observe(Path(folder), programs, missing, database, arguments.seconds, arguments.pictures))
        except StartFailed as error:
            _write(str(error))
            return 1
    return 0


async def _observe(
    folder: Path,
    programs: dict[str, Path],
    missing: dict[str, str],
    database: str | None,
    seconds: float | None,
    pictures: Path | None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_stack(folder, programs, database=database) as stack:
        for line in describe(stack, missing):
            _write(line)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
        if pictures is not None and stack.prometheus:
            await asyncio.to_thread(draw_dashboards, stack.prometheus, pictures)
        _write("ending everything")


def draw_dashboards(prometheus: str, folder: Path) -> None:
    """Draw each dashboard over the last minute as ``folder/NAME.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    for dashboard in load_dashboards().values():
        path = folder / f"{dashboard.name}.svg"
        path.write_text(draw(dashboard.text, Source(prometheus, now - 60, now)), encoding="utf-8")
        _write(f"drew {path}")


def describe(stack: Stack, missing: dict[str, str]) -> list[str]:
    """Return the lines that say what runs where."""
    rows = {
        "streamcanary": (stack.daemon, "the daemon: /metrics, /api/v1"),
        "Prometheus": (stack.prometheus, "metrics, and the exported rules under Alerts"),
        "Jaeger": (stack.jaeger, "traces"),
        "Collector": (stack.collector, "takes OTLP from applications"),
        "Grafana": (stack.grafana, "the dashboards"),
        **{name: (address, "a replica") for name, address in zip(REPLICAS, stack.replicas, strict=False)},
    }
    lines = [f"{name:<13} {address:<24} {text}" for name, (address, text) in rows.items() if address]
    lines += [f"{name:<13} is missing: {reason}" for name, reason in missing.items()]
    if not stack.grafana:
        lines.append("Grafana       is not on PATH; import config/grafana/dashboards/*.json into any Grafana")
    return [*lines, f"Logs are in {stack.folder}. A minute shows every kind of failure. Press Ctrl-C to end."]


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
