"""What all rules do for all canaries, equal ones together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.detectors import BurnRate, NoData, Ratio
from streamcanary.alerting.engine.bindings import MISSED_RUN_GRACE
from streamcanary.alerting.forecast.detector_forecast import Forecast, forecast_detector
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.schedule import Schedule


class RuleForecast(NamedTuple):
    """What ``rule`` does for each of ``canaries``, which run equally often."""

    rule: str
    canaries: tuple[Canary, ...]
    forecast: Forecast

    @property
    def false_pages(self) -> float:
        """The false pages in a month, of all these canaries together."""
        return self.forecast.false_pages * len(self.canaries)


def rule_forecasts(rules: Mapping[str, Rule], canaries: Sequence[Canary], base_rate: float) -> list[RuleForecast]:
    """Return what each of ``rules`` does for the canaries that it watches, where ``normal`` of the runs fail.

    A rule about the absence of samples has none of these consequences, and is left out; see :func:`absences`.

    Raises:
        ValueError: if a detector does not fit a canary, which a configuration that was loaded does not have.
    """
    found = []
    for name, rule in rules.items():
        if isinstance(rule.detector, NoData):
            continue
        canaries_by_schedule: dict[Schedule, list[Canary]] = {}
        for canary in canaries:
            if rule.applies_to(canary):
                canaries_by_schedule.setdefault(canary.schedule, []).append(canary)
        found += [
            RuleForecast(name, tuple(some), forecast_detector(rule.detector, some[0], base_rate))
            for some in canaries_by_schedule.values()
        ]
    return found


class NoDataDelay(NamedTuple):
    """How long after the last run of each of ``canaries`` the ``rule`` fires, on average in seconds."""

    rule: str
    canaries: tuple[Canary, ...]
    seconds: float


def no_data_delays(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[NoDataDelay]:
    """Return what those of ``rules`` do that are about the absence of samples."""
    found = []
    for name, rule in rules.items():
        if not isinstance(rule.detector, NoData):
            continue
        canaries_by_delay: dict[float, list[Canary]] = {}
        for canary in canaries:
            if rule.applies_to(canary):
                seconds = rule.detector.runs * canary.interval + canary.timeout + MISSED_RUN_GRACE
                canaries_by_delay.setdefault(seconds, []).append(canary)
        found += [NoDataDelay(name, tuple(some), seconds) for seconds, some in canaries_by_delay.items()]
    return found


def always_firing_warnings(rules: Mapping[str, Rule], base_rate: float) -> list[str]:
    """Return which of ``rules`` fire soon and for good where ``normal`` of the runs fail."""
    found = []
    for name, rule in rules.items():
        match rule.detector:
            case Ratio() as ratio:
                lowest = ratio.threshold
            case BurnRate() as burn:
                lowest = min(window.rate for window in burn.windows) * burn.error_budget
            case _:
                continue
        if lowest <= base_rate:
            found.append(
                f"rule {name}: fires at {format_fraction(lowest)} of failures, and {format_fraction(base_rate)} are taken "
                "to be normal: it would fire before long and hardly ever end (--base-rate says what is normal)"
            )
    return found


def detector_warnings(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[str]:
    """Return what is no mistake in the detectors of ``rules``, and may be meant otherwise, once for canaries alike."""
    found: dict[str, list[str]] = {}
    for name, rule in rules.items():
        for canary in canaries:
            if rule.applies_to(canary) and (doubt := rule.detector.config_warning(canary)):
                found.setdefault(f"rule {name}: {doubt}", []).append(canary.name)
    return [f"{warning} ({_join_names(names)})" for warning, names in found.items()]


def _join_names(names: list[str]) -> str:
    """Return the first of ``names``, and how many there are more."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
