"""Measure the CPU time of one run in the daemon, with spans, metrics, history and three rules.

Daemon and simulator run in processes of their own, as ``streamcanary run`` and ``streamcanary simulate``. The daemon's
CPU time is that of all its threads, and includes scheduling, the store, rules and logs.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from bench.otlp_sink import otlp_sink
from bench.table import Row

_CANARIES, _EVERY = 200, 4  # 50 runs a second, so that a busy machine does not delay them
_WARM_UP, _MEASURED = 5.0, 10.0  # seconds; in the first, each canary runs once
_MAX_FAILED = 0.02  # of the runs; failed and skipped ones cost less
_START_TIMEOUT = 30.0  # seconds
_KEY = "sk-bench-Xq7Lw0Zt3Rk9Pm2Vb8Nc5Ys1Dg6Hf4J"  # of a usual length, because every text is searched for it
_RUNS = re.compile(r'^streamcanary_runs_total\{[^}]*outcome="(?P<outcome>\w+)"[^}]*\} (?P<value>\S+)', re.MULTILINE)


def rows() -> list[Row]:
    """Run the benchmark and return its rows."""
    with otlp_sink() as endpoint:
        return [
            _measure("spans, metrics, history, three rules", {}, budget="2.5 ms"),
            _measure("the same with OTLP", {"telemetry": {"otlp": {"endpoint": endpoint}}}),
            _measure("the same with `connection: reuse`", {}, connection="reuse"),
        ]


def _measure(name: str, changes: Mapping[str, object], *, connection: str = "new", budget: str = "") -> Row:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator_port, port = _free_port(), _free_port()
        stack.enter_context(_started(["simulate", "--port", str(simulator_port)]))
        _wait_for(f"http://127.0.0.1:{simulator_port}/v1/models")
        path = folder / "streamcanary.yaml"
        path.write_text(json.dumps({**_config(simulator_port, port, connection, folder), **changes}))  # JSON is YAML
        daemon = stack.enter_context(_started(["run", "-c", str(path)]))
        _wait_for(f"http://127.0.0.1:{port}/readyz")
        time.sleep(_WARM_UP)
        before, seconds = _runs(port), _cpu_seconds(daemon.pid)
        time.sleep(_MEASURED)
        seconds, after = _cpu_seconds(daemon.pid) - seconds, _runs(port)
    what = f"CPU a run in the daemon, {name}"
    runs, successful = after.total() - before.total(), after["ok"] - before["ok"]
    if successful < (1 - _MAX_FAILED) * runs:
        return Row(what, f"{runs - successful} of {runs} runs not ok", budget)
    return Row(what, f"{1000 * seconds / runs:.2f} ms", budget)


@contextmanager
def _started(arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the command line with ``arguments`` in a process of its own; stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamcanary", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(simulator_port: int, port: int, connection: str, folder: Path) -> dict[str, object]:
    canary = {"target": "sim", "model": "sim-ok", "every": f"{_EVERY}s", "connection": connection}
    return {
        "targets": {"sim": {"base_url": f"http://127.0.0.1:{simulator_port}/v1", "api_key": _KEY}},
        "canaries": {f"canary-{number}": canary for number in range(_CANARIES)},
        "alerts": {
            "rules": {
                "Spike": {"measure": "errors", "detector": {"type": "spike", "normal": "2%", "spike": "30%"}},
                "Ratio": {"measure": "errors", "detector": {"type": "ratio", "over": "5m", "threshold": "50%"}},
                "Retries": {"measure": "first_attempts", "detector": {"type": "consecutive", "failures": 3}},
            },
            "receivers": {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}},
        },
        "store": {"path": str(folder / "streamcanary.db")},
        "web": {"port": port},
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wait_for(url: str) -> None:
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end:
        try:
            if httpx2.get(url, trust_env=False).is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {_START_TIMEOUT:g} s")


def _runs(port: int) -> Counter[str]:
    """Return how many runs of the daemon have ended, by their outcome."""
    counts: Counter[str] = Counter()
    for match in _RUNS.finditer(httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=30).text):
        counts[match["outcome"]] += int(float(match["value"]))
    return counts


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")
