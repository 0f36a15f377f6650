"""How often runs failed that were recorded, held against what a rule calls normal."""

from collections.abc import Iterable, Mapping, Sequence

from streamcanary.alerting.detectors import Spike, SpikeState
from streamcanary.alerting.engine.samples import Sample, sample_of
from streamcanary.alerting.forecast.detector_forecast import false_pages, format_pages
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.outcome import Outcome, OutcomeKind

_MIN_SAMPLES = 50  # samples that say something about a rate
_SIGNIFICANT_DEVIATION = 3.0  # standard deviations
_FAILED_KINDS = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER, OutcomeKind.INTERNAL_ERROR})


class Baseline:
    """How often the runs of one canary are bad for one rule while all is well.

    What the detector itself takes for a spike, from its first bad sample to its resolve, is no base rate, and is left
    out; unless that is more than half of all there is. So is what was recorded before the first run that went well:
    failures are kept for longer than the others.
    """

    def __init__(self, name: str, rule: Rule, detector: Spike, canary: Canary) -> None:
        self._name, self._rule, self._detector, self._canary = name, rule, detector, canary
        self._cusum = detector.for_canary(canary)
        self._state = SpikeState()
        self._has_started = self._is_firing = self._is_in_spike = False
        self._bad, self._total = [0, 0, 0], [0, 0, 0]  # while it was well, while it was not, and undecided

    def observe(self, outcome: Outcome) -> None:
        """Count a run; they come in the order in which they ended."""
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
        """How many samples were bad, and of how many."""
        ill = self._total[1] + (self._total[2] if self._is_in_spike else 0)
        if 2 * ill > sum(self._total):
            return sum(self._bad), sum(self._total)
        undecided = 0 if self._is_in_spike else 1
        return self._bad[0] + undecided * self._bad[2], self._total[0] + undecided * self._total[2]

    @property
    def config_warning(self) -> str | None:
        """What is to be said if that is more than the rule calls normal, and by more than chance would have it."""
        (bad, total), normal = self.observed_counts, self._detector.normal
        if (
            total < _MIN_SAMPLES
            or bad <= normal * total + _SIGNIFICANT_DEVIATION * (normal * (1 - normal) * total) ** 0.5
        ):
            return None
        rate = bad / total
        message = (
            f"rule {self._name}: {self._canary.name} fails more often than normal ({format_fraction(normal)}): "
            f"{bad} of {total} recorded runs are {format_fraction(rate)}"
        )
        if rate >= self._detector.spike:
            return f"{message}, which is a spike all the time; find out why"
        pages = false_pages(self._detector, self._canary, rate)
        return f"{message}; at that rate it pages {format_pages(pages)} times a month; set normal to at least that"


def baseline_warnings(rules: Mapping[str, Rule], canaries: Sequence[Canary], outcomes: Iterable[Outcome]) -> list[str]:
    """Return where ``outcomes``, in the order in which they ended, contradict what the rules call normal."""
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
