"""Compares the error rate of recorded runs with the ``normal`` rate of `spike` rules."""

from collections.abc import Iterable, Mapping, Sequence

from streamcanary.alerting.detectors import SampleStream, Spike, SpikeState
from streamcanary.alerting.engine.samples import Sample, sample_of
from streamcanary.alerting.forecast.detector_forecast import false_pages, format_pages
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.outcome import Outcome, OutcomeKind

_MIN_SAMPLES = 50  # fewer samples do not estimate a rate
_SIGNIFICANT_DEVIATION = 3.0  # standard deviations
_FAILED_KINDS = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER, OutcomeKind.INTERNAL_ERROR})


class Baseline:
    """Estimates the base rate: the share of bad samples of one canary for one rule while there is no outage.

    Samples of a spike, from its first bad sample to its resolve, do not count, unless they are more than half of all
    samples. Samples before the first successful run do not count either, because the store keeps failed runs longer
    than successful ones.
    """

    def __init__(self, name: str, rule: Rule, detector: Spike, canary: Canary) -> None:
        self._name, self._rule, self._detector, self._canary = name, rule, detector, canary
        self._cusum = detector.for_stream(SampleStream.of_canary(canary))
        self._state = SpikeState()
        self._has_started = self._is_firing = self._is_in_spike = False
        self._bad, self._total = [0, 0, 0], [0, 0, 0]  # outside a spike, in a spike, not yet known

    def observe(self, outcome: Outcome) -> None:
        """Count a run. Call this in the order in which the runs ended."""
        self._has_started = self._has_started or outcome.kind not in _FAILED_KINDS
        sample = sample_of(self._rule, outcome) if self._has_started else None
        if sample is not Sample.GOOD and sample is not Sample.BAD:
            return
        bad, at = sample is Sample.BAD, outcome.started + outcome.duration
        self._state, self._is_firing, _ = self._cusum.feed(self._state, bad=bad, at=at, firing=self._is_firing)
        self._is_in_spike = self._is_in_spike or self._is_firing
        self._bad[2] += bad
        self._total[2] += 1
        if self._state.sum == 0:
            for counts in (self._bad, self._total):
                counts[self._is_in_spike] += counts[2]
                counts[2] = 0
            self._is_in_spike = False

    @property
    def observed_counts(self) -> tuple[int, int]:
        """The numbers of bad samples and of all samples outside spikes."""
        in_spikes = self._total[1] + (self._total[2] if self._is_in_spike else 0)
        if 2 * in_spikes > sum(self._total):
            return sum(self._bad), sum(self._total)
        counts_pending = 0 if self._is_in_spike else 1
        return self._bad[0] + counts_pending * self._bad[2], self._total[0] + counts_pending * self._total[2]

    @property
    def config_warning(self) -> str | None:
        """A warning if the base rate is above ``normal`` of the rule by more than three standard deviations."""
        (bad, total), normal = self.observed_counts, self._detector.normal
        if (
            total < _MIN_SAMPLES
            or bad <= normal * total + _SIGNIFICANT_DEVIATION * (normal * (1 - normal) * total) ** 0.5
        ):
            return None
        rate = bad / total
        message = (
            f"rule {self._name}: {self._canary.name} fails more often than normal ({format_fraction(normal)}): "
            f"{bad} of {total} recorded runs failed ({format_fraction(rate)})"
        )
        if rate >= self._detector.spike:
            return (
                f"{message}, which is at or above spike ({format_fraction(self._detector.spike)}); "
                "fix the failures, or raise spike"
            )
        pages = false_pages(self._detector, SampleStream.of_canary(self._canary), rate)
        return f"{message}; expect {format_pages(pages)} false pages a month; set normal to at least that rate"


def baseline_warnings(rules: Mapping[str, Rule], canaries: Sequence[Canary], outcomes: Iterable[Outcome]) -> list[str]:
    """Return a warning where a base rate exceeds ``normal``; ``outcomes`` are in the order in which they ended."""
    baselines_by_canary: dict[str, list[Baseline]] = {}
    for name, rule in rules.items():
        if isinstance(rule.detector, Spike):
            for canary in filter(rule.applies_to, canaries):
                baselines_by_canary.setdefault(canary.name, []).append(Baseline(name, rule, rule.detector, canary))
    if baselines_by_canary:
        for outcome in outcomes:
            for baseline in baselines_by_canary.get(outcome.canary, ()):
                baseline.observe(outcome)
    return [warning for some in baselines_by_canary.values() for one in some if (warning := one.config_warning)]
