"""What recorded runs say about rules: what those learn that learn, and where a configured rate contradicts the runs."""

import math
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import NoData, Shift, Spike
from streamcanary.alerting.detectors.shift import format_factor
from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.engine.evaluation.baselines import learned_baseline, request_key, requests_since
from streamcanary.alerting.forecast.detector_forecast import MONTH_SECONDS, false_pages, format_pages
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues, RequestSince, round_up
from streamcanary.alerting.learning.history import History, smallest_change
from streamcanary.alerting.learning.rollup_history import RollupHistory, names_of
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import ScopeValue
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import Rollup

MAX_ROLLUP_CANARIES: Final = 200
"""Canaries whose rollups ``check`` reads, at most: more would take seconds. A running daemon learns of them all."""

_MIN_SAMPLES = 50  # fewer samples do not contradict a rate
_SIGNIFICANT_DEVIATION = 3.0  # standard deviations
_MIN_EXCESS = 5  # bad samples over those expected; of many canaries some have a few more by chance
_MAX_WARNINGS = 8  # for each rule
_MIN_BAD = 20  # bad samples; fewer do not contradict an autocorrelation
_TOLERANCE = 0.15  # of an autocorrelation


class Contradiction(NamedTuple):
    """What contradicts the configuration of a rule: the message, and the options of the detector that agree with it."""

    message: str
    options: Mapping[str, float] = MappingProxyType({})


class RuleBaseline(NamedTuple):
    """What ``rule``, called ``name``, learns about a scope value; ``baseline`` is ``None`` if that is nothing yet.

    ``observed`` is the base rate in the recorded runs, also if they are too few to learn from.
    """

    name: str
    rule: Rule
    value: ScopeValue
    baseline: LearnedBaseline | None
    observed: LearnedRate | None

    @property
    def learns(self) -> bool:
        """Whether the detector of the rule uses the baseline."""
        return self.rule.detector.learns

    @property
    def contradiction(self) -> Contradiction | None:
        """Where the recorded runs contradict the configuration of the rule."""
        detector = self.rule.detector
        if isinstance(detector, Shift) and isinstance(self.baseline, LearnedValues):
            if (found := detector.too_wide(self.value.stream(self.baseline))) is None:
                return None
            message, factor = found
            subject = f"{self.rule.measure} of {self.value.subject}"
            return Contradiction(f"rule {self.name}: {subject}: {message}", {"worse": factor})
        if isinstance(detector, Spike) and self.observed is not None:
            return self._rate_contradiction(detector, self.observed) or self._burst_contradiction(
                detector, self.observed
            )
        return None

    def _rate_contradiction(self, detector: Spike, observed: LearnedRate) -> Contradiction | None:
        bad, total = observed.bad, observed.total
        normal = detector.highest_normal
        clustering = (1 + observed.autocorrelation) / (1 - observed.autocorrelation)
        deviation = math.sqrt(normal * (1 - normal) * total * clustering)
        if total < _MIN_SAMPLES or bad - normal * total <= max(_SIGNIFICANT_DEVIATION * deviation, _MIN_EXCESS):
            return None
        name = "max_normal" if detector.normal == "learned" else "normal"
        message = (
            f"rule {self.name}: {self.value.subject} fails more often than {name} ({format_fraction(normal)}): "
            f"{bad} of {total} recorded runs failed ({format_fraction(observed.rate)})"
        )
        if observed.rate >= detector.spike:
            return Contradiction(
                f"{message}, which is at or above spike ({format_fraction(detector.spike)}); "
                "fix the failures, or raise spike"
            )
        pages = false_pages(detector, self.value.stream(observed), observed.rate)
        expected = f"expect {format_pages(pages)} false pages a month"
        if pages < MONTH_SECONDS / detector.false_pages.mean_interval:
            expected = "the alert fires, and hardly resolves"
        return Contradiction(f"{message}; {expected}", {name: round_up(observed.upper_bound)})

    def _burst_contradiction(self, detector: Spike, observed: LearnedRate) -> Contradiction | None:
        written = detector.autocorrelation
        if (
            not isinstance(written, float)
            or observed.bad < _MIN_BAD
            or observed.autocorrelation <= written + _TOLERANCE
        ):
            return None
        return Contradiction(
            f"rule {self.name}: failures of {self.value.subject} come in bursts: their autocorrelation is up to "
            f"{observed.autocorrelation:.2f}, not {written:g}",
            {"autocorrelation": observed.usable_autocorrelation},
        )


def learn_baselines(
    rules: Mapping[str, Rule],
    instance: str,
    canaries: Sequence[Canary],
    outcomes: Iterable[Outcome],
    stored: Mapping[str, LearnedBaseline | RequestSince] = MappingProxyType({}),
    read_rollups: Callable[[Mapping[str, str]], Sequence[Rollup]] = lambda names: (),
) -> list[RuleBaseline]:
    """Return what ``rules`` learn, or are compared with, from ``outcomes``, which are in the order of their ends.

    What a daemon has ``stored`` (by key) is used where it has learned it from more samples than ``outcomes`` have, and
    would still learn it: for the same requests, and the same change to detect. As in a daemon, runs before a canary
    sent its present request do not count.
    Without it, what ``read_rollups`` returns is used in the same way, for :data:`MAX_ROLLUP_CANARIES` at most: it is
    given the names under which the runs of a canary are stored, and that by which to return them.
    """
    bindings = [binding for binding in Bindings(rules, instance, canaries) if _is_compared(binding)]
    if not bindings:
        return []
    since = _requests_since(canaries, stored)
    changed = {canary.name for canary in canaries if since.get(canary.identity) == math.inf}
    history = History(bindings, canaries, since)
    history.observe_all(outcomes)
    known = {binding.key: _still_valid(stored, binding, changed) for binding in bindings}
    missing = {key for key, baseline in known.items() if baseline is None}
    known |= _learn_from_rollups(history, missing, canaries, read_rollups)
    return [
        RuleBaseline(
            binding.rule_name,
            binding.rule,
            binding.scope_value,
            _from_more_samples(known[binding.key], baseline),
            history.observed_rate(binding, _MIN_SAMPLES),
        )
        for binding, (_, baseline) in zip(bindings, history.learn(0.0), strict=True)
    ]


