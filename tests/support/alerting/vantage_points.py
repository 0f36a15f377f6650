"""Series of daemons in several regions, as Prometheus scrapes them, for tests of rules with promtool."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator

from msgspec import Struct

from support.programs.promtool import SCRAPE

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
