"""Measure the daemon, compiled as in the image: memory with 20 canaries, and the time to its first request."""

import asyncio
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

from bench.table import Row
from streamcanary.simulator import Simulator

_CANARIES = 20
_ROUNDS = 3
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_SETTLE = 40.0  # seconds: each canary runs a few times before memory is read
_AS_IN_THE_IMAGE = ("-OO", "-X", "no_debug_ranges")  # as tools/image/build.sh compiles
_MAIN = """
import sys
sys.modules["rich"] = None  # a tool of developers; structlog imports it where it is installed, which takes 4 MB
from streamcanary.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def rows() -> list[Row]:
    """Run the benchmark over several starts and return its rows."""
    with tempfile.TemporaryDirectory() as compiled:
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        asyncio.run(_measure(environ, settle=0.0))  # compiles: an installed package is compiled, a checkout may be not
        rounds = [asyncio.run(_measure(environ, settle=_SETTLE if number == 0 else 0.0)) for number in range(_ROUNDS)]
    first = statistics.median(seconds for seconds, _ in rounds)
    return [
        Row(
            f"resident memory, {_CANARIES} canaries, OTLP and /metrics, after {_SETTLE:g} s",
            f"{rounds[0][1]:.0f} MB",
            "85 MB",
        ),
        Row(f"start to first canary's request, median of {_ROUNDS}", f"{first:.2f} s", "3 s"),
    ]


async def _measure(environ: Mapping[str, str], *, settle: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with Simulator() as simulator:
            path = Path(folder) / "streamcanary.yaml"
            port = _free_port()
            path.write_text(json.dumps(_config(simulator.base_url, port)))  # JSON is YAML
            began = time.monotonic()
            daemon = await asyncio.create_subprocess_exec(
                *(sys.executable, *_AS_IN_THE_IMAGE, "-c", _MAIN, "run", "-c", str(path)),
                stderr=asyncio.subprocess.DEVNULL,
                env=environ,
            )
            try:
                async with asyncio.timeout(60):
                    while not simulator.requests:
                        await asyncio.sleep(0.01)
                seconds = time.monotonic() - began
                await _scrape_for(settle, port)
                return seconds, _resident(daemon.pid)
            finally:
                daemon.send_signal(signal.SIGTERM)
                await asyncio.wait_for(daemon.wait(), 15)


async def _scrape_for(seconds: float, port: int) -> None:
    """Scrape ``/metrics`` every five seconds, as OpenMetrics."""
    end = time.monotonic() + seconds
    async with httpx2.AsyncClient(trust_env=False) as http:
        while time.monotonic() < end:
            await asyncio.sleep(5)
            answer = await http.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": _OPENMETRICS})
            answer.raise_for_status()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _config(base_url: str, port: int) -> dict[str, object]:
    canary = {"target": "sim", "model": "sim-ok", "every": "30s", "timeouts": {"total": "20s"}}
    detector = {"type": "ratio", "over": "5m", "threshold": "50%"}
    return {
        "targets": {"sim": {"base_url": base_url, "api_key": "none"}},
        "canaries": {f"canary-{number}": canary for number in range(_CANARIES)},
        "alerts": {
            "rules": {"ErrorSpike": {"measure": "errors", "detector": detector}},
            "receivers": {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}},
        },
        "telemetry": {"otlp": {"endpoint": "http://127.0.0.1:9"}},  # no endpoint listens: the more expensive case
        "web": {"port": port},
    }


def _resident(pid: int) -> float:
    """Return the resident memory of a process in MB (10⁶ bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
