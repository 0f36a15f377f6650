"""Forecasts for every rule and scope value; values with equal streams of samples share one forecast."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.detectors import BurnRate, NoData, Ratio, SampleStream, Shift
from streamcanary.alerting.engine.bindings import MISSED_RUN_GRACE
from streamcanary.alerting.forecast.baseline import RuleBaseline
from streamcanary.alerting.forecast.detector_forecast import Forecast, forecast_detector
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import ScopeValue, scope_values
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.schedules.schedule import Pooled, SampleSchedule


class RuleForecast(NamedTuple):
    """The forecast of ``rule`` for each of ``values``, which have the same scope and equal streams of samples."""

    rule: str
    values: tuple[ScopeValue, ...]
    forecast: Forecast

    @property
    def scope(self) -> str:
        """The scope of the values."""
        return self.values[0].scope

    @property
    def schedule(self) -> SampleSchedule:
        """When samples of each of the values are due."""
        return self.values[0].schedule

    @property
    def false_pages(self) -> float:
        """The false pages a month of all these values together."""
        return self.forecast.false_pages * len(self.values)


def rule_forecasts(
    rules: Mapping[str, Rule],
    canaries: Sequence[Canary],
    base_rate: float,
    baselines: Sequence[RuleBaseline] = (),
) -> list[RuleForecast]:
    """Return the forecasts of ``rules`` for the scope values that each evaluates, at ``base_rate``.

    ``baselines`` are what the rules have learned. Rules about a change of usual values (``shift``) have a forecast of
    their own. ``no_data`` rules have no such forecast and are left out; see :func:`no_data_delays`. Neither have rules
    about certificates and changes of the model: they do not fire by chance.

    Raises:
        ValueError: if a detector is invalid for a scope value. Loading a configuration rejects such a detector.
    """
    found = []
    learned = {(one.name, one.value.subject): one.baseline for one in baselines if one.learns}
    for name, rule in rules.items():
        if isinstance(rule.detector, (NoData, Shift)) or not rule.measure.counts_failures:
            continue
        by_stream: dict[tuple[str, SampleStream], tuple[SampleStream, list[ScopeValue]]] = {}
        for value in scope_values(rule, canaries):
            stream = value.stream(learned.get((name, value.subject)))
            by_stream.setdefault((value.scope, without_details(stream)), (stream, []))[1].append(value)
        found += [
            RuleForecast(name, tuple(values), forecast_detector(rule.detector, stream, base_rate))
            for stream, values in by_stream.values()
        ]
    return found


def without_details(stream: SampleStream) -> SampleStream:
    """Return ``stream`` without its subject, and of pooled canaries with an interval of two digits.

    Targets that differ by a few canaries would each take time, and a row, for much the same forecast.
    """
    schedule = stream.schedule
    if isinstance(schedule, Pooled):
        schedule = Pooled(float(f"{schedule.seconds:.2g}"), 0)
    return stream._replace(subject="", schedule=schedule)


class NoDataDelay(NamedTuple):
    """The mean time in seconds from the last run of each of ``canaries`` until ``rule`` fires."""

    rule: str
    canaries: tuple[Canary, ...]
    seconds: float


def no_data_delays(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[NoDataDelay]:
    """Return the detection delays of those of ``rules`` whose detector is ``no_data``."""
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


def model_change_canaries(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[tuple[str, list[Canary]]]:
    """Return the canaries of each of ``rules`` about changes of the model, by the name of the rule."""
    found = [
        (name, [canary for canary in canaries if rule.applies_to(canary)])
        for name, rule in rules.items()
        if rule.measure is Measure.MODEL_CHANGES
    ]
    return [(name, some) for name, some in found if some]


def always_firing_warnings(rules: Mapping[str, Rule], base_rate: float) -> list[str]:
    """Return a warning for each of ``rules`` whose threshold is at or below ``base_rate``."""
    found = []
    for name, rule in rules.items():
        if not rule.measure.counts_failures:
            continue
        match rule.detector:
            case Ratio() as ratio:
                lowest = ratio.threshold
            case BurnRate() as burn:
                lowest = min(window.rate for window in burn.windows) * burn.error_budget
            case _:
                continue
        if lowest <= base_rate:
            found.append(
                f"rule {name}: fires at {format_fraction(lowest)} failed runs, but the base rate is "
                f"{format_fraction(base_rate)}: it fires almost always; raise its threshold, or set --base-rate"
            )
    return found


def detector_warnings(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[str]:
    """Return the warnings of the detectors of ``rules``, each once with the scope values that it concerns."""
    found: dict[str, list[str]] = {}
    for name, rule in rules.items():
        for value in scope_values(rule, canaries) if rule.measure.counts_failures else ():
            if warning := rule.detector.config_warning(value.stream()):
                found.setdefault(f"rule {name}: {warning}", []).append(value.subject)
    return [f"{warning} ({_join_names(names)})" for warning, names in found.items()]


def _join_names(names: list[str]) -> str:
    """Return the first of ``names`` and the number of others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