def _requests_since(
    canaries: Sequence[Canary], stored: Mapping[str, LearnedBaseline | RequestSince]
) -> dict[str, float]:
    """Return since when each of ``canaries`` sends its request; never yet, if it is another one than a daemon sends."""
    since = requests_since(stored, canaries)
    changed = {
        canary.identity: math.inf
        for canary in canaries
        if isinstance(row := stored.get(request_key(canary)), RequestSince) and row.digest != canary.request_digest
    }
    return since | changed


def _still_valid(
    stored: Mapping[str, LearnedBaseline | RequestSince], binding: Binding, changed: Container[str]
) -> LearnedBaseline | None:
    """Return what a daemon has learned about ``binding``, unless its requests or its change to detect have changed."""
    baseline = learned_baseline(stored, binding.key)
    if all(canary.name in changed for canary in binding.canaries):
        return None
    if isinstance(baseline, LearnedValues) and baseline.smallest_change:
        is_same = math.isclose(baseline.smallest_change, smallest_change(binding.rule).factor, rel_tol=1e-5)
        return baseline if is_same else None
    return baseline


def _learn_from_rollups(
    history: History,
    keys: Collection[str],
    canaries: Iterable[Canary],
    read_rollups: Callable[[Mapping[str, str]], Sequence[Rollup]],
) -> dict[str, LearnedBaseline]:
    """Return what the bindings of ``keys`` learn from rollups, as far as their canaries are not too many."""
    rollups = RollupHistory(history, keys)
    if len(rollups.canaries) > MAX_ROLLUP_CANARIES:
        return {}
    found: dict[str, LearnedBaseline] = {}
    names = names_of(canaries)
    for canary in rollups.canaries:
        found |= rollups.observe(canary, read_rollups(names[canary.name]), 0.0)
    return found


def _from_more_samples(stored: LearnedBaseline | None, learned: LearnedBaseline | None) -> LearnedBaseline | None:
    if stored is None or learned is None:
        return stored or learned
    return stored if type(stored) is type(learned) and _sample_count(stored) > _sample_count(learned) else learned


def _sample_count(baseline: LearnedBaseline) -> int:
    rate = baseline if isinstance(baseline, LearnedRate) else baseline.above
    return rate.total + rate.in_incidents


def baseline_warnings(baselines: Iterable[RuleBaseline]) -> Iterator[str]:
    """Yield a warning for each of ``baselines`` that contradicts the configuration of its rule, some for each rule.

    A rule has one line to paste, with the highest value that an alert needs.
    """
    by_rule: dict[str, list[tuple[RuleBaseline, Contradiction]]] = {}
    for baseline in baselines:
        if (contradiction := baseline.contradiction) is not None:
            by_rule.setdefault(baseline.name, []).append((baseline, contradiction))
    for name, found in by_rule.items():
        line = _line_for_all(found)
        if len(found) == 1:
            yield found[0][1].message + (f"; write {line}" if line else "")
            continue
        yield from (contradiction.message for _, contradiction in found[:_MAX_WARNINGS])
        if (more := len(found) - _MAX_WARNINGS) > 0:
            yield f"rule {name}: {more} more of its alerts contradict the recorded runs in this way"
        if line:
            yield f"rule {name}: write {line}, with the highest of these values"


def _line_for_all(found: Iterable[tuple[RuleBaseline, Contradiction]]) -> str | None:
    """Return the line of the configuration that agrees with all that was ``found`` about one rule."""
    highest: dict[str, float] = {}
    detector: object = None
    for baseline, contradiction in found:
        detector = baseline.rule.detector
        for name, value in contradiction.options.items():
            highest[name] = max(highest.get(name, 0.0), value)
    if not highest:
        return None
    if isinstance(detector, Spike):
        return _detector_line(detector, **{name: _format_value(name, value) for name, value in highest.items()})
    return f"worse: {format_factor(highest['worse'])}"


def _is_compared(binding: Binding) -> bool:
    detector = binding.rule.detector
    return not isinstance(detector, NoData) and (detector.learns or isinstance(detector, Spike))


def _detector_line(detector: Spike, **changes: str) -> str:
    """Return the line of the configuration for ``detector`` with ``changes``, to paste."""
    written = {
        name: getattr(detector, name) for name in type(detector).model_fields if name in detector.model_fields_set
    }
    shown = {
        "type": "spike",
        **{name: _format_value(name, value) for name, value in written.items()},
        **changes,
    }
    return f"detector: {{{', '.join(f'{name}: {value}' for name, value in shown.items())}}}"


def _format_value(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if name == "autocorrelation" else format_fraction(value)
