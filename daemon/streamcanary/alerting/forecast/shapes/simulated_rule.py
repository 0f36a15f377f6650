"""One rule in a simulation: the detectors of its scope values, and their states when an outage begins."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from msgspec import Struct, field

from streamcanary.alerting.detectors import BurnRate, NoData, Ratio, StreamDetector
from streamcanary.alerting.detectors.ratio import RingRatio
from streamcanary.alerting.forecast.shapes.filled_state import filled_state
from streamcanary.alerting.forecast.shapes.sample_path import SamplePath
from streamcanary.alerting.forecast.shapes.shape import HORIZON, Shape
from streamcanary.alerting.learning.baseline import LearnedBaseline
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import scope_values
from streamcanary.model.canary import Canary

_START = 1_800_000_000.0  # seconds since the epoch, of the first outage
_WEEK = 7 * 86400.0
_HISTORIES = 8  # with which the runs begin in turn
_HISTORY_RUNS = 20  # of the slowest canary


def start_of(run: int) -> float:
    """Return when the outage of a run begins, in seconds since the epoch: one of a few times in a week."""
    return _START + _WEEK * (run % _HISTORIES) / _HISTORIES


class Cell(Struct):
    """The runs of a rule and a shape so far: delays in seconds, ``None`` if not detected; and the scope that fired.

    ``work`` is their cost, in samples of a ``spike``.
    """

    delays: list[float | None] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    work: float = 0.0

    def append(self, delay: float | None, scope: str = "") -> None:
        """Add a run."""
        self.delays.append(delay)
        self.scopes.append(scope)


class _History(NamedTuple):
    """The states of the detectors of a rule when the outage begins; ``is_firing`` if one of them fires already."""

    states: list[object]
    is_firing: bool


class _Evaluation(NamedTuple):
    """The detector of one scope value, the mean seconds between its samples, and what a sample costs."""

    scope: str
    detector: StreamDetector
    interval: float
    cost: float


class SimulatedRule:
    """A ``rule`` that watches some of ``canaries``, which are a sample of ``all_canaries``.

    Each scope value has the part of the false pages that it has among all canaries. ``learned`` are baselines by the
    names of the rule and the scope value.
    """

    def __init__(
        self,
        name: str,
        rule: Rule,
        all_canaries: Sequence[Canary],
        canaries: Sequence[Canary],
        learned: Mapping[tuple[str, str], LearnedBaseline | None],
    ) -> None:
        self.name = name
        self._canaries = canaries
        self._evaluations: list[_Evaluation] = []
        self._evaluations_by_canary: list[list[int]] = [[] for _ in canaries]
        self._histories: dict[int, _History] = {}
        shares = {value.subject: value.share for value in scope_values(rule, all_canaries)}
        numbers = {canary.name: number for number, canary in enumerate(canaries)}
        for number, value in enumerate(scope_values(rule, canaries)):
            stream = value._replace(share=shares.get(value.subject, value.share)).stream(
                learned.get((name, value.subject))
            )
            if isinstance(rule.detector, NoData):
                raise TypeError("no_data evaluates no samples")
            detector: StreamDetector = rule.detector.for_stream(stream)
            cost = _cost(detector, stream.interval)
            self._evaluations.append(_Evaluation(value.scope, detector, stream.interval, cost))
            for canary in value.canaries:
                self._evaluations_by_canary[numbers[canary.name]].append(number)

    def simulate(
        self, cell: Cell, path: SamplePath, shape: Shape, is_hit: Sequence[bool], base_rate: float, run: int
    ) -> None:
        """Add to ``cell`` when the rule first fires on ``path``, with an outage of ``shape`` from its begin on."""
        history = self._history(run % _HISTORIES, base_rate)
        if history.is_firing:
            cell.append(0.0)
            return
        states, evaluations, by_canary = list(history.states), self._evaluations, self._evaluations_by_canary
        start, rate_at = path.start, shape.rate_at
        for at, number, draw in path.until(HORIZON):
            if not (fed := by_canary[number]):
                continue
            bad = draw < base_rate or (is_hit[number] and draw < rate_at(at))
            for each in fed:
                evaluation = evaluations[each]
                result = evaluation.detector.feed(states[each], bad=bad, at=start + at, firing=False)
                cell.work += evaluation.cost
                if result.is_firing:
                    cell.append(at, evaluation.scope)
                    return
                states[each] = result.state
        cell.append(None)

    def _history(self, number: int, base_rate: float) -> _History:
        if number not in self._histories:
            self._histories[number] = self._draw_history(number, base_rate)
        return self._histories[number]

    def _draw_history(self, number: int, base_rate: float) -> _History:
        """Return the states after windows full of runs at ``base_rate``, of which the last ones are random."""
        watched = zip(self._canaries, self._evaluations_by_canary, strict=True)
        seconds = _HISTORY_RUNS * max((canary.interval for canary, numbers in watched if numbers), default=0.0)
        path = SamplePath(self._canaries, start_of(number) - seconds, Random(f"history {number}"))  # noqa: S311
        states = [filled_state(each.detector, each.interval, path.start, base_rate) for each in self._evaluations]
        is_firing = [False] * len(states)
        for at, which, draw in path.until(seconds):
            for each in self._evaluations_by_canary[which]:
                result = self._evaluations[each].detector.feed(
                    states[each], bad=draw < base_rate, at=path.start + at, firing=is_firing[each]
                )
                states[each], is_firing[each] = result.state, result.is_firing
        return _History(list(states), any(is_firing))


def _cost(detector: StreamDetector, interval: float) -> float:
    """Return the time that a sample takes, compared with that of a ``spike``."""
    match detector:
        case Ratio():
            return 3 + detector.runs_per_window(interval) / 8
        case RingRatio():
            return 6.0
        case BurnRate():
            return 15.0
        case _:
            return 1.0
