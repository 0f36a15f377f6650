"""What a rule asks, in PromQL, over the counter of runs (https://prometheus.io/docs/prometheus/latest/querying/).

Runs are counted by recording rules, and the alert compares the counts. They are more than ``increase()``:

- A series of the counter begins with the first fault of its kind, at 1, and ``increase()`` does not see that one.
  (There is a zero for each outcome from the start on, but not for each of some thirty faults.) So where a series was
  not there a window ago, and has been scraped less often since than the canary's zeros, all of it is new, and its value
  is the count.
- ``increase()`` computes with fractions, so limits are compared with a little less.
"""

from collections.abc import Iterable
from typing import Final

from streamcanary.alerting.detectors import BurnRate, Ratio
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model import names
from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind
from streamcanary.model.outcome import OutcomeKind

CANARY_LABELS: Final = f"{names.CANARY}, {names.TARGET}, {names.PROVIDER_LABEL}, job, namespace"
"""The labels that tell canaries apart. Without ``instance`` and ``pod``: a restart is not another canary."""

_PROCESS_LABELS: Final = f"{names.CANARY}, {names.TARGET}, {names.PROVIDER_LABEL}, job, instance"

RULE_LABEL: Final = "rule"
"""The label of a recorded count that names the rule it was made for."""

_EPSILON: Final = "1e-9"
_GOOD: Final = (OutcomeKind.OK, OutcomeKind.SLOW)
_BAD: Final = (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
_OBSERVED: Final = (*_GOOD, *_BAD)
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def metric_name(instrument: names.Metric) -> str:
    """Return the name that Prometheus knows ``told`` by.

    As the OpenTelemetry specification derives it (Prometheus and OpenMetrics compatibility): underscores, the unit, and
    ``_total`` for a counter.
    """
    unit = {"s": "_seconds"}.get(instrument.unit, "")
    return instrument.name.replace(".", "_") + unit + ("_total" if instrument.kind == "counter" else "")


def label_name(attribute: str) -> str:
    """Return the name that Prometheus knows an attribute by."""
    return attribute.replace(".", "_")


def duration(seconds: float) -> str:
    """Return ``seconds`` as PromQL writes them, exact to the millisecond: ``5m``, ``90s``, ``1500ms``."""
    milliseconds = max(1, round(seconds * 1000))
    return next(f"{milliseconds // size}{unit}" for unit, size in _UNITS if milliseconds % size == 0)


def quote(text: str) -> str:
    """Return ``text`` as a string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def label_matcher(name: str, values: Iterable[str], *, negated: bool = False) -> str:
    """Return the matcher of the label ``name`` for one of ``values``, or with ``but`` for none of them."""
    values = list(values)
    if len(values) == 1:
        return f"{name}{'!=' if negated else '='}{quote(values[0])}"
    return f"{name}{'!~' if negated else '=~'}{quote('|'.join(value.replace('.', chr(92) + '.') for value in values))}"


def is_expressible(rule: Rule) -> bool:
    """Tell whether the counter of runs knows what ``rule`` looks at.

    It does not know in which order runs ended, how long they took, or what a first attempt was like.
    """
    if rule.measure not in (Measure.ERRORS, Measure.SLOW):
        return False
    detector = rule.detector
    return isinstance(detector, BurnRate) or (isinstance(detector, Ratio) and detector.over.seconds is not None)


def window_lengths(detector: Ratio | BurnRate) -> list[float]:
    """Return the lengths of the windows that ``detector`` looks at, in seconds."""
    if isinstance(detector, Ratio):
        return [detector.over.seconds or 0.0]
    return sorted({length for window in detector.windows for length in (window.long, window.short)})


def recorded_name(what: str, window: float) -> str:
    """Return the name of the recorded count of ``bad`` or ``seen`` runs in a window of so many seconds."""
    return f"canary:streamcanary_{what}_runs:increase{duration(window)}"


def recording_rules(name: str, rule: Rule, canaries: Iterable[str], window: float) -> list[tuple[str, str]]:
    """Return what to record for the rule called ``name``, and the expressions: bad runs, then seen ones.

    They are those in the last ``window`` seconds; no ``canaries`` are all.
    """
    span, canary_matchers = duration(window), [label_matcher(names.CANARY, canaries)] if canaries else []

    def runs(*matchers: str) -> str:
        return f"{metric_name(names.RUNS)}{{{', '.join([*canary_matchers, *matchers])}}}"

    if rule.measure is Measure.SLOW:
        good = runs(label_matcher(names.OUTCOME, [OutcomeKind.OK]))
        bad = f"sum by ({CANARY_LABELS}) (increase({runs(label_matcher(names.OUTCOME, [OutcomeKind.SLOW]))}[{span}]))"
    else:
        good = runs(label_matcher(names.OUTCOME, _GOOD))
        bad_series, ok_series = (
            runs(label_matcher(names.OUTCOME, _BAD), _blame_matcher(rule)),
            runs(label_matcher(names.OUTCOME, [OutcomeKind.OK])),
        )
        bad = (
            f"sum by ({CANARY_LABELS}) (\n"
            f"    ({bad_series}\n"
            f"      unless {bad_series} offset {span}\n"
            f"      and count_over_time({bad_series}[{span}])\n"
            f"        < on ({_PROCESS_LABELS}) group_left () max by ({_PROCESS_LABELS}) (count_over_time({ok_series}[{span}])))\n"
            f"  or\n"
            f"    increase({bad_series}[{span}])\n"
            f")"
        )
    observed = f"sum by ({CANARY_LABELS}) (increase({good}[{span}]))\n  + ignoring ({RULE_LABEL}) {recorded_name('bad', window)}{_rule_selector(name)}"
    return [(recorded_name("bad", window), bad), (recorded_name("seen", window), observed)]


def firing_expression(name: str, detector: Ratio | BurnRate) -> str:
    """Return the expression that is there while the rule called ``name`` fires: over the recorded counts.

    What fires goes on to do so above half the threshold, as in our own engine.
    """
    if isinstance(detector, Ratio):
        window = detector.over.seconds or 0.0
        fire_condition = f"({_ratio_reached(name, window, detector.threshold)}\n  and {_has_min_samples(name, window, detector.min_samples)})"
        keep_firing_condition = _ratio_reached(name, window, detector.threshold / 2)
    else:
        fire_condition = "\nor\n".join(
            f"({_ratio_reached(name, window.long, window.rate * detector.error_budget)}\n"
            f"  and {_ratio_reached(name, window.short, window.rate * detector.error_budget)}\n"
            f"  and {_has_min_samples(name, window.long, detector.min_samples)})"
            for window in detector.windows
        )
        keep_firing_condition = "\n  or ".join(
            _ratio_reached(name, window.short, window.rate * detector.error_budget / 2) for window in detector.windows
        )
    firing = f'ALERTS{{alertname={quote(name)}, alertstate="firing"}}'
    return f"max without ({RULE_LABEL}) (\n{fire_condition}\nor\n(({keep_firing_condition})\n  and on ({CANARY_LABELS}) {firing})\n)"


def no_data_expression(canaries: Iterable[str], window: float) -> str:
    """Return the expression that is there while none of the canaries' runs has been seen for ``window`` seconds.

    The daemon must have been there for as long. The counter does not say that a run was skipped for the budget, so this
    is silent while ``BudgetExhausted`` is not.
    """
    span = duration(window)
    canary_matchers = [label_matcher(names.CANARY, canaries)] if canaries else []
    series = f"{metric_name(names.RUNS)}{{{', '.join([*canary_matchers, label_matcher(names.OUTCOME, _OBSERVED)])}}}"
    return (
        f"(sum by ({CANARY_LABELS}) ({series})\n"
        f"  == sum by ({CANARY_LABELS}) ({series} offset {span})\n"
        f"  unless sum by ({CANARY_LABELS}) (increase({series}[{span}])) > 0)"
    )


def alert_active_expression(name: str, by: str = CANARY_LABELS, canaries: Iterable[str] = ()) -> str:
    """Return the expression that is there while our own engine says that the rule called ``name`` fires.

    For those ``canaries``; none are all.
    """
    matchers = [f"{names.ALERT}={quote(name)}", *([label_matcher(names.CANARY, canaries)] if canaries else [])]
    return f"max by ({by}) ({metric_name(names.ALERT_ACTIVE)}{{{', '.join(matchers)}}}) == 1"


def _blame_matcher(rule: Rule) -> str:
    """Return the matcher of faults that are blamed as ``rule`` says, by their kind; no fault at all matches, too."""
    wanted = [
        kind.value
        for kind in FaultKind
        if FAULT_PROPERTIES[kind].blame in rule.blame and kind is not FaultKind.CANCELLED
    ]
    others = [kind.value for kind in FaultKind if kind.value not in wanted]
    kind = label_name(names.ERROR_TYPE)
    return (
        label_matcher(kind, others, negated=True) if len(others) <= len(wanted) else label_matcher(kind, ["", *wanted])
    )


def _ratio_reached(name: str, window: float, part: float) -> str:
    ratio = (
        f"{recorded_name('bad', window)}{_rule_selector(name)} / {recorded_name('seen', window)}{_rule_selector(name)}"
    )
    return f"{ratio} >= {min(part, 1.0):.12g} - {_EPSILON}"


def _has_min_samples(name: str, window: float, samples: int) -> str:
    return f"{recorded_name('seen', window)}{_rule_selector(name)} >= {samples} - {_EPSILON}"


def _rule_selector(name: str) -> str:
    return f"{{{RULE_LABEL}={quote(name)}}}"
