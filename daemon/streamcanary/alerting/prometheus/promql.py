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
from streamcanary.model.faults import NATURE, FaultKind
from streamcanary.model.outcome import OutcomeKind

BY: Final = f"{names.CANARY}, {names.TARGET}, {names.PROVIDER_LABEL}, job, namespace"
"""The labels that tell canaries apart. Without ``instance`` and ``pod``: a restart is not another canary."""

_PROCESS: Final = f"{names.CANARY}, {names.TARGET}, {names.PROVIDER_LABEL}, job, instance"

RULE: Final = "rule"
"""The label of a recorded count that names the rule it was made for."""

_JUST: Final = "1e-9"
_GOOD: Final = (OutcomeKind.OK, OutcomeKind.SLOW)
_WRONG: Final = (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
_SEEN: Final = (*_GOOD, *_WRONG)
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def metric(told: names.Metric) -> str:
    """Return the name that Prometheus knows ``told`` by.

    As the OpenTelemetry specification derives it (Prometheus and OpenMetrics compatibility): underscores, the unit, and
    ``_total`` for a counter.
    """
    unit = {"s": "_seconds"}.get(told.unit, "")
    return told.name.replace(".", "_") + unit + ("_total" if told.kind == "counter" else "")


def label(attribute: str) -> str:
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


def one_of(name: str, values: Iterable[str], *, but: bool = False) -> str:
    """Return the matcher of the label ``name`` for one of ``values``, or with ``but`` for none of them."""
    values = list(values)
    if len(values) == 1:
        return f"{name}{'!=' if but else '='}{quote(values[0])}"
    return f"{name}{'!~' if but else '=~'}{quote('|'.join(value.replace('.', chr(92) + '.') for value in values))}"


def sayable(rule: Rule) -> bool:
    """Tell whether the counter of runs knows what ``rule`` looks at.

    It does not know in which order runs ended, how long they took, or what a first attempt was like.
    """
    if rule.measure not in (Measure.ERRORS, Measure.SLOW):
        return False
    detector = rule.detector
    return isinstance(detector, BurnRate) or (isinstance(detector, Ratio) and detector.over.seconds is not None)


def windows(detector: Ratio | BurnRate) -> list[float]:
    """Return the lengths of the windows that ``detector`` looks at, in seconds."""
    if isinstance(detector, Ratio):
        return [detector.over.seconds or 0.0]
    return sorted({length for window in detector.windows for length in (window.long, window.short)})


def recorded(what: str, window: float) -> str:
    """Return the name of the recorded count of ``bad`` or ``seen`` runs in a window of so many seconds."""
    return f"canary:streamcanary_{what}_runs:increase{duration(window)}"


def counts(name: str, rule: Rule, canaries: Iterable[str], window: float) -> list[tuple[str, str]]:
    """Return what to record for the rule called ``name``, and the expressions: bad runs, then seen ones.

    They are those in the last ``window`` seconds; no ``canaries`` are all.
    """
    span, among = duration(window), [one_of(names.CANARY, canaries)] if canaries else []

    def runs(*matchers: str) -> str:
        return f"{metric(names.RUNS)}{{{', '.join([*among, *matchers])}}}"

    if rule.measure is Measure.SLOW:
        good = runs(one_of(names.OUTCOME, [OutcomeKind.OK]))
        bad = f"sum by ({BY}) (increase({runs(one_of(names.OUTCOME, [OutcomeKind.SLOW]))}[{span}]))"
    else:
        good = runs(one_of(names.OUTCOME, _GOOD))
        wrong, zero = runs(one_of(names.OUTCOME, _WRONG), _blamed(rule)), runs(one_of(names.OUTCOME, [OutcomeKind.OK]))
        bad = (
            f"sum by ({BY}) (\n"
            f"    ({wrong}\n"
            f"      unless {wrong} offset {span}\n"
            f"      and count_over_time({wrong}[{span}])\n"
            f"        < on ({_PROCESS}) group_left () max by ({_PROCESS}) (count_over_time({zero}[{span}])))\n"
            f"  or\n"
            f"    increase({wrong}[{span}])\n"
            f")"
        )
    seen = f"sum by ({BY}) (increase({good}[{span}]))\n  + ignoring ({RULE}) {recorded('bad', window)}{_of(name)}"
    return [(recorded("bad", window), bad), (recorded("seen", window), seen)]


def fires(name: str, detector: Ratio | BurnRate) -> str:
    """Return the expression that is there while the rule called ``name`` fires: over the recorded counts.

    What fires goes on to do so above half the threshold, as in our own engine.
    """
    if isinstance(detector, Ratio):
        window = detector.over.seconds or 0.0
        begins = f"({_reached(name, window, detector.threshold)}\n  and {_enough(name, window, detector.min_samples)})"
        goes_on = _reached(name, window, detector.threshold / 2)
    else:
        begins = "\nor\n".join(
            f"({_reached(name, window.long, window.rate * detector.budget)}\n"
            f"  and {_reached(name, window.short, window.rate * detector.budget)}\n"
            f"  and {_enough(name, window.long, detector.min_samples)})"
            for window in detector.windows
        )
        goes_on = "\n  or ".join(
            _reached(name, window.short, window.rate * detector.budget / 2) for window in detector.windows
        )
    firing = f'ALERTS{{alertname={quote(name)}, alertstate="firing"}}'
    return f"max without ({RULE}) (\n{begins}\nor\n(({goes_on})\n  and on ({BY}) {firing})\n)"


def missing(canaries: Iterable[str], window: float) -> str:
    """Return the expression that is there while none of the canaries' runs has been seen for ``window`` seconds.

    The daemon must have been there for as long. The counter does not say that a run was skipped for the budget, so this
    is silent while ``BudgetExhausted`` is not.
    """
    span = duration(window)
    among = [one_of(names.CANARY, canaries)] if canaries else []
    series = f"{metric(names.RUNS)}{{{', '.join([*among, one_of(names.OUTCOME, _SEEN)])}}}"
    return (
        f"(sum by ({BY}) ({series})\n"
        f"  == sum by ({BY}) ({series} offset {span})\n"
        f"  unless sum by ({BY}) (increase({series}[{span}])) > 0)"
    )


def active(name: str, by: str = BY, canaries: Iterable[str] = ()) -> str:
    """Return the expression that is there while our own engine says that the rule called ``name`` fires.

    For those ``canaries``; none are all.
    """
    matchers = [f"{names.ALERT}={quote(name)}", *([one_of(names.CANARY, canaries)] if canaries else [])]
    return f"max by ({by}) ({metric(names.ALERT_ACTIVE)}{{{', '.join(matchers)}}}) == 1"


def _blamed(rule: Rule) -> str:
    """Return the matcher of faults that are blamed as ``rule`` says, by their kind; no fault at all matches, too."""
    wanted = [kind.value for kind in FaultKind if NATURE[kind].blame in rule.blame and kind is not FaultKind.CANCELLED]
    others = [kind.value for kind in FaultKind if kind.value not in wanted]
    kind = label(names.ERROR_TYPE)
    return one_of(kind, others, but=True) if len(others) <= len(wanted) else one_of(kind, ["", *wanted])


def _reached(name: str, window: float, part: float) -> str:
    ratio = f"{recorded('bad', window)}{_of(name)} / {recorded('seen', window)}{_of(name)}"
    return f"{ratio} >= {min(part, 1.0):.12g} - {_JUST}"


def _enough(name: str, window: float, samples: int) -> str:
    return f"{recorded('seen', window)}{_of(name)} >= {samples} - {_JUST}"


def _of(name: str) -> str:
    return f"{{{RULE}={quote(name)}}}"
