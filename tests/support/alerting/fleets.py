"""Series of the members of a fleet, as Prometheus scrapes them, for tests of rules with promtool."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator

from msgspec import Struct

from support.programs.promtool import SCRAPE

CANARY = {"canary": "chat", "target": "openai", "provider": "openai"}

_OF_PROCESS = ("streamcanary_fleet_", "streamcanary_config_")

Result = str | None
"""``ok``, ``bad``, ``broken`` (an internal error), or ``None`` if there is no run."""


class Fleet(Struct, frozen=True, kw_only=True):
    """A fleet with ``members``, of which each runs every ``every`` times ``replicas`` seconds, evenly spread.

    ``result`` returns the result of the run of a member at a time. ``job`` and the further ``labels`` of a member, by
    its number, tell fleets and their parts apart. Members exist from ``born`` to ``gone``, in seconds. Without
    ``is_fleet``, the configuration of the daemons has no fleet.
    """

    members: int
    every: float
    replicas: int
    result: Callable[[int, float], Result]
    job: str = "shop"
    labels: Callable[[int], dict[str, str]] = lambda member: {}
    born: float = -math.inf
    gone: float = math.inf
    is_fleet: bool = True

    @property
    def interval(self) -> float:
        """The seconds between two runs of a member."""
        return self.every * self.replicas

    def series(self, until: float) -> list[dict[str, str]]:
        """Return the series of all members up to ``until`` seconds."""
        return [one for member in range(self.members) for one in self._member_series(member, until)]

    def _member_series(self, member: int, until: float) -> list[dict[str, str]]:
        first = (member * 0.618034 % 1) * self.interval  # neighbours are far apart
        began = max(self.born, -10 * self.interval)
        due = [first + number * self.interval for number in range(-11, int(until / self.interval) + 1)]
        results = [(time, self.result(member, time)) for time in due if began <= time < self.gone]
        gauges = {
            "streamcanary_canary_interval_seconds": [(began, self.interval)],
            "streamcanary_fleet_members": [(began, self.replicas)] if self.is_fleet else [],
            "streamcanary_config_last_reload_success_time_seconds": [(began, began)],
            "streamcanary_last_run_time_seconds": [(time, time) for time, result in results if result],
            "streamcanary_last_success_time_seconds": [(time, time) for time, result in results if result == "ok"],
            "streamcanary_last_failure_time_seconds": [(time, time) for time, result in results if result == "bad"],
        }
        process = {"job": self.job, "instance": f"pod-{member}:9465", "pod": f"pod-{member}", **self.labels(member)}
        return [
            {
                "series": _series(name, process | ({} if name.startswith(_OF_PROCESS) else CANARY)),
                "values": " ".join(self._scraped(changes, until)),
            }
            for name, changes in gauges.items()
            if changes
        ]

    def _scraped(self, changes: list[tuple[float, float]], until: float) -> Iterator[str]:
        """Yield the value at each scrape of a gauge that has ``changes``: times and values."""
        times = [time for time, _ in changes]
        for number in range(int(until / SCRAPE) + 1):
            position = bisect_right(times, number * SCRAPE)
            if number * SCRAPE >= self.gone:
                yield "stale"
            else:
                yield f"{changes[position - 1][1]:.3f}" if position else "_"


def _series(name: str, labels: dict[str, str]) -> str:
    written = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{written}}}"
