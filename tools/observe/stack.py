"""The programs of ``make observe``, started in the order in which they need each other."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct, field

from . import grafana
from .processes import StartFailed, choose_port, end_task, pause_repeatedly, running
from .servers import CERTIFICATE, Servers, running_servers

ROOT = Path(__file__).parents[2]
_HERE = Path(__file__).parent
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the specification of Standard Webhooks
_FETCH_TIMEOUT = 2400.0  # seconds; the first time Prometheus, Jaeger and the Collector are compiled

REPLICAS = ("replica-1", "replica-2")
"""The daemons that share a database."""
_USUAL_PORTS = {
    "daemon": 9465,
    **dict(zip(REPLICAS, (9466, 9467), strict=True)),
    "prometheus": 9090,
    "otlp_http": 4318,
    "otlp_grpc": 4317,
    "jaeger": 16686,
    "jaeger_grpc": 16685,
    "jaeger_otlp": 14317,
    "jaeger_otlp_http": 14318,
    "grafana": 3000,
    "otlp_prometheus": 9091,
}


class Stack(Struct, kw_only=True):
    """The running programs by their addresses; empty for one that is not available."""

    daemon: str = ""
    prometheus: str = ""
    otlp_prometheus: str = ""
    """The Prometheus that receives OTLP: the same, unless the tests compare both ways."""
    replicas: tuple[str, ...] = ()
    collector: str = ""
    jaeger: str = ""
    grafana: str = ""
    folder: Path
    missing: dict[str, str] = field(default_factory=dict)
    """Why a program is not available, by its name."""


def find_programs(names: tuple[str, ...], *, build: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the paths of the programs of ``tools/fetch.py``, and the reasons why the others are missing."""
    found, missing = {}, {}
    for name in names:
        command = [sys.executable, str(ROOT / "tools" / "fetch.py"), *([] if build else ["--find"]), name]
        outcome = subprocess.run(  # noqa: S603 - the names are constants
            command,
            stdout=subprocess.PIPE,
            stderr=None if build else subprocess.PIPE,
            text=True,
            timeout=_FETCH_TIMEOUT,
            check=False,
        )
        if path := outcome.stdout.strip():
            found[name] = Path(path)
        else:
            missing[name] = (outcome.stderr or "").strip() or "see above"
    return found, missing


@asynccontextmanager
async def running_stack(
    folder: Path,
    programs: Mapping[str, Path],
    *,
    database: str | None = None,
    compare_ways: bool = False,
    with_grafana: bool = True,
) -> AsyncIterator[Stack]:
    """Run everything until the block ends; files and logs are in ``folder``.

    Prometheus scrapes the daemons, which send traces and logs to the Collector. With ``compare_ways`` they send their
    metrics there, too, and these arrive in a second Prometheus. ``database`` is the URL of an empty PostgreSQL, which
    two further daemons share; without it there are none.

    Raises:
        StartFailed: if a program does not start; the message has its last lines.
    """
    async with AsyncExitStack() as cleanup:
        servers = await cleanup.enter_async_context(running_servers(_HERE / "timeline.yaml"))
        launcher = _Launcher(cleanup, folder, servers, compare_ways=compare_ways)
        if "jaeger" in programs:
            await launcher.start_jaeger(programs["jaeger"])
        if "prometheus" in programs:
            await launcher.start_prometheus(programs["prometheus"], replicas=bool(database))
        if "otelcol" in programs:
            await launcher.start_collector(programs["otelcol"])
        await launcher.start_daemon()
        if database:
            await launcher.start_replicas(database)
        await launcher.start_application()
        if with_grafana and (command := grafana.find_command()):
            await launcher.start_grafana(command)
        yield launcher.stack


