"""Prints what a series of runs has measured: as text, and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from streamcanary.cli.markdown import escape_markdown, markdown_table
from streamcanary.cli.measurements.distribution import Distribution, bar
from streamcanary.cli.measurements.run_statistics import MEASURES, PERCENTILE_NAMES, PERCENTILES, RunStatistics
from streamcanary.cli.table import format_table
from streamcanary.model.config_types.fraction import format_fraction
from streamcanary.model.fault_words import fault_words
from streamcanary.model.outcome import OutcomeKind

_HISTOGRAM_OF = ("first_token", "duration")


class ProbedCanary(Struct, frozen=True):
    """A canary that was probed, its runs, and what fails the probe."""

    name: str
    target: str
    model: str
    statistics: RunStatistics
    violations: tuple[str, ...] = ()


def text_lines(canary: ProbedCanary, note: str) -> Iterator[str]:
    """Yield the report of a canary as text; ``note`` says how it was probed."""
    statistics = canary.statistics
    yield f"{canary.name}: {statistics.kinds.total()} runs of {canary.target}, model {canary.model}{note}"
    yield f"  {_summary(statistics)}"
    if rows := [*_percentile_rows(statistics, MEASURES)]:
        yield ""
        yield from (f"  {line}" for line in format_table([("", *PERCENTILE_NAMES), *rows]))
    for name in _HISTOGRAM_OF:
        if len(values := statistics.distributions[name]) > 1:
            yield ""
            yield from (f"  {line}" for line in _histogram_lines(name, values))
    if statistics.faults:
        yield ""
        yield from (f"  {line}" for line in format_table([("FAULT", "BLAME", "RUNS"), *_fault_rows(statistics)]))
    if canary.violations:
        yield ""
        yield from (f"  FAILED  {text}" for text in canary.violations)


def markdown_lines(canaries: Sequence[ProbedCanary], note: str) -> Iterator[str]:
    """Yield the report of ``canaries`` as Markdown, as a pipeline shows it: what failed first."""
    failing = [canary for canary in canaries if canary.violations]
    verb = "passed" if not failing else f"failed: {', '.join(escape_markdown(canary.name) for canary in failing)}"
    yield f"## Probe {verb}"
    yield ""
    yield f"{sum(one.statistics.kinds.total() for one in canaries)} runs{note}."
    for canary in canaries:
        statistics = canary.statistics
        yield ""
        yield f"### {escape_markdown(canary.name)}"
        yield ""
        yield f"{escape_markdown(canary.target)}, model {escape_markdown(canary.model)}: {_summary(statistics)}"
        if canary.violations:
            yield ""
            yield from (f"- **{escape_markdown(text)}**" for text in canary.violations)
        if rows := [*_percentile_rows(statistics, MEASURES)]:
            yield ""
            yield from markdown_table(("", *PERCENTILE_NAMES), rows)
        if statistics.faults:
            yield ""
            yield from markdown_table(("Fault", "Blame", "Runs"), _fault_rows(statistics))


def print_json(canaries: Sequence[ProbedCanary]) -> None:
    """Print one JSON object for each canary, after those of the runs."""
    for canary in canaries:
        summary = {**canary.statistics.to_json(), "violations": canary.violations}
        print(msgspec.json.encode({"canary": canary.name, "summary": summary}).decode())


def print_violated_requirements(canaries: Sequence[ProbedCanary], requirements: Sequence[str]) -> None:
    """Print the requirements that single runs do not meet; their outcomes are printed already."""
    for canary in canaries:
        for text in canary.violations:
            if text.startswith(tuple(one.strip() for one in requirements)):
                print(f"  FAILED  {canary.name}: {text}")


def _summary(statistics: RunStatistics) -> str:
    counts = ", ".join(f"{statistics.kinds[kind]} {kind.value}" for kind in OutcomeKind if statistics.kinds[kind])
    parts = [counts or "no run has ended"]
    if statistics.error_rate is not None and statistics.first_attempt_error_rate is not None:
        before = format_fraction(statistics.first_attempt_error_rate)
        parts.append(f"error rate {format_fraction(statistics.error_rate)}, before retries {before}")
    if statistics.cost is not None:
        parts.append(f"{statistics.cost:.4f} USD")
    return "; ".join(parts)


def _percentile_rows(statistics: RunStatistics, measures: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    for name in measures:
        if len(values := statistics.distributions[name]):
            shown = (MEASURES[name].format(values.percentile(percent)) for percent in PERCENTILES)
            yield MEASURES[name].title, *shown


def _histogram_lines(name: str, values: Distribution) -> Iterator[str]:
    bins = values.histogram()
    most = max(each.count for each in bins)
    show = MEASURES[name].format
    yield MEASURES[name].title
    rows = [(f"  {show(each.low)} - {show(each.high)}", f"{each.count}", bar(each.count, most)) for each in bins]
    yield from format_table(rows)


def _fault_rows(statistics: RunStatistics) -> list[tuple[str, ...]]:
    return [(fault_words(kind), blame.value, str(count)) for (kind, blame), count in statistics.faults.most_common()]
