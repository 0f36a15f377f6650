"""The second part of a soak: a real daemon makes as many runs as in a day, in some minutes.

Its provider, a simulator in a process of its own, has outages; a collector takes its telemetry, PagerDuty, a webhook
and an Alertmanager its notifications, and all of them fail now and then. Pages are read, silences come and go, and
the configuration is reloaded.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct, field

from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.programs.simulator import SimulatorProgram
from support.soak.daemon_config import daemon_config, timeline
from support.soak.daemon_memory import MemorySample
from support.soak.daemon_receivers import SoakCollector, SoakHook, SoakPager

_PROGRAM: Final = Path(__file__).with_name("measured_daemon.py")
_SAMPLE_EVERY, _READ_EVERY, _RELOAD_EVERY = 1.0, 4.0, 15.0  # seconds
_COLLECTOR_FAILS_EVERY, _COLLECTOR_FAILS = 30.0, 5.0  # seconds
_SILENCE_EVERY = 25.0  # seconds
_FOLLOWED = 10.0  # seconds for which a page follows the events of the daemon
_PAGES: Final = (
    *("/metrics", "/", "/alerts", "/silences", "/canaries/outage-0", "/canaries/outage-3"),
    *("/api/v1/status", "/api/v1/canaries", "/api/v1/incidents", "/api/v1/incidents/history", "/api/v1/receivers"),
    *("/api/v1/canaries/outage-0/runs", "/api/v1/canaries/outage-0/rules", "/livez", "/readyz"),
)


class Day(NamedTuple):
    """How many ``runs`` a daemon makes with ``canaries`` that are due every 0.5 s; it ends after ``minutes`` anyway."""

    runs: int = 28_800
    minutes: float = 10.0
    canaries: int = 30


class DayFigures(Struct):
    """What was measured. ``counts`` says how often what happened; nothing shows anything that has not happened."""

    samples: list[MemorySample] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


EFFECTS: Final = (
    *("runs", "failed runs", "pruned runs", "faults", "exported spans", "refused exports", "heartbeats"),
    *("pages opened", "pages resolved", "webhooks", "Alertmanager", "refused notifications"),
    *("reloads", "pages read", "events", "silences"),
)
"""What must have happened, as names of :attr:`DayFigures.counts`."""


class _DayDaemon(Daemon):
    """A daemon whose store is pruned often, and whose memory in use is measured."""

    _last_row = _runs = 0

    def launch_command(self) -> list[str]:
        """Return the command line of the program that does both."""
        return [sys.executable, str(_PROGRAM), str(self._in_use)]

    def sample(self) -> MemorySample:
        """Return the memory that it takes now, and how many runs it has made, without those that it has skipped."""
        rows = self.query(f"SELECT id, kind FROM runs WHERE id > {self._last_row}")  # noqa: S608 - a number
        self._runs += sum(kind != "skipped" for _, kind in rows)
        self._last_row = max([self._last_row, *(row for row, _ in rows)])
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        blocks, allocated = (self._in_use.read_text().split() or ["0", "0"])[-2:]
        size = pages * os.sysconf("SC_PAGE_SIZE")
        return MemorySample(self._runs, size / 2**20, int(allocated) / 2**20, int(blocks))

    @property
    def _in_use(self) -> Path:
        return self.folder / "in-use"


class DaemonDay:
    """One day of a daemon."""

    def __init__(self, day: Day, folder: Path) -> None:
        self._day, self._folder = day, folder
        self.figures = DayFigures()
        self._counts = self.figures.counts
        self._version = 0

    async def run(self) -> DayFigures:
        """Run the daemon, and everything around it."""
        outages = timeline(60 * self._day.minutes + 60)
        async with (
            SimulatorProgram(self._folder / "simulator", outages) as simulator,
            SoakHook(self._counts) as hook,
            SoakPager(self._counts) as pager,
            SoakCollector() as self._collector,
        ):
            self._urls = {
                "provider": simulator.base_url,
                "hook": hook.url,
                "pager": pager.url,
                "collector": self._collector.url,
            }
            async with _DayDaemon(self._folder, self._config()) as self._daemon:
                self._address = f"http://127.0.0.1:{self._daemon.log_lines('web server started')[0]['port']}"
                await self._live()
                await self._end()
            self._count_notifications(pager)
        return self.figures

    async def _live(self) -> None:
        """Let things happen until the runs are made."""
        began = time.monotonic()
        async with loopback_client() as self._http, asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(self._repeat(seconds, activity))
                for seconds, activity in (
                    (_READ_EVERY, self._read_pages),
                    (_RELOAD_EVERY, self._reload),
                    (_COLLECTOR_FAILS_EVERY, self._break_collector),
                    (_SILENCE_EVERY, self._silence),
                    (0.0, self._follow_events),
                )
            ]
            samples = self.figures.samples
            while not samples or samples[-1].runs < self._day.runs:
                self.figures.seconds = time.monotonic() - began
                if self.figures.seconds > 60 * self._day.minutes:
                    break
                await asyncio.sleep(_SAMPLE_EVERY)
                samples.append(self._daemon.sample())
            for task in others:
                task.cancel()

    async def _end(self) -> None:
        """Count what is in the store, and stop the daemon."""
        self._counts["runs"] = self.figures.samples[-1].runs
        [(self._counts["recorded runs"], kept)] = self._daemon.query("SELECT max(id), count(*) FROM runs")
        self._counts["pruned runs"] = self._counts["recorded runs"] - kept
        outcomes = self._daemon.query("SELECT outcome FROM runs WHERE failed")
        faults = [json.loads(outcome).get("fault") for (outcome,) in outcomes]
        self._counts["failed runs"] = len(faults)
        self._counts["faults"] = len({fault["kind"] for fault in faults if fault is not None})
        code, _ = await self._daemon.terminate()
        if code:
            self.figures.problems.append(f"the daemon has ended with exit code {code}")
        errors = {line["message"] for line in self._daemon.log if line["level"] not in ("info", "warning")}
        self.figures.problems += [f"the daemon has logged the error: {message}" for message in sorted(errors)]

    def _count_notifications(self, pager: SoakPager) -> None:
        actions = Counter(action for action, _ in pager.log)
        self._counts["pages opened"], self._counts["pages resolved"] = actions["trigger"], actions["resolve"]
        self._counts["exported spans"] = self._collector.accepted_items["/v1/traces"]

    # ---- activities

    @staticmethod
    async def _repeat(seconds: float, activity: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await activity()
            await asyncio.sleep(seconds)

    async def _read_pages(self) -> None:
        """Read each page, and that of a run that has failed."""
        [(canary, run)] = self._daemon.query(
            "SELECT canary, run_id FROM runs ORDER BY failed DESC, id DESC LIMIT 1"
        ) or [("", "")]
        trace = [f"/canaries/{canary}/runs/{run}", f"/api/v1/runs/{run}"] if run else []
        for page in (*_PAGES, *trace):
            response = await self._http.get(self._address + page)
            if response.status_code != 200 and page not in trace:  # a trace of an earlier run may be gone
                self.figures.problems.append(f"{page}: HTTP {response.status_code}")
            self._counts["pages read"] += response.status_code == 200

    async def _reload(self) -> None:
        """Deploy another version of the configuration."""
        self._version += 1
        self._daemon.config.write_text(json.dumps(self._config()))
        os.kill(self._daemon.pid, signal.SIGHUP)
        name = f"/api/v1/canaries/version-{self._version}"
        for _ in range(100):
            await asyncio.sleep(0.1)
            if (await self._http.get(self._address + name)).status_code == 200:
                self._counts["reloads"] += 1
                return
        self.figures.problems.append(f"version {self._version} of the configuration is not applied after 10 s")

    async def _break_collector(self) -> None:
        await asyncio.sleep(_COLLECTOR_FAILS)
        self._collector.mode = "unavailable"
        await asyncio.sleep(_COLLECTOR_FAILS)
        self._collector.mode = "accept"
        self._counts["refused exports"] += 1

    async def _silence(self) -> None:
        """Create a silence that expires, or is deleted."""
        silences = f"{self._address}/api/v1/silences"
        response = await self._http.post(silences, json={"match": ['canary="outage-0"'], "for": "10s"})
        response.raise_for_status()
        self._counts["silences"] += 1
        if self._counts["silences"] % 2:
            (await self._http.delete(f"{silences}/{response.json()['id']}")).raise_for_status()

    async def _follow_events(self) -> None:
        """Follow the events of the daemon for a while, as a page that is open does."""
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(_FOLLOWED),
                self._http.stream("GET", f"{self._address}/api/v1/events", timeout=30) as response,
            ):
                async for line in response.aiter_lines():
                    self._counts["events"] += line.startswith("data:")

    def _config(self) -> dict[str, Any]:
        return daemon_config(self._day.canaries, self._urls, self._version)


async def run_day(day: Day) -> DayFigures:
    """Run a daemon for a day, and return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        figures = await DaemonDay(day, Path(folder)).run()
    figures.problems += [f"nothing was seen of: {effect}" for effect in EFFECTS if not figures.counts[effect]]
    return figures
