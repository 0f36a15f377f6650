"""Builds PromQL expressions of rules over the counters of runs and failures.

PromQL: https://prometheus.io/docs/prometheus/latest/querying/

Recording rules count runs, and the alert compares the counts. The counter of runs has a series for each outcome from
the start on, so that ``increase()`` counts every run. The counter of failures has the blame, by which a rule selects
bad runs, and there ``increase()`` alone is not enough:

- A series of that counter starts with the first fault of its kind, at 1, and ``increase()`` does not count that run.
  So if a series did not exist a window ago, and has been scraped less often since than the series of good runs of the
  canary, which starts at 0, the whole series is new, and its value is the count.
- ``increase()`` extrapolates to fractions, so thresholds are compared with a small tolerance.
"""

from collections.abc import Iterable
from typing import Final

from streamcanary.alerting.detectors import BurnRate, Consecutive, Ratio
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model import names
from streamcanary.model.faults import CALLER_FAULTS, Blame
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.prometheus_names import label_name, metric_name

CANARY_LABELS: Final = f"{names.CANARY}, {names.TARGET}, {names.PROVIDER_LABEL}, job, namespace"
"""The labels that identify a canary, without ``instance`` and ``pod``: a restart does not make a new canary."""

SCOPE_LABELS: Final[dict[str, str]] = {
    "canary": CANARY_LABELS,
    "target": f"{names.TARGET}, {names.PROVIDER_LABEL}, job, namespace",
    "provider": f"{names.PROVIDER_LABEL}, job, namespace",
    "all": "job, namespace",
}
"""The labels that identify what an alert is about, by the scope of its rule.

Scopes by the model or by a label of canaries are missing: the counters do not have these labels.
"""

_PROCESS_LABELS: Final = f"{names.CANARY}, {names.TARGET}, {names.PROVIDER_LABEL}, job, instance"

RULE_LABEL: Final = "rule"
"""The label of a recorded count with the name of its rule."""