class _Launcher:
    """Starts the programs, and notes their addresses in ``stack``; ``cleanup`` ends them."""

    def __init__(self, cleanup: AsyncExitStack, folder: Path, servers: Servers, *, compare_ways: bool) -> None:
        taken: set[int] = set()
        self._ports = {name: choose_port(usual, taken) for name, usual in _USUAL_PORTS.items()}
        self._addresses = {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}
        self._cleanup = cleanup
        self._folder = folder
        self._servers = servers
        self._compare_ways = compare_ways
        self._environ = {
            "OBSERVE_PROVIDER": servers.provider,
            # a name, so that there is a DNS phase
            "OBSERVE_TLS_PROVIDER": servers.tls_provider.replace("127.0.0.1", "localhost"),
            "OBSERVE_CA": str(CERTIFICATE),
            "OBSERVE_RECEIVERS": servers.receivers,
            "OBSERVE_SECRET": _SECRET,
            "OBSERVE_OTLP": self._addresses["otlp_http"],
            "OBSERVE_FOLDER": str(folder),
        }
        self.stack = Stack(folder=folder)

    async def start_jaeger(self, program: Path) -> None:
        """Start Jaeger, which sends no traces of its own."""
        await self._start(
            "jaeger",
            [str(program), "--config", str(_HERE / "jaeger.yaml")],
            f"{self._addresses['jaeger']}/api/services",
            JAEGER_HTTP=self._host("jaeger"),
            JAEGER_GRPC=self._host("jaeger_grpc"),
            JAEGER_OTLP=self._host("jaeger_otlp"),
            JAEGER_OTLP_HTTP=self._host("jaeger_otlp_http"),
            OTEL_TRACES_SAMPLER="always_off",
        )
        self.stack.jaeger = self._addresses["jaeger"]

    async def start_prometheus(self, program: Path, *, replicas: bool) -> None:
        """Start Prometheus, and a second one to compare the ways of metrics."""
        rules = _rules(self._config("daemon"), self._environ)
        jobs = {"streamcanary": [self._host("daemon")]}
        if replicas:
            jobs["streamcanary-replicas"] = [self._host(name) for name in REPLICAS]
        for name in ("prometheus", "otlp_prometheus") if self._compare_ways else ("prometheus",):
            config = _prometheus_config(self._folder, name, rules, jobs if name == "prometheus" else {})
            command = [
                str(program),
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / name}",
                f"--web.listen-address={self._host(name)}",
                "--web.enable-otlp-receiver",
                "--enable-feature=exemplar-storage",
            ]
            await self._start(name, command, f"{self._addresses[name]}/-/ready")
        self.stack.prometheus = self._addresses["prometheus"]
        self.stack.otlp_prometheus = self._addresses["otlp_prometheus" if self._compare_ways else "prometheus"]

    async def start_collector(self, program: Path) -> None:
        """Start the Collector."""
        await self._start(
            "otelcol",
            [str(program), "--config", str(ROOT / "config" / "otel-collector.yaml")],
            None,
            OTLP_HTTP=self._host("otlp_http"),
            OTLP_GRPC=self._host("otlp_grpc"),
            TRACES_GRPC=self._host("jaeger_otlp"),
            PROMETHEUS_URL=self.stack.otlp_prometheus or self._addresses["prometheus"],
        )
        self.stack.collector = self._addresses["otlp_http"]

    async def start_daemon(self) -> None:
        """Start the daemon with a store of its own."""
        await self._run_daemon("daemon", self._config("daemon"))
        self.stack.daemon = self._addresses["daemon"]

    async def start_replicas(self, database: str) -> None:
        """Start two daemons that share ``database``; one of them is paused for longer than its lease, once a minute."""
        config = self._config("replicas")
        processes = [
            await self._run_daemon(name, config, OBSERVE_DATABASE=database, OBSERVE_REPLICA=name) for name in REPLICAS
        ]
        pausing = asyncio.create_task(pause_repeatedly(processes[-1]))
        self._cleanup.push_async_callback(end_task, pausing)
        self.stack.replicas = tuple(self._addresses[name] for name in REPLICAS)

    async def start_application(self) -> None:
        """Start the application."""
        command = [sys.executable, str(_HERE / "application.py"), self._servers.provider, self._addresses["otlp_http"]]
        await self._start("application", command, None)

    async def start_grafana(self, command: list[str]) -> None:
        """Start Grafana."""
        settings = grafana.environment(
            self._folder, self._ports["grafana"], prometheus=self.stack.prometheus, traces=self.stack.jaeger
        )
        await self._start("grafana", command, f"{self._addresses['grafana']}/api/health", **settings)
        self.stack.grafana = self._addresses["grafana"]

    def _config(self, name: str) -> Path:
        """Write a configuration of daemons, with the signals that they send, and return its path."""
        signals = "[traces, metrics, logs]" if self._compare_ways else "[traces, logs]"
        text = (_HERE / f"{name}.yaml").read_text(encoding="utf-8")
        path = self._folder / f"{name}.yaml"
        path.write_text(text.replace("signals: [traces, logs]", f"signals: {signals}"), encoding="utf-8")
        return path

    async def _run_daemon(self, name: str, config: Path, **environ: str) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "streamcanary", "run", "-c", str(config)]
        port = str(self._ports[name])
        ready = f"{self._addresses[name]}/readyz"
        return await self._start(
            "streamcanary" if name == "daemon" else name, command, ready, STREAMCANARY_WEB__PORT=port, **environ
        )

    async def _start(
        self, name: str, command: list[str], ready: str | None, **environ: str
    ) -> asyncio.subprocess.Process:
        program = running(name, command, self._folder, ready=ready, environ={**self._environ, **environ})
        return await self._cleanup.enter_async_context(program)

    def _host(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"


def _rules(config: Path, environ: Mapping[str, str]) -> Path:
    """Write the rules of the daemon for Prometheus, evaluated every second."""
    command = [sys.executable, "-m", "streamcanary", "rules", "-c", str(config)]
    outcome = subprocess.run(  # noqa: S603 - the command is a constant
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environ}, check=False
    )
    if outcome.returncode:
        raise StartFailed(f"the configuration of the daemon is invalid: {outcome.stderr.strip()}")
    path = config.with_name("streamcanary-rules.yaml")
    path.write_text(outcome.stdout.replace("interval: 30s", "interval: 1s"))
    return path


def _prometheus_config(folder: Path, name: str, rules: Path, jobs: Mapping[str, Sequence[str]]) -> Path:
    """Write ``config/prometheus.yaml`` with the targets of each of ``jobs``, scraped every second."""
    text = (ROOT / "config" / "prometheus.yaml").read_text(encoding="utf-8")
    scrapes = "".join(
        f"\n  - job_name: {job}\n    static_configs: [{{targets: {json.dumps(targets)}}}]"
        for job, targets in jobs.items()
    )
    for pattern, replacement in (
        (r"(?<=scrape_configs:)\n  - job_name: streamcanary\n    static_configs: .*", scrapes or " []"),
        (r"(scrape|evaluation)_interval: 15s", r"\1_interval: 1s"),
        (r"rule_files: .*", f"rule_files: [{rules}]"),
    ):
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise StartFailed(f"config/prometheus.yaml has nothing like {pattern}")
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path
