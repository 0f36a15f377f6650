"""What the recorded runs in the store say about the rules of a configuration, for ``check``."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.forecast import MONTH_SECONDS, RuleBaseline, format_pages, learn_baselines
from streamcanary.alerting.forecast.shift_forecast import SHIFT_FACTORS, ShiftForecast, shift_forecasts
from streamcanary.alerting.learning.description import describe_baseline
from streamcanary.alerting.learning.rollup_history import LEARNED_PERIOD
from streamcanary.alerting.rules import Rule
from streamcanary.cli.table import format_table
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome
from streamcanary.settings import Settings

_MAX_RUNS: Final = 50_000  # latest recorded runs that are read; some tenths of a second
_MAX_LINES = 8


class RecordedBaselines(NamedTuple):
    """What was learned from the recorded runs; ``problem`` is why the store could not be read, if it could not."""

    baselines: list[RuleBaseline]
    problem: str | None = None


def read_baselines(rules: Mapping[str, Rule], settings: Settings) -> RecordedBaselines:
    """Return what ``rules`` learn from the store of ``settings``; without a store, nothing is learned yet.

    What a daemon has learned from more runs than are read here is taken from the store.
    """
    from streamcanary.store.errors import RunsUnreadable, StoreMissing
    from streamcanary.store.recorded_runs import read_baselines as read_rows
    from streamcanary.store.recorded_runs import read_recorded_rollups, read_runs

    store = settings.store
    if not any(rule.detector.learns or rule.detector.type == "spike" for rule in rules.values()):
        return RecordedBaselines([])
    canaries, instance = settings.to_canaries(), settings.member_instance
    try:
        runs = (run for run in read_runs(store, limit=_MAX_RUNS) if isinstance(run, Outcome))
        stored = read_state({"baselines": read_rows(store)})[0].baselines
        since = time.time() - LEARNED_PERIOD
        return RecordedBaselines(
            learn_baselines(
                rules, instance, canaries, runs, stored, lambda names: read_recorded_rollups(store, since, names)
            )
        )
    except StoreMissing:
        pass
    except RunsUnreadable as unreadable:
        problem = (
            f"store.{'url' if store.is_shared else 'path'}: cannot compare recorded runs with normal: {unreadable}"
        )
        return RecordedBaselines(learn_baselines(rules, instance, canaries, ()), problem)
    return RecordedBaselines(learn_baselines(rules, instance, canaries, ()))


def baseline_lines(baselines: Sequence[RuleBaseline], *, list_all: bool) -> Iterator[str]:
    """Yield what the rules that learn have learned, and those that have too few runs."""
    for name, group in groupby((one for one in baselines if one.learns), key=lambda one: one.name):
        some = list(group)
        known = [one for one in some if one.baseline is not None]
        for one in known if list_all else known[:_MAX_LINES]:
            if one.baseline is not None:
                yield f"{name} learned of {one.value.subject}: {describe_baseline(one.rule.measure, one.baseline)}"
        if len(known) > _MAX_LINES and not list_all:
            yield f"{name} learned of {len(known) - _MAX_LINES} more; list all with --all"
        missing = [one.value.subject for one in some if one.baseline is None]
        if missing and (known or some[0].rule.detector.type == "shift" or _needs_rate(some[0].rule)):
            subjects = missing[0] if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more"
            yield f"{name} has learned nothing of {subjects} yet: {_what_is_missing(some[0].rule)}"


def shift_lines(baselines: Sequence[RuleBaseline], *, list_all: bool) -> Iterator[str]:
    """Yield the forecasts of ``shift`` rules as a table."""
    forecasts = shift_forecasts(baselines)
    if not forecasts:
        return
    shown = forecasts if list_all else forecasts[:_MAX_LINES]
    delays = [f"{factor:g}x WORSE" for factor in SHIFT_FACTORS]
    yield from format_table(
        [("RULE", "CANARY", "MEASURE", "EVERY", *delays, "RESOLVES AFTER", "FALSE PAGES"), *map(_shift_row, shown)]
    )
    if len(forecasts) > len(shown):
        yield f"and {len(forecasts) - len(shown)} more; list all with --all"
    yield "WORSE: mean time until the rule fires after all values become worse by that factor"


def _shift_row(forecast: ShiftForecast) -> tuple[str, ...]:
    one = forecast.baseline
    return (
        one.name,
        one.value.subject,
        str(one.rule.measure),
        str(one.value.schedule),
        *(
            format_duration(delay) if delay <= MONTH_SECONDS else f">{format_duration(MONTH_SECONDS)}"
            for delay in forecast.detection_delays
        ),
        f"{forecast.runs_to_resolve} good runs",
        format_pages(forecast.false_pages),
    )


def _needs_rate(rule: Rule) -> bool:
    return getattr(rule.detector, "normal", None) == "learned"


def _what_is_missing(rule: Rule) -> str:
    if rule.detector.type == "shift":
        return "it needs a day of runs, and 200 answers; until then it neither fires nor resolves"
    return "it needs 200 runs outside incidents; until then it uses its defaults"