_EPSILON: Final = "1e-9"
GOOD_OUTCOMES: Final = (OutcomeKind.OK, OutcomeKind.SLOW)
BAD_OUTCOMES: Final = (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
_OBSERVED: Final = (*GOOD_OUTCOMES, *BAD_OUTCOMES)
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def duration(seconds: float) -> str:
    """Return ``seconds`` as a PromQL duration, exact to the millisecond: ``5m``, ``90s``, ``1500ms``."""
    milliseconds = max(1, round(seconds * 1000))
    return next(f"{milliseconds // size}{unit}" for unit, size in _UNITS if milliseconds % size == 0)


def quote(text: str) -> str:
    """Return ``text`` as a PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def label_matcher(name: str, values: Iterable[str], *, negated: bool = False) -> str:
    """Return the matcher of the label ``name`` for any of ``values``, or with ``negated`` for none of them."""
    values = list(values)
    if len(values) == 1:
        return f"{name}{'!=' if negated else '='}{quote(values[0])}"
    return f"{name}{'!~' if negated else '=~'}{quote('|'.join(value.replace('.', chr(92) + '.') for value in values))}"


def is_expressible(rule: Rule) -> bool:
    """Return whether the counters of runs and failures have the data that ``rule`` needs.

    They do not have the order of runs, what was measured of each (durations, output speed, headroom, model), or the
    result of the first attempt. A rule about certificates uses their gauge: one bad sample fires it.
    """
    if rule.measure is Measure.CERTIFICATE_EXPIRY:
        return isinstance(rule.detector, Consecutive) and rule.detector.failures == 1
    if rule.measure not in (Measure.ERRORS, Measure.SLOW):
        return False
    detector = rule.detector
    return isinstance(detector, BurnRate) or (isinstance(detector, Ratio) and detector.over.seconds is not None)


def window_lengths(detector: Ratio | BurnRate) -> list[float]:
    """Return the lengths in seconds of the windows of ``detector``."""
    if isinstance(detector, Ratio):
        return [detector.over.seconds or 0.0]
    return sorted({length for window in detector.windows for length in (window.long, window.short)})


def recorded_name(kind: str, window: float, scope: str = "canary") -> str:
    """Return the name of the recorded count of ``bad`` or ``seen`` runs in a window of ``window`` seconds."""
    return f"{scope}:streamcanary_{kind}_runs:increase{duration(window)}"


def recording_rules(
    name: str, rule: Rule, canaries: Iterable[str], window: float, scope: str = "canary"
) -> list[tuple[str, str]]:
    """Return the names and expressions of the recording rules for the rule ``name``: bad runs, then observed runs.

    They count runs in the last ``window`` seconds, of all canaries of a value of ``scope`` together, which is one of
    :data:`SCOPE_LABELS`. Empty ``canaries`` mean all canaries.
    """
    labels = SCOPE_LABELS[scope]
    span, canary_matchers = duration(window), [label_matcher(names.CANARY, canaries)] if canaries else []

    def runs(*matchers: str, metric: names.Metric = names.RUNS) -> str:
        return f"{metric_name(metric)}{{{', '.join([*canary_matchers, *matchers])}}}"

    if rule.measure is Measure.SLOW:
        good = runs(label_matcher(names.OUTCOME, [OutcomeKind.OK]))
        bad = f"sum by ({labels}) (increase({runs(label_matcher(names.OUTCOME, [OutcomeKind.SLOW]))}[{span}]))"
    else:
        good = runs(label_matcher(names.OUTCOME, GOOD_OUTCOMES))
        bad_series, ok_series = (
            runs(label_matcher(names.OUTCOME, BAD_OUTCOMES), *blame_matchers(rule), metric=names.FAILURES),
            runs(label_matcher(names.OUTCOME, [OutcomeKind.OK])),
        )
        bad = bad_runs_expression(bad_series, ok_series, span, by=labels, process=_PROCESS_LABELS)
    recorded_bad = f"{recorded_name('bad', window, scope)}{_rule_selector(name)}"
    observed = f"sum by ({labels}) (increase({good}[{span}]))\n  + ignoring ({RULE_LABEL}) {recorded_bad}"
    return [(recorded_name("bad", window, scope), bad), (recorded_name("seen", window, scope), observed)]


def bad_runs_expression(bad_series: str, ok_series: str, span: str, *, by: str, process: str) -> str:
    """Return the expression of the bad runs in the last ``span``, a PromQL duration, by the labels ``by``.

    ``bad_series`` selects counters of failures, ``ok_series`` the counters of good runs of the same canaries, and
    ``process`` are the labels of one canary in one process.
    """
    return (
        f"sum by ({by}) (\n"
        f"    ({bad_series}\n"
        f"      unless {bad_series} offset {span}\n"
        f"      and count_over_time({bad_series}[{span}])\n"
        f"        < on ({process}) group_left ()"
        f" max by ({process}) (count_over_time({ok_series}[{span}])))\n"
        f"  or\n"
        f"    increase({bad_series}[{span}])\n"
        f")"
    )


def firing_expression(name: str, detector: Ratio | BurnRate, scope: str = "canary") -> str:
    """Return the expression over the recorded counts of ``scope`` that has a result while the rule ``name`` fires.

    A firing alert keeps firing above half the threshold, as in the alert engine of streamcanary.
    """
    if isinstance(detector, Ratio):
        window = detector.over.seconds or 0.0
        has_samples = _has_min_samples(name, window, detector.min_samples, scope)
        fire_condition = f"({_ratio_reached(name, window, detector.threshold, scope)}\n  and {has_samples})"
        keep_firing_condition = _ratio_reached(name, window, detector.threshold / 2, scope)
    else:
        fire_condition = "\nor\n".join(
            f"({_ratio_reached(name, window.long, window.rate * detector.error_budget, scope)}\n"
            f"  and {_ratio_reached(name, window.short, window.rate * detector.error_budget, scope)}\n"
            f"  and {_has_min_samples(name, window.long, detector.min_samples, scope)})"
            for window in detector.windows
        )
        keep_firing_condition = "\n  or ".join(
            _ratio_reached(name, window.short, window.rate * detector.error_budget / 2, scope)
            for window in detector.windows
        )
    label = "" if scope == "canary" else scope
    firing = f'ALERTS{{alertname={quote(name)}, alertstate="firing", {names.SCOPE}={quote(label)}}}'
    keeps_firing = f"(({keep_firing_condition})\n  and on ({SCOPE_LABELS[scope]}) {firing})"
    return f"max without ({RULE_LABEL}) (\n{fire_condition}\nor\n{keeps_firing}\n)"


def no_data_expression(canaries: Iterable[str], window: float) -> str:
    """Return the expression that has a result for each canary without an observed run for ``window`` seconds.

    The daemon must have been running for as long. The counter does not show that a run was skipped for the budget, so
    the caller must exclude the time in which ``BudgetExhausted`` fires. Empty ``canaries`` mean all canaries.
    """
    span = duration(window)
    canary_matchers = [label_matcher(names.CANARY, canaries)] if canaries else []
    series = f"{metric_name(names.RUNS)}{{{', '.join([*canary_matchers, label_matcher(names.OUTCOME, _OBSERVED)])}}}"
    return (
        f"(sum by ({CANARY_LABELS}) ({series})\n"
        f"  == sum by ({CANARY_LABELS}) ({series} offset {span})\n"
        f"  unless sum by ({CANARY_LABELS}) (increase({series}[{span}])) > 0)"
    )


def certificate_expression(canaries: Iterable[str], limit: float) -> str:
    """Return the expression of the seconds until a certificate expires, where they are less than ``limit``.

    The value of the alert is this time. Empty ``canaries`` mean all canaries.
    """
    matchers = [label_matcher(names.CANARY, canaries)] if canaries else []
    series = f"{metric_name(names.CERTIFICATE_EXPIRY)}{{{', '.join(matchers)}}}"
    return f"min by ({CANARY_LABELS}) ({series}) - time() < {limit:.12g}"


def alert_active_expression(
    name: str, by: str = CANARY_LABELS, canaries: Iterable[str] = (), scope: str | None = None
) -> str:
    """Return the expression that has a result while the daemon reports that the rule ``name`` fires.

    It covers ``canaries``, or all canaries if they are empty. ``scope`` selects the alerts of one scope of the rule; it
    is empty for those of single canaries.
    """
    matchers = [f"{names.ALERT}={quote(name)}", *([label_matcher(names.CANARY, canaries)] if canaries else [])]
    if scope is not None:
        matchers.append(f"{names.SCOPE}={quote(scope)}")
    return f"max by ({by}) ({metric_name(names.ALERT_ACTIVE)}{{{', '.join(matchers)}}}) == 1"


def blame_matchers(rule: Rule) -> list[str]:
    """Return the matchers of faults that are bad for ``rule``; a failed run without a fault also matches.

    A run that was cancelled, or that the client delayed, is never bad
    (:func:`streamcanary.alerting.engine.evaluation.samples.sample_of`).
    """
    selected = [blame.value for blame in Blame if blame in rule.blame]
    excluded = sorted(kind.value for kind in CALLER_FAULTS)
    matchers = [label_matcher(names.BLAME, ["", *selected])] if len(selected) < len(Blame) else []
    if Blame.LOCAL in rule.blame:
        matchers.append(label_matcher(label_name(names.ERROR_TYPE), excluded, negated=True))
    return matchers


def _ratio_reached(name: str, window: float, part: float, scope: str) -> str:
    bad, seen = (f"{recorded_name(kind, window, scope)}{_rule_selector(name)}" for kind in ("bad", "seen"))
    ratio = f"{bad} / {seen}"
    return f"{ratio} >= {min(part, 1.0):.12g} - {_EPSILON}"


def _has_min_samples(name: str, window: float, samples: int, scope: str) -> str:
    return f"{recorded_name('seen', window, scope)}{_rule_selector(name)} >= {samples} - {_EPSILON}"


def _rule_selector(name: str) -> str:
    return f"{{{RULE_LABEL}={quote(name)}}}"
