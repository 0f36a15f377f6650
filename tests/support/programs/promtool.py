"""The real promtool, which checks a rule file, and computes the times at which its alerts fire."""

import math
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.model import names, prometheus_names
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import parse_duration
from streamcanary.model.outcome import Outcome
from support.programs.required_tools import require_tool
from support.store.builders import FrozenClock

SCRAPE = 15.0
"""Seconds between two scrapes, and between two evaluations."""

_FAILED = re.compile(r"(?:name: (?P<name>[^,]+),\s*)?alertname: (?P<alert>[^,]+), time: (?P<time>\w+),")


def check_rules(folder: Path, rules: str) -> tuple[int, str]:
    """Check a rule file; return the exit code and the output."""
    path = folder / "rules.yml"
    path.write_text(rules)
    return _promtool(folder, "check", "rules", str(path))


def check_metrics(text: str) -> tuple[int, str]:
    """Check the text of ``/metrics``; return the exit code and the output."""
    completed = subprocess.run(
        [str(require_tool("promtool")), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return completed.returncode, completed.stdout + completed.stderr


def run_tests(
    folder: Path, rules: str, tests: list[dict[str, Any]], evaluation_interval: float = SCRAPE
) -> tuple[int, str]:
    """Run tests of a rule file that is evaluated every ``evaluation_interval`` seconds.

    Returns the exit code and the output.
    """
    (folder / "rules.yml").write_text(rules)
    content = {"rule_files": ["rules.yml"], "evaluation_interval": f"{evaluation_interval:g}s", "tests": tests}
    path = folder / "tests.yml"
    path.write_bytes(msgspec.json.encode(content))  # JSON is YAML
    return _promtool(folder, "test", "rules", str(path))


def firing_times(
    folder: Path, rules: str, alertname: str, series_by_case: Mapping[str, list[dict[str, str]]]
) -> dict[str, list[float]]:
    """Return for each case of ``series_by_case`` the seconds after its start at which ``alertname`` fires."""
    return firing_times_by_alert(folder, rules, [alertname], series_by_case)[alertname]


def firing_times_by_alert(
    folder: Path, rules: str, alertnames: Iterable[str], series_by_case: Mapping[str, list[dict[str, str]]]
) -> dict[str, dict[str, list[float]]]:
    """Return for each alert, and each case of ``series_by_case``, the seconds after its start at which it fires.

    The tests expect no alert at each evaluation up to the end of the series; promtool reports the times at which one
    fires.
    """
    alertnames = list(alertnames)
    tests = [
        {
            "name": name,
            "interval": f"{SCRAPE:g}s",
            "input_series": series,
            "alert_rule_test": [
                {"eval_time": f"{SCRAPE * number:g}s", "alertname": alertname, "exp_alerts": []}
                for number in range(len(series[0]["values"].split()))
                for alertname in alertnames
            ],
        }
        for name, series in series_by_case.items()
    ]
    code, output = run_tests(folder, rules, tests)
    found: dict[str, dict[str, list[float]]] = {alert: {name: [] for name in series_by_case} for alert in alertnames}
    for failure in _FAILED.finditer(output):
        found[failure["alert"]][failure["name"]].append(parse_duration(failure["time"]))
    assert (code == 1) == any(times for cases in found.values() for times in cases.values()), output
    return found


def scraped_series(
    canary: Canary,
    outcomes: Iterable[Outcome],
    until: float,
    monkeypatch: pytest.MonkeyPatch,
    *,
    restart: float = math.inf,
) -> list[dict[str, str]]:
    """Return the series that Prometheus would have scraped from the instruments of the daemon from time 0 on.

    The daemon restarts at ``restart`` seconds, which resets its counters.
    """
    waiting = sorted(outcomes, key=lambda outcome: outcome.started + outcome.duration)
    series: dict[str, list[str]] = {}
    reader, instruments = _instruments(canary, monkeypatch)
    for number in range(int(until / SCRAPE) + 1):
        now = number * SCRAPE
        while waiting and waiting[0].started + waiting[0].duration <= now:
            outcome = waiting.pop(0)
            if outcome.started >= restart:
                (reader, instruments), restart = _instruments(canary, monkeypatch), math.inf
            instruments.record_run(canary, outcome, Context())
        points = dict(_points(reader))
        for name in series.keys() | points.keys():
            written = str(points[name]) if name in points else "stale"
            series.setdefault(name, ["_"] * number).append(written)
    return [{"series": name, "values": " ".join(values)} for name, values in sorted(series.items())]


def _instruments(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> tuple[InMemoryMetricReader, CanaryMetrics]:
    reader = InMemoryMetricReader()
    with monkeypatch.context() as patched:
        patched.setattr(metrics, "get_meter", MeterProvider([reader], shutdown_on_exit=False).get_meter)
        instruments = CanaryMetrics(FrozenClock())
    instruments.initialize_series(canary)
    return reader, instruments


def _points(reader: InMemoryMetricReader) -> Iterable[tuple[str, int]]:
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                used = (names.RUNS, names.FAILURES, names.CERTIFICATE_EXPIRY)
                instrument = {each.name: each for each in used}.get(metric.name)
                if instrument is not None:
                    for point in metric.data.data_points:
                        labels = {**(point.attributes or {}), "job": "streamcanary", "instance": "pod:9465"}
                        written = ", ".join(
                            f'{prometheus_names.label_name(key)}="{value}"' for key, value in sorted(labels.items())
                        )
                        yield f"{prometheus_names.metric_name(instrument)}{{{written}}}", int(point.value)


def _promtool(folder: Path, *arguments: str) -> tuple[int, str]:
    completed = subprocess.run(
        [str(require_tool("promtool")), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return completed.returncode, completed.stdout + completed.stderr
