"""The second part of a soak: the memory of a real daemon that makes many runs in a few minutes, with outages."""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver

_CANARIES = 40  # each every second
_OUTAGE_EVERY, _OUTAGE = 20.0, 7.0  # seconds: alerts fire and resolve
_SAMPLE_EVERY = 5.0  # seconds
_PAGES = ("/metrics", "/api/v1/status", "/api/v1/canaries", "/")
_MAX_GROWTH = 0.1  # of its memory, in the second half of the time


class MemoryFigures(Struct):
    """Samples of the memory of a daemon: seconds since its start, runs that have ended, and MB."""

    samples: list[tuple[float, int, float]] = field(default_factory=list)
    notifications: int = 0

    @property
    def second_half(self) -> list[tuple[float, int, float]]:
        """The samples after caches have been filled."""
        return self.samples[len(self.samples) // 2 :]

    @property
    def slope(self) -> float:
        """MB for each 1,000 runs in the second half, by least squares."""
        half = self.second_half
        runs, sizes = [each[1] for each in half], [each[2] for each in half]
        mean_runs, mean_size = sum(runs) / len(half), sum(sizes) / len(half)
        spread = sum((each - mean_runs) ** 2 for each in runs)
        pairs = zip(runs, sizes, strict=True)
        return 1000 * sum((x - mean_runs) * (y - mean_size) for x, y in pairs) / spread if spread else 0.0

    @property
    def problem(self) -> str:
        """Why the memory is not flat; empty if it is."""
        first, last = self.second_half[0][2], self.second_half[-1][2]
        if last > first * (1 + _MAX_GROWTH):
            return f"memory has grown from {first:.0f} to {last:.0f} MB in the second half of the time"
        return "" if self.notifications else "no alert has fired"


async def measure_daemon(minutes: float) -> MemoryFigures:
    """Run a daemon for some minutes, with its pages read all the time."""
    figures = MemoryFigures()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            FakeProvider() as provider,
            FakeReceiver() as hook,
            Daemon(Path(folder), _config(provider.base_url, hook.url)) as daemon,
        ):
            began = time.monotonic()
            while (elapsed := time.monotonic() - began) < 60 * minutes:
                provider.set_fault("500" if elapsed % _OUTAGE_EVERY > _OUTAGE_EVERY - _OUTAGE else "ok")
                if not figures.samples or elapsed >= figures.samples[-1][0] + _SAMPLE_EVERY:
                    await _read_pages(daemon)
                    figures.samples.append((elapsed, _count_runs(daemon), _resident(daemon.pid)))
                await asyncio.sleep(0.5)
            figures.notifications = len(hook.deliveries)
    return figures


def describe_memory(figures: MemoryFigures) -> list[str]:
    """Return lines of text."""
    step = max(1, len(figures.samples) // 12)
    shown = [f"{runs} runs {size:.0f}" for _, runs, size in figures.samples[::step]]
    return [
        f"daemon (MB)   {', '.join(shown)}",
        f"slope         {figures.slope:+.3f} MB in 1,000 runs",
        f"alerts        {figures.notifications} notifications",
    ]


def _config(base_url: str, hook: str) -> dict[str, Any]:
    canary = {"target": "sim", "model": MODEL, "every": "1s", "retry": {"max_attempts": 1}}
    return {
        "targets": {"sim": {"base_url": base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {f"canary-{number}": canary for number in range(_CANARIES)},
        "alerts": {
            "rules": {
                "Fails": {"detector": {"type": "consecutive", "failures": 2}},
                "TargetFails": {"detector": {"type": "ratio", "over": "10s", "threshold": "50%"}, "per": ["target"]},
            },
            "receivers": {"hook": {"type": "webhook", "url": hook, "secret": SECRET}},
            "group_wait": 0,
            "group_interval": "1s",
        },
    }


async def _read_pages(daemon: Daemon) -> None:
    address = daemon.log_lines("web server started")[0]
    async with loopback_client() as client:
        for page in _PAGES:
            (await client.get(f"http://127.0.0.1:{address['port']}{page}")).raise_for_status()


def _count_runs(daemon: Daemon) -> int:
    count: int = daemon.query("SELECT count(*) FROM runs")[0][0]
    return count


def _resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
