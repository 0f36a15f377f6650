"""Daemons in several regions, their series as Prometheus scrapes them, and when alerts about them fire."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

from msgspec import Struct

from streamcanary.alerting.prometheus.vantage_queries import VantageRuleOptions
from streamcanary.alerting.prometheus.vantage_rules import export_vantage_rules
from support.programs.promtool import SCRAPE, firing_times_by_alert

BEGIN, END = 1800.0, 3600.0
"""The time of an outage, in seconds."""

REGIONS = ("ap", "eu", "us")
ALERTS = (
    "ProviderDown",
    "VantagePointFailing",
    "VantagePointSilent",
    "VantagePointsMissing",
    "CanaryVantagePointsMissing",
)

Result = str | None
"""``ok``, ``slow``, ``bad``, ``rejected`` (blame on the configuration), ``broken`` (an internal error), or ``None``."""

_OUTCOMES = {"ok": "ok", "slow": "slow", "bad": "failed", "rejected": "failed", "broken": "internal_error"}
_FAULTS = {
    "bad": {"error_type": "server_error", "blame": "provider"},
    "rejected": {"error_type": "auth_failed", "blame": "config"},
}
_CANARY = {"target": "openai", "provider": "openai"}


class Process(Struct, frozen=True, kw_only=True):
    """A daemon in ``region`` that runs ``canary`` every ``every`` seconds.

    ``result`` returns the result of a run by its time. The process exists from ``born`` to ``gone``, and restarts at
    ``restarts``, which resets its counters. It has no metrics in the times of ``unscraped``. ``owns`` returns whether
    it has the canary at a time; the series of a canary that it has no more stay as they were. ``replicas`` is the
    size of a fleet of which it is a member. Times are in seconds.
    """

    region: str
    result: Callable[[float], Result]
    pod: str = "canary-0"
    every: float = 30.0
    phase: float = 7.0
    canary: str = "chat"
    born: float = -math.inf
    gone: float = math.inf
    restarts: tuple[float, ...] = ()
    unscraped: tuple[tuple[float, float], ...] = ()
    owns: Callable[[float], bool] = lambda time: True
    replicas: int = 0
    labels: dict[str, str] = {}

    def series(self, until: float) -> list[dict[str, str]]:
        """Return the series up to ``until`` seconds."""
        begin = max(self.born, -3600.0)
        first = math.ceil((begin - self.phase) / self.every)
        runs = [self.phase + number * self.every for number in range(first, int(until / self.every) + 1)]
        results = [(time, self.result(time)) for time in runs if time < self.gone and self.owns(time)]
        done = [(time, result) for time, result in results if result]
        process = {"job": "streamcanary", "namespace": "monitoring", "instance": f"{self.pod}:9465", "pod": self.pod}
        process |= {"region": self.region, **self.labels}
        canary = {**process, "canary": self.canary, **_CANARY}
        interval = self.every * max(1, self.replicas)
        series = [
            self._gauge("streamcanary_canary_interval_seconds", canary, [(begin, interval)], until),
            self._gauge("streamcanary_last_run_time_seconds", canary, [(time, time) for time, _ in done], until),
        ]
        if self.replicas:
            series.append(self._gauge("streamcanary_fleet_members", process, [(begin, self.replicas)], until))
        for outcome in ("ok", "slow", "failed", "failed_over", "internal_error", "skipped"):
            times = [time for time, result in done if _OUTCOMES[result] == outcome]
            labels = {**canary, "outcome": outcome}
            series.append(self._counter("streamcanary_runs_total", labels, times, until, starts_at_zero=True))
        for word, fault in _FAULTS.items():
            times = [time for time, result in done if result == word]
            labels = {**canary, "outcome": "failed", **fault}
            series.append(self._counter("streamcanary_failures_total", labels, times, until, starts_at_zero=False))
        return [one for one in series if set(one["values"].split()) - {"_", "stale"}]

    def _gauge(
        self, name: str, labels: dict[str, str], changes: list[tuple[float, float]], until: float
    ) -> dict[str, str]:
        times = [time for time, _ in changes]

        def value(time: float) -> float | None:
            position = bisect_right(times, time)
            return changes[position - 1][1] if position else None

        return {"series": _series(name, labels), "values": " ".join(self._scraped(value, until))}

    def _counter(
        self, name: str, labels: dict[str, str], times: list[float], until: float, *, starts_at_zero: bool
    ) -> dict[str, str]:
        def value(time: float) -> float | None:
            started = max((restart for restart in self.restarts if restart <= time), default=-math.inf)
            count = bisect_right(times, time) - bisect_right(times, started)
            return count if count or starts_at_zero else None

        return {"series": _series(name, labels), "values": " ".join(self._scraped(value, until))}

    def _scraped(self, value: Callable[[float], float | None], until: float) -> Iterator[str]:
        """Yield what each scrape finds."""
        was_there = False
        for number in range(int(until / SCRAPE) + 1):
            time = number * SCRAPE
            is_up = self.born <= time < self.gone
            is_up = is_up and not any(begin <= time < end for begin, end in self.unscraped)
            found = value(time) if is_up else None
            if found is None:
                yield "stale" if was_there else "_"
            else:
                yield f"{found:.10g}"
            was_there = found is not None


def _series(name: str, labels: dict[str, str]) -> str:
    written = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{written}}}"


def rules(**options) -> str:
    """Return the rule file for canaries that run every 30 seconds."""
    return export_vantage_rules(VantageRuleOptions(**{"intervals": (30.0,), **options}))


RULES = rules()


def good(time: float) -> Result:
    """Return the result of a run of a healthy provider."""
    return "ok"


def outage(begin: float = BEGIN, end: float = END, word: Result = "bad") -> Callable[[float], Result]:
    """Return results that are ``word`` during an outage, and good otherwise."""
    return lambda time: word if begin <= time < end else "ok"


def partial_outage(share: float, seed: int, begin: float = BEGIN, end: float = END) -> Callable[[float], Result]:
    """Return results of which ``share`` are bad during an outage, independent of each other."""
    return lambda time: (
        "bad" if begin <= time < end and Random(f"{seed} {time:.3f}").random() < share else "ok"  # noqa: S311
    )


def three(*failing: str, result: Callable[[float], Result] | None = None, **fields) -> list[Process]:
    """Return a process in each of three regions; those in ``failing`` have the results of ``result``, an outage."""
    bad = result or outage()
    return [
        Process(region=region, result=bad if region in failing else good, phase=5.0 + 7 * number, **fields)
        for number, region in enumerate(REGIONS)
    ]


def alerts_by_name(
    folder: Path, until: float = 5400, text: str = RULES, **cases: list[Process]
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the begin and the last time of each alert, by its name and by the case, up to ``until`` seconds."""
    series = {
        name: [one for process in processes for one in process.series(until)] for name, processes in cases.items()
    }
    found = firing_times_by_alert(folder, text, ALERTS, series)
    return {alert: {case: spans(times) for case, times in by_case.items()} for alert, by_case in found.items()}


def spans(times: list[float], longest_gap: float = 2 * SCRAPE) -> list[tuple[float, float]]:
    """Return ``times`` as the begin and the last time of each alert."""
    ends = [before for before, after in pairwise(times) if after - before > longest_gap]
    begins = [after for before, after in pairwise(times) if after - before > longest_gap]
    return list(zip([times[0], *begins], [*ends, times[-1]], strict=True)) if times else []


def firing(found: dict[str, dict[str, list[tuple[float, float]]]]) -> set[tuple[str, str]]:
    """Return the alerts that fire in a case, as pairs of both names."""
    return {(alert, case) for alert, by_case in found.items() for case, alerts in by_case.items() if alerts}


def alerts_at(time: float, alert: str, *expected: tuple[dict[str, str], dict[str, str]]) -> dict[str, object]:
    """Return the test that these alerts, labels and annotations, fire at ``time``."""
    alerts = [{"exp_labels": labels, "exp_annotations": annotations} for labels, annotations in expected]
    return {"eval_time": f"{time:g}s", "alertname": alert, "exp_alerts": alerts}
