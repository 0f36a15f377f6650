"""What a probe requires of its runs: with it, `probe` is a gate in a pipeline."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from streamcanary.cli.measurements.run_statistics import MEASURES, RunStatistics
from streamcanary.model.config_types.duration import parse_duration
from streamcanary.model.config_types.fraction import format_fraction, parse_fraction
from streamcanary.model.outcome import OutcomeKind

FAIL_ON: Final = {
    "slow": frozenset({OutcomeKind.SLOW, OutcomeKind.FAILED_OVER, OutcomeKind.FAILED}),
    "failed_over": frozenset({OutcomeKind.FAILED_OVER, OutcomeKind.FAILED}),
    "failed": frozenset({OutcomeKind.FAILED}),
    "never": frozenset[OutcomeKind](),
}
"""The outcomes that fail the probe, by the value of ``--fail-on``; an internal error or a skipped run always does."""

_UNMEASURED = frozenset({OutcomeKind.INTERNAL_ERROR, OutcomeKind.SKIPPED})
_ERRORS = {"errors": "error_rate", "first_attempts": "first_attempt_error_rate"}
_REQUIREMENT = re.compile(r"\s*(\w{1,30})\s*(?:(p\d{1,2}(?:\.\d)?|max|min)\s*)?(<=|>=)\s*([\w.%]{1,20})\s*", re.ASCII)
_EXPECTED = "write for example 'first_token p95 <= 2s', 'tokens_per_second p95 >= 20' or 'errors <= 5%'"


class Requirement(Struct, frozen=True):
    """A limit of a measure, at a percentile; of the error rates without one.

    ``percent`` is from 0 to 100: so many of the runs are as good or better. ``limit`` is in the unit of the measure:
    seconds, tokens a second, or a fraction.
    """

    text: str
    measure: str
    limit: float
    is_upper: bool
    percent: float | None = None

    def violation(self, statistics: RunStatistics) -> str | None:
        """Return how ``statistics`` break the requirement, ``None`` if they do not.

        A measure without values breaks it: what was not measured is not within a limit.
        """
        if self.percent is None:
            value: float | None = getattr(statistics, _ERRORS[self.measure])
            shown = "" if value is None else format_fraction(value)
        else:
            value = statistics.distributions[self.measure].percentile(self.percent)
            shown = MEASURES[self.measure].format(value)
        if value is None:
            return f"{self.text}: not measured, because no run was answered"
        is_met = value <= self.limit if self.is_upper else value >= self.limit
        return None if is_met else f"{self.text}: it is {shown}"


def parse_requirement(text: str) -> Requirement:
    """Return a requirement such as ``first_token p95 <= 2s``.

    Raises:
        ValueError: if it cannot be read, or its measure is unknown.
    """
    found = _REQUIREMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a requirement; {_EXPECTED}")
    measure, percentile, comparison, number = found.groups()
    is_upper = comparison.startswith("<")
    if measure in _ERRORS:
        if percentile or not is_upper:
            raise ValueError(f"{measure} is one rate with an upper limit: '{measure} <= 5%'")
        limit = 0.0 if number in ("0", "0%") else parse_fraction(number)
        return Requirement(text.strip(), measure, limit, is_upper)
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure}; there are {', '.join((*_ERRORS, *MEASURES))}")
    if percentile is None:
        raise ValueError(f"{measure} needs a percentile: '{measure} p95 {comparison} {number}'")
    worst, best = ("max", "min") if MEASURES[measure].is_time else ("min", "max")
    percent = {worst: 100.0, best: 0.0}.get(percentile)
    return Requirement(
        text.strip(),
        measure,
        parse_duration(number) if MEASURES[measure].is_time else _parse_number(number),
        is_upper,
        float(percentile[1:]) if percent is None else percent,
    )


def _parse_number(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise ValueError(f"not a number of tokens per second: {text}")
    return float(text)


def failing_kinds(fail_on: str, requirements: Sequence[Requirement]) -> frozenset[OutcomeKind]:
    """Return the outcomes of which a single one fails the probe.

    With a requirement on ``errors``, it is not one failed run that fails the probe, but too many of them; ``fail_on``
    still decides on slow runs.
    """
    counted_as_errors = FAIL_ON["failed_over"] if any(one.measure == "errors" for one in requirements) else frozenset()
    return _UNMEASURED | (FAIL_ON[fail_on] - counted_as_errors)


def violations(
    statistics: RunStatistics, kinds: frozenset[OutcomeKind], requirements: Sequence[Requirement]
) -> Iterator[str]:
    """Yield what fails the probe of one canary: runs with an outcome in ``kinds``, and broken requirements."""
    for kind in OutcomeKind:
        if kind in kinds and (count := statistics.kinds[kind]):
            yield f"{count} of {statistics.kinds.total()} runs {kind.value}"
    yield from filter(None, (one.violation(statistics) for one in requirements))
