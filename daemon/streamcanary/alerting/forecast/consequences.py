"""What all rules do for all canaries, equal ones together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.detectors import NoData
from streamcanary.alerting.forecast.forecast import Forecast, forecast
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
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

    A rule about the absence of samples has none of these consequences, and is left out.

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
