"""What all rules do for all canaries, equal ones together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.detectors import BurnRate, NoData, Ratio
from streamcanary.alerting.engine.bindings import SLACK
from streamcanary.alerting.forecast.detector_forecast import Forecast, forecast
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.schedule import Schedule


class Consequence(NamedTuple):
    """What ``rule`` does for each of ``canaries``, which run equally often."""

    rule: str
    canaries: tuple[Canary, ...]
    forecast: Forecast

    @property
    def false_pages(self) -> float:
        """The false pages in a month, of all these canaries together."""
        return self.forecast.false_pages * len(self.canaries)


def consequences(rules: Mapping[str, Rule], canaries: Sequence[Canary], normal: float) -> list[Consequence]:
    """Return what each of ``rules`` does for the canaries that it watches, where ``normal`` of the runs fail.

    A rule about the absence of samples has none of these consequences, and is left out; see :func:`absences`.

    Raises:
        ValueError: if a detector does not fit a canary, which a configuration that was loaded does not have.
    """
    found = []
    for name, rule in rules.items():
        if isinstance(rule.detector, NoData):
            continue
        alike: dict[Schedule, list[Canary]] = {}
        for canary in canaries:
            if rule.watches(canary):
                alike.setdefault(canary.schedule, []).append(canary)
        found += [Consequence(name, tuple(some), forecast(rule.detector, some[0], normal)) for some in alike.values()]
    return found


class Absence(NamedTuple):
    """How long after the last run of each of ``canaries`` the ``rule`` fires, on average in seconds."""

    rule: str
    canaries: tuple[Canary, ...]
    seconds: float


def absences(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[Absence]:
    """Return what those of ``rules`` do that are about the absence of samples."""
    found = []
    for name, rule in rules.items():
        if not isinstance(rule.detector, NoData):
            continue
        alike: dict[float, list[Canary]] = {}
        for canary in canaries:
            if rule.watches(canary):
                seconds = rule.detector.runs * canary.interval + canary.timeout + SLACK
                alike.setdefault(seconds, []).append(canary)
        found += [Absence(name, tuple(some), seconds) for seconds, some in alike.items()]
    return found


def unceasing(rules: Mapping[str, Rule], normal: float) -> list[str]:
    """Return which of ``rules`` fire soon and for good where ``normal`` of the runs fail."""
    found = []
    for name, rule in rules.items():
        match rule.detector:
            case Ratio() as ratio:
                lowest = ratio.threshold
            case BurnRate() as burn:
                lowest = min(window.rate for window in burn.windows) * burn.budget
            case _:
                continue
        if lowest <= normal:
            found.append(
                f"rule {name}: fires at {format_fraction(lowest)} of failures, and {format_fraction(normal)} are taken "
                "to be normal: it would fire before long and hardly ever end (--base-rate says what is normal)"
            )
    return found


def doubts(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[str]:
    """Return what is no mistake in the detectors of ``rules``, and may be meant otherwise, once for canaries alike."""
    found: dict[str, list[str]] = {}
    for name, rule in rules.items():
        for canary in canaries:
            if rule.watches(canary) and (doubt := rule.detector.doubt(canary)):
                found.setdefault(f"rule {name}: {doubt}", []).append(canary.name)
    return [f"{doubt} ({_some(names)})" for doubt, names in found.items()]


def _some(names: list[str]) -> str:
    """Return the first of ``names``, and how many there are more."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
