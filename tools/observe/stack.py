"""The programs of ``make observe``, started in the order in which they need each other."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct, field

from . import grafana
from .processes import StartFailed, choose_port, running
from .servers import CERTIFICATE, running_servers

ROOT = Path(__file__).parents[2]
_HERE = Path(__file__).parent
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the specification of Standard Webhooks
_FETCH_TIMEOUT = 2400.0  # seconds; the first time Prometheus, Jaeger and the Collector are compiled


class Stack(Struct, kw_only=True):
    """The running programs by their addresses; empty for one that is not available."""

    daemon: str = ""
    prometheus: str = ""
    otlp_prometheus: str = ""
    """The Prometheus that receives OTLP: the same, unless the tests compare both ways."""
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
    folder: Path, programs: Mapping[str, Path], *, compare_ways: bool = False, with_grafana: bool = True
) -> AsyncIterator[Stack]:
    """Run everything until the block ends; files and logs are in ``folder``.

    Prometheus scrapes the daemon, which sends traces and logs to the Collector. With ``compare_ways`` it sends its
    metrics there, too, and they arrive in a second Prometheus.

    Raises:
        StartFailed: if a program does not start; the message has its last lines.
    """
    taken: set[int] = set()
    ports = {
        name: choose_port(usual, taken)
        for name, usual in {
            "daemon": 9465,
            "prometheus": 9090,
            "otlp_http": 4318,
            "otlp_grpc": 4317,
            "jaeger": 16686,
            "jaeger_grpc": 16685,
            "jaeger_otlp": 14317,
            "jaeger_otlp_http": 14318,
            "grafana": 3000,
            "otlp_prometheus": 9091,
        }.items()
    }
    address = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    stack = Stack(folder=folder)
    async with AsyncExitStack() as cleanup:
        servers = await cleanup.enter_async_context(running_servers(_HERE / "timeline.yaml"))
        environ = {
            "OBSERVE_PROVIDER": servers.provider,
            "OBSERVE_TLS_PROVIDER": servers.tls_provider.replace(
                "127.0.0.1", "localhost"
            ),  # so that there is a DNS phase
            "OBSERVE_CA": str(CERTIFICATE),
            "OBSERVE_RECEIVERS": servers.receivers,
            "OBSERVE_SECRET": _SECRET,
            "OBSERVE_OTLP": address["otlp_http"],
            "OBSERVE_FOLDER": str(folder),
            "STREAMCANARY_WEB__PORT": str(ports["daemon"]),
        }
        config = folder / "daemon.yaml"
        signals = "[traces, metrics, logs]" if compare_ways else "[traces, logs]"
        text = (_HERE / "daemon.yaml").read_text(encoding="utf-8")
        config.write_text(text.replace("signals: [traces, logs]", f"signals: {signals}"), encoding="utf-8")
        rules = _rules(config, environ)

        async def start(name: str, command: list[str], ready: str | None, **more: str) -> None:
            await cleanup.enter_async_context(running(name, command, folder, ready=ready, environ={**environ, **more}))

        if "jaeger" in programs:
            await start(
                "jaeger",
                [str(programs["jaeger"]), "--config", str(_HERE / "jaeger.yaml")],
                f"{address['jaeger']}/api/services",
                JAEGER_HTTP=f"127.0.0.1:{ports['jaeger']}",
                JAEGER_GRPC=f"127.0.0.1:{ports['jaeger_grpc']}",
                JAEGER_OTLP=f"127.0.0.1:{ports['jaeger_otlp']}",
                JAEGER_OTLP_HTTP=f"127.0.0.1:{ports['jaeger_otlp_http']}",
                OTEL_TRACES_SAMPLER="always_off",  # no traces of its own
            )
            stack.jaeger = address["jaeger"]
        if "prometheus" in programs:
            for name in ("prometheus", "otlp_prometheus") if compare_ways else ("prometheus",):
                prometheus_config = _prometheus_config(
                    folder, name, rules, daemon=ports["daemon"] if name == "prometheus" else None
                )
                await start(
                    name,
                    [
                        str(programs["prometheus"]),
                        f"--config.file={prometheus_config}",
                        f"--storage.tsdb.path={folder / name}",
                        f"--web.listen-address=127.0.0.1:{ports[name]}",
                        "--web.enable-otlp-receiver",
                        "--enable-feature=exemplar-storage",
                    ],
                    f"{address[name]}/-/ready",
                )
            stack.prometheus = address["prometheus"]
            stack.otlp_prometheus = address["otlp_prometheus" if compare_ways else "prometheus"]
        if "otelcol" in programs:
            await start(
                "otelcol",
                [str(programs["otelcol"]), "--config", str(ROOT / "config" / "otel-collector.yaml")],
                None,
                OTLP_HTTP=f"127.0.0.1:{ports['otlp_http']}",
                OTLP_GRPC=f"127.0.0.1:{ports['otlp_grpc']}",
                TRACES_GRPC=f"127.0.0.1:{ports['jaeger_otlp']}",
                PROMETHEUS_URL=stack.otlp_prometheus or address["prometheus"],
            )
            stack.collector = address["otlp_http"]
        await start(
            "streamcanary",
            [sys.executable, "-m", "streamcanary", "run", "-c", str(config)],
            f"{address['daemon']}/readyz",
        )
        stack.daemon = address["daemon"]
        await start(
            "application", [sys.executable, str(_HERE / "application.py"), servers.provider, address["otlp_http"]], None
        )
        if with_grafana and (command := grafana.find_command()):
            settings = grafana.environment(folder, ports["grafana"], prometheus=stack.prometheus, traces=stack.jaeger)
            await start("grafana", command, f"{address['grafana']}/api/health", **settings)
            stack.grafana = address["grafana"]
        yield stack


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


def _prometheus_config(folder: Path, name: str, rules: Path, *, daemon: int | None) -> Path:
    """Write ``config/prometheus.yaml`` with the address of the daemon, scraped every second; or without a scrape."""
    text = (ROOT / "config" / "prometheus.yaml").read_text(encoding="utf-8")
    targets = f'targets: ["127.0.0.1:{daemon}"]' if daemon else "targets: []"
    for pattern, replacement in (
        (r'targets: \["127\.0\.0\.1:9465"\]', targets),
        (r"(scrape|evaluation)_interval: 15s", r"\1_interval: 1s"),
        (r"rule_files: .*", f"rule_files: [{rules}]"),
    ):
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise StartFailed(f"config/prometheus.yaml has nothing like {pattern}")
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path
