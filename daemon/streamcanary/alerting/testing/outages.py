"""Past outages: alerts of a backtest that are about the same failures, and how soon each rule detected them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from streamcanary.alerting.notify.message import rfc3339

MAX_OUTAGES: Final = 1000
"""The number of past outages that a report lists, the first ones."""

MAX_CANARIES: Final = 50
"""The number of canaries that an outage names."""

_GAP = 300.0  # seconds between two alerts of the same outage


class OutageAlert(Struct, frozen=True, kw_only=True):
    """An alert of ``rule`` about ``canaries`` of ``targets``, of which ``failing`` are known to fail.

    Its first failure was at ``began``; it ``fired`` then, until ``end``. Times are seconds since the epoch.
    ``is_recorded`` says that it fired in the daemon, with the rules of that time.
    """

    rule: str
    canaries: frozenset[str]
    targets: frozenset[str]
    failing: tuple[str, ...]
    began: float
    fired: float
    end: float
    is_recorded: bool = False


class PastOutage(Struct, frozen=True, kw_only=True):
    """Failures from ``began`` to ``end`` (seconds since the epoch) of ``canaries``, at most :data:`MAX_CANARIES`.

    ``delays`` are the seconds from ``began``, the first failure that an alert is about, until each rule fired;
    ``None`` if it did not. ``recorded`` are those until the first alert of the daemon, with the rules of that time;
    ``None`` if the store has no such alert (any more).
    """

    began: float
    end: float
    canaries: tuple[str, ...]
    canary_count: int
    delays: dict[str, float | None]
    recorded: float | None = None

    @property
    def first(self) -> str | None:
        """The rule that detected it first."""
        detected = [(delay, name) for name, delay in self.delays.items() if delay is not None]
        return min(detected)[1] if detected else None

    def to_dict(self) -> dict[str, Any]:
        """Return the outage as plain data, with times in RFC 3339."""
        return {
            "began": rfc3339(self.began),
            "until": rfc3339(self.end),
            "canaries": list(self.canaries),
            "canary_count": self.canary_count,
            "delays": self.delays,
            "first": self.first,
            "recorded": self.recorded,
        }


def past_outages(alerts: Iterable[OutageAlert], watching: Mapping[str, frozenset[str]]) -> list[PastOutage]:
    """Return the outages that ``alerts`` are about, oldest first, with a delay for each rule that watches the canaries.

    Alerts are about the same outage if they overlap in time, or follow within five minutes, and about a common target.
    ``watching`` are the canaries that each rule watches: a rule that watches none of an outage has no delay in it.
    """
    clusters: list[list[OutageAlert]] = []
    latest: list[tuple[float, frozenset[str]]] = []  # the end and the targets of each cluster
    open_numbers: list[int] = []
    for alert in sorted(alerts, key=lambda alert: alert.began):
        open_numbers = [number for number in open_numbers if latest[number][0] + _GAP >= alert.began]
        same = [number for number in open_numbers if latest[number][1] & alert.targets]
        if not same:
            open_numbers.append(len(clusters))
            clusters.append([alert])
            latest.append((alert.end, alert.targets))
            continue
        first, *others = same  # an alert of several targets joins what was apart
        for number in others:
            clusters[first] += clusters[number]
            clusters[number] = []
        clusters[first].append(alert)
        ends, targets = zip(*(latest[number] for number in same), strict=True)
        latest[first] = max(*ends, alert.end), frozenset().union(*targets, alert.targets)
        open_numbers = [number for number in open_numbers if number not in others]
    found = [_outage(cluster, watching) for cluster in clusters if cluster]
    return sorted(found, key=lambda outage: outage.began)[:MAX_OUTAGES]


def _outage(alerts: Sequence[OutageAlert], watching: Mapping[str, frozenset[str]]) -> PastOutage:
    began = min(alert.began for alert in alerts)
    failing = sorted({name for alert in alerts for name in alert.failing})
    canaries = frozenset().union(*(alert.canaries for alert in alerts))
    fired: dict[str, float] = {}
    recorded = [alert.fired for alert in alerts if alert.is_recorded]
    for alert in alerts:
        if alert.is_recorded:
            continue
        fired[alert.rule] = min(fired.get(alert.rule, alert.fired), alert.fired)
    return PastOutage(
        began=began,
        end=max(alert.end for alert in alerts),
        canaries=tuple(failing[:MAX_CANARIES]),
        canary_count=len(failing),
        delays={
            name: max(0.0, fired[name] - began) if name in fired else None
            for name, watched in watching.items()
            if name in fired or watched & canaries
        },
        recorded=max(0.0, min(recorded) - began) if recorded else None,
    )
