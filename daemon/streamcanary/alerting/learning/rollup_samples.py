"""Turns rollups into the samples of a rule: how many of a period's runs were samples, and how many were bad."""

from collections.abc import Collection
from typing import NamedTuple

from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.faults import CALLER_FAULTS, FAULT_PROPERTIES, Blame, FaultKind
from streamcanary.model.statistics.answer_values import AnswerValue
from streamcanary.model.statistics.quantile_sketch import count_above, value_count
from streamcanary.model.statistics.rollup import UNKNOWN_FAULT, Rollup


class Block(NamedTuple):
    """The samples of a period that began at ``started`` (seconds since the epoch) and has ``length`` seconds.

    ``bad`` of ``total`` are bad, and ``repeats`` of these directly after a bad one; ``None`` if that is not known.
    """

    started: int
    length: int
    total: int
    bad: int
    repeats: int | None = None


def block_of(rule: Rule, rollup: Rollup) -> Block | None:
    """Return the samples of ``rule`` in ``rollup``; ``None`` if it does not contain what the rule measures."""
    counts, details = rollup.counts, rollup.details
    match rule.measure:
        case Measure.ERRORS:
            bad = _bad(details.failures, rule.blame)
            return _block(rollup, counts.answered + bad, bad, details.repeats * bad, sum(details.failures.values()))
        case Measure.FIRST_ATTEMPTS:
            bad, failed = _bad(details.first_failures, rule.blame), sum(details.first_failures.values())
            good = max(0, counts.answered + counts.primary_failed - failed)
            followed = sum(count for kind, count in details.first_failures.items() if kind not in CALLER_FAULTS)
            return _block(rollup, good + bad, bad, details.first_repeats * bad, followed)
        case Measure.SLOW:
            return _block(rollup, counts.answered, counts.slow)
        case measure if (name := value_name(measure)) is not None and rule.limit is not None:
            sketch = details.sketch(name)
            limit = rule.limit if measure.is_timed else 1 / rule.limit
            return _block(rollup, value_count(sketch), round(count_above(sketch, limit)))
        case _:
            return None


def value_name(measure: Measure) -> AnswerValue | None:
    """Return the name of the distribution of a measure in a rollup; ``None`` if there is none."""
    match measure:
        case Measure.FIRST_TOKEN:
            return "first_token"
        case Measure.MAX_GAP:
            return "max_gap"
        case Measure.DURATION:
            return "duration"
        case Measure.TOKENS_PER_SECOND:
            return "tokens_per_second"
        case _:
            return None


def _block(rollup: Rollup, total: int, bad: int, repeats: int | None = None, failed: int = 1) -> Block:
    """Return a block; of ``repeats / failed``, the part that the rule counts."""
    known = None if repeats is None else round(repeats / failed) if failed else 0
    return Block(rollup.started, rollup.length, total, bad, known)


def _bad(failures: dict[str, int], blame: Collection[Blame]) -> int:
    """Return how many failures are bad samples; the others are none, and those of an unknown reason are."""
    return sum(count for kind, count in failures.items() if _is_bad(kind, blame))


def _is_bad(kind: str, blame: Collection[Blame]) -> bool:
    if kind == UNKNOWN_FAULT:
        return True
    try:
        fault = FaultKind(kind)
    except ValueError:  # of a later version
        return False
    return fault not in CALLER_FAULTS and FAULT_PROPERTIES[fault].blame in blame
