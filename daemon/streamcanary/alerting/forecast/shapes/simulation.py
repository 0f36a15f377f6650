"""Simulates how soon each rule detects an outage of some shape, with the detectors of the daemon and a fixed seed.

Each run of the simulation draws when the canaries run and how these runs end, and all rules and shapes are compared on
the same draws. Runs outside the outage fail at the base rate, independently of each other. What a rule evaluates alone
and what it evaluates together is fed at the same time, and the first alert of a rule counts. A run of a canary takes no
time here, and a notification is sent at once: their duration and ``group_wait`` come on top.

The cost is bounded by the simulated time (:data:`HORIZON`), the number of runs and of canaries, and by the work for
each rule and shape, after which a few runs are enough, or one or two if these are not detected.
"""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from streamcanary.alerting.detectors import NoData, Shift
from streamcanary.alerting.forecast.baseline import RuleBaseline
from streamcanary.alerting.forecast.shapes.canary_sample import sample_canaries
from streamcanary.alerting.forecast.shapes.result import RuleDelays, ShapeForecast
from streamcanary.alerting.forecast.shapes.sample_path import SamplePath
from streamcanary.alerting.forecast.shapes.shape import Shape
from streamcanary.alerting.forecast.shapes.simulated_rule import Cell, SimulatedRule, start_of
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame

RUNS: Final = 60
"""How often an outage is simulated for each rule and shape."""

WORK: Final = 600_000.0
"""The work of all rules and shapes together after which fewer runs are enough, in samples of a ``spike``."""

_MIN_WORK = 10_000.0  # for each rule and shape
_MIN_RUNS = 5
_MIN_UNDETECTED_RUNS = 2
_MUCH = 3  # times the work, after which one run that is not detected is enough
_MEASURES = frozenset({Measure.ERRORS, Measure.FIRST_ATTEMPTS})


def can_simulate(rule: Rule) -> bool:
    """Return whether ``rule`` evaluates failures of a provider, so that an error rate says what it sees."""
    return (
        rule.measure in _MEASURES
        and not isinstance(rule.detector, (NoData, Shift))
        and rule.selects_blame(Blame.PROVIDER)
    )


def forecast_shapes(
    rules: Mapping[str, Rule],
    canaries: Sequence[Canary],
    shapes: Sequence[Shape],
    base_rate: float,
    baselines: Sequence[RuleBaseline] = (),
    *,
    runs: int = RUNS,
    work: float = WORK,
) -> ShapeForecast:
    """Return how soon each of ``rules`` detects each of ``shapes``, by at most ``runs`` simulated runs of each.

    ``base_rate`` is the error rate before the outage, and of the canaries that it does not hit. ``baselines`` are what
    the rules have learned. Rules that :func:`can_simulate` refuses, or that watch no canary, are left out. Of many
    canaries, a sample is simulated. After ``work`` (:data:`WORK`, or ``math.inf``), there are fewer runs.

    Raises:
        ValueError: if a detector is invalid for a scope value. Loading a configuration rejects such a detector.
    """
    watching = {
        name: rule for name, rule in rules.items() if can_simulate(rule) and any(map(rule.applies_to, canaries))
    }
    some = sample_canaries(watching, canaries)
    learned = {(one.name, one.value.subject): one.baseline for one in baselines if one.learns}
    simulated = [SimulatedRule(name, rule, canaries, some, learned) for name, rule in watching.items()]
    cells = {(one.name, shape): Cell() for one in simulated for shape in shapes}
    limit = max(_MIN_WORK, work / len(cells)) if cells else math.inf
    for run in range(runs if cells else 0):
        path = SamplePath(some, start_of(run), Random(f"path {run}"))  # noqa: S311 - a simulation
        for shape in shapes:
            hit = shape.hit_canaries(some, Random(f"hit {run} {shape.text}"))  # noqa: S311
            is_hit = [canary.name in hit for canary in some]
            for one in simulated:
                cell = cells[one.name, shape]
                if not _is_enough(cell, limit):
                    one.simulate(cell, path, shape, is_hit, base_rate, run)
    return ShapeForecast(
        base_rate=base_rate,
        shapes=tuple(shapes),
        rules=tuple(watching),
        delays={key: RuleDelays(tuple(cell.delays), tuple(cell.scopes)) for key, cell in cells.items()},
        simulated_canaries=len(some),
        canary_count=len(canaries),
    )


def _is_enough(cell: Cell, limit: float) -> bool:
    """Return whether the runs of ``cell`` have taken enough work, and are enough to say something."""
    if cell.work < limit:
        return False
    if any(delay is not None for delay in cell.delays):
        return len(cell.delays) >= _MIN_RUNS
    return len(cell.delays) >= _MIN_UNDETECTED_RUNS or cell.work >= _MUCH * limit
