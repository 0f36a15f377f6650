"""Unit tests for rules: series of runs, and the alerts that must be firing at given times.

The format is that of promtool (https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/), with
runs in place of samples. Differences:

- ``rule_files`` are configurations of streamcanary. Each test must pass for each of them. In place of ``rule_files``,
  ``alerts`` can hold the rules inline.
- A series is a canary: ``chat-mini``, or with inline ``alerts`` also with labels, ``chat-mini{tier="prod"}``. There are
  no canaries without a series: a rule that pools canaries pools those with one, and divides its false pages among
  them. ``values`` are in the notation of :mod:`streamcanary.alerting.testing.series_notation`; the duration of a run is
  0 unless given.
- ``interval`` defaults to the schedule of the canary.
- ``exp_labels`` are all labels of the alert except ``alertname`` and ``instance``.
- Without ``exp_annotations``, annotations are not compared.
- A detector is evaluated at each run. ``evaluation_interval`` is the time between two further ticks of the engine, for
  missing runs; the engine also ticks at each ``eval_time``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.message import render_alert
from streamcanary.alerting.scope import scope_errors, scope_values
from streamcanary.alerting.testing.replay import TICK_INTERVAL, Replay
from streamcanary.alerting.testing.series_notation import SeriesRun, parse_values
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import Duration, PositiveDuration
from streamcanary.model.config_types.label import LabelName
from streamcanary.model.outcome import Outcome

MAX_TEST_DURATION: Final = 31 * 86400.0
"""The longest time of a test in seconds."""

MAX_RUNS_PER_TEST: Final = 100_000
"""The largest number of runs of one test."""

_MAX_TICK_INTERVAL = 30.0  # seconds; the engine takes longer gaps for a time in which it did not run
_MAX_TICKS = 200_000
_SERIES = re.compile(r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})\s*(?:\{(?P<labels>.*)\}\s*)?", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)
_RESERVED_LABELS = frozenset({"canary", "instance", "alertname", "alert"})


class _Series(Struct, frozen=True):
    """The name of a canary and its labels in braces, ``None`` without braces."""

    name: str
    labels: dict[str, str] | None = None


def _parse_series(value: object) -> _Series:
    if isinstance(value, _Series):
        return value
    found = _SERIES.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('not a series: write the name of a canary, such as chat-mini or chat-mini{tier="prod"}')
    if found["labels"] is None:
        return _Series(found["name"])
    labels, rest = {}, found["labels"].strip()
    while rest:
        label = _LABEL.match(rest)
        if label is None or label[1] in labels or label[1] in _RESERVED_LABELS:
            taken = ", ".join(sorted(_RESERVED_LABELS))
            raise ValueError(f'invalid labels: write name="value", each name once, and none of {taken}')
        labels[label[1]] = re.sub(r'\\(["\\])', r"\1", label[2])
        rest = rest[label.end() :]
    return _Series(found["name"], labels)


def _parse_start(value: object) -> float:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("not a time: write seconds since 1970, or 2027-01-15T08:00:00Z") from None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 4_102_444_800:
        raise ValueError("must be a time from 1970 to 2100, in seconds since 1970 or as 2027-01-15T08:00:00Z")
    return float(value)


class InputSeries(BaseModel):
    """A canary and the results of its runs, from the start of the test on."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    series: Annotated[_Series, PlainValidator(_parse_series)]
    values: Annotated[tuple[SeriesRun | None, ...], PlainValidator(parse_values)]


class ExpectedAlert(BaseModel):
    """An alert that must be firing: its labels, and its annotations if they are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exp_labels: dict[LabelName, str] = Field(default_factory=dict)
    exp_annotations: dict[LabelName, str] | None = None


class AlertTest(BaseModel):
    """All alerts of the rule ``alertname`` that are firing ``eval_time`` seconds after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    eval_time: Annotated[Duration, Field(le=MAX_TEST_DURATION)]
    alertname: str
    exp_alerts: Annotated[tuple[ExpectedAlert, ...], Field(max_length=1000)] = ()


class TestGroup(BaseModel):
    """A test: series of canaries from ``start_timestamp`` (seconds since the epoch) on, and the expected alerts."""

    __test__ = False  # not a test class of pytest

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=200)] = ""
    interval: Annotated[PositiveDuration, Field(ge=0.1, le=MAX_TEST_DURATION)] | None = None
    start_timestamp: Annotated[float, PlainValidator(_parse_start)] = 0.0
    input_series: Annotated[tuple[InputSeries, ...], Field(min_length=1, max_length=1000)]
    alert_rule_test: Annotated[tuple[AlertTest, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _check_series(self) -> Self:
        names = [series.series.name for series in self.input_series]
        found = [
            ConfigIssue(
                ("input_series", number, "series"), f"{name} already has a series; write all its runs in one series"
            )
            for number, name in enumerate(names)
            if name in names[:number]
        ]
        if sum(len(series.values) for series in self.input_series) > MAX_RUNS_PER_TEST:
            found.append(ConfigIssue(("input_series",), f"has more than {MAX_RUNS_PER_TEST} runs; write several tests"))
        raise_config_errors(type(self).__name__, found)
        return self


class TestFile(BaseModel):
    """A file of rule tests."""

    __test__ = False  # not a test class of pytest

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule_files: Annotated[tuple[Path, ...], Field(min_length=1, max_length=100)] | None = None
    alerts: AlertsConfig | None = None
    evaluation_interval: Annotated[PositiveDuration, Field(ge=1, le=86400)] = TICK_INTERVAL
    tests: Annotated[tuple[TestGroup, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _check_rule_source(self) -> Self:
        if (self.rule_files is None) == (self.alerts is None):
            raise ValueError("needs either rule_files, a list of configurations, or alerts, with inline rules")
        span = max(test.eval_time for group in self.tests for test in group.alert_rule_test)
        if span / min(self.evaluation_interval, _MAX_TICK_INTERVAL) > _MAX_TICKS:
            raise_config_errors(
                type(self).__name__,
                [
                    ConfigIssue(
                        ("evaluation_interval",), f"is too short for a test of {span:g}s; write a longer interval"
                    )
                ],
            )
        if self.alerts is not None:
            missing = "is required with inline alerts: the time between two runs of each canary"
            raise_config_errors(
                type(self).__name__,
                [
                    ConfigIssue(("tests", number), f"interval {missing}")
                    for number, group in enumerate(self.tests)
                    if group.interval is None
                ],
            )
        return self


class FiringAlert(Struct, frozen=True):
    """A firing alert for comparison: sorted labels and annotations."""

    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...] | None = None


class RuleTestFailure(Struct, frozen=True, kw_only=True):
    """The expected and the firing alerts ``time`` seconds after the start."""

    group: str
    alertname: str
    time: float
    expected: tuple[FiringAlert, ...]
    got: tuple[FiringAlert, ...]


class RulesUnderTest(Struct, frozen=True):
    """The rules under test, and the canaries of a configuration, or ``None`` if the series define the canaries."""

    alerts: AlertsConfig
    instance: str = "default"
    canaries: Mapping[str, Canary] | None = None


def reference_issues(file: TestFile, rules_under_test: RulesUnderTest) -> Iterator[ConfigIssue]:
    """Yield references in ``file`` to unknown rules and canaries, and detectors that are invalid for a canary."""
    rules = rules_under_test.alerts.all_rules
    for number, group in enumerate(file.tests):
        for place, test in enumerate(group.alert_rule_test):
            if test.alertname not in rules:
                path = ("tests", number, "alert_rule_test", place, "alertname")
                yield ConfigIssue(path, f"unknown rule {test.alertname!r}; known: {', '.join(sorted(rules))}")
        for place, entry in enumerate(group.input_series):
            path = ("tests", number, "input_series", place, "series")
            name, labels = entry.series.name, entry.series.labels
            if rules_under_test.canaries is None:
                continue
            if name not in rules_under_test.canaries:
                yield ConfigIssue(path, f"unknown canary {name!r}; known: {', '.join(rules_under_test.canaries)}")
            elif labels is not None:
                yield ConfigIssue(path, f"the labels of {name} are in its configuration; write only {name}")
    if rules_under_test.canaries is None:
        yield from _detector_config_errors(file, rules_under_test)


def _detector_config_errors(file: TestFile, rules_under_test: RulesUnderTest) -> Iterator[ConfigIssue]:
    """Yield the errors of inline rules for the scopes and canaries that they apply to, once for each key."""
    for name, rule in rules_under_test.alerts.rules.items():
        seen: set[tuple[str | int, ...]] = set()
        for group in file.tests:
            canaries = [_canary(entry, group, rules_under_test) for entry in group.input_series]
            issues = list(scope_errors(rule, canaries)) if rule.enabled else []
            for value in scope_values(rule, canaries):
                if (error := rule.detector.config_error(value.stream())) is not None:
                    issues.append(error._replace(path=("detector", *error.path)))
            for issue in issues:
                if issue.path not in seen:
                    seen.add(issue.path)
                    yield ConfigIssue(("alerts", "rules", name, *issue.path), issue.message)


def run_tests(file: TestFile, rules_under_test: RulesUnderTest) -> Iterator[RuleTestFailure]:
    """Run all tests of ``file``, which has no :func:`reference_issues`; yield the failures in the order of the file."""
    for group in file.tests:
        yield from _run_group(group, rules_under_test, min(file.evaluation_interval, _MAX_TICK_INTERVAL))


def _run_group(group: TestGroup, rules_under_test: RulesUnderTest, tick: float) -> Iterator[RuleTestFailure]:
    canaries = [_canary(entry, group, rules_under_test) for entry in group.input_series]
    replay = Replay(
        Engine(rules_under_test.alerts, rules_under_test.instance, canaries), group.start_timestamp, tick=tick
    )
    tests = sorted(enumerate(group.alert_rule_test), key=lambda pair: pair[1].eval_time)
    end = group.start_timestamp + tests[-1][1].eval_time
    outcomes = sorted(
        (
            outcome
            for canary, entry in zip(canaries, group.input_series, strict=True)
            for outcome in _outcomes(canary, entry.values, group, end)
        ),
        key=lambda outcome: outcome.started + outcome.duration,
    )
    pending_outcomes = iter(outcomes)
    outcome = next(pending_outcomes, None)
    failures: list[tuple[int, RuleTestFailure]] = []
    for number, test in tests:
        moment = group.start_timestamp + test.eval_time
        while outcome is not None and outcome.started + outcome.duration <= moment:
            replay.observe(outcome)
            outcome = next(pending_outcomes, None)
        replay.tick_at(moment)
        if failure := _compare(group, test, replay, moment):
            failures.append((number, failure))
    for _, failure in sorted(failures, key=lambda pair: pair[0]):
        yield failure


def _canary(entry: InputSeries, group: TestGroup, rules_under_test: RulesUnderTest) -> Canary:
    if rules_under_test.canaries is not None:
        return rules_under_test.canaries[entry.series.name]
    labels = dict(entry.series.labels or {})
    target, provider = labels.pop("target", "target"), labels.pop("provider", "provider")
    interval = group.interval or 60.0
    return Canary(
        name=entry.series.name,
        target=target,
        provider=provider,
        interval=interval,
        timeout=min(60.0, 0.8 * interval),
        host=target,
        model=labels.get("model", ""),
        labels=labels,
    )


def _outcomes(canary: Canary, runs: Sequence[SeriesRun | None], group: TestGroup, end: float) -> Iterator[Outcome]:
    at = group.start_timestamp
    for number, run in enumerate(runs):
        if number:
            at = at + group.interval if group.interval else canary.nth_run_after(at, 1)
        if at > end:
            return
        if run is not None:
            yield run.to_outcome(canary, number, at)


def _compare(group: TestGroup, test: AlertTest, replay: Replay, now: float) -> RuleTestFailure | None:
    """Compare firing and expected alerts; annotations only where an expected alert with these labels has some."""
    expected = [
        FiringAlert(
            _sorted_items(alert.exp_labels),
            None if alert.exp_annotations is None else _sorted_items(alert.exp_annotations),
        )
        for alert in test.exp_alerts
    ]
    expected.sort(key=_sort_key)
    labels_without_annotations = {firing.labels for firing in expected if firing.annotations is None}
    got = []
    for incident in replay.open_incidents:
        if incident.rule == test.alertname:
            alert = render_alert(incident, now)
            labels = _sorted_items(
                {name: text for name, text in alert.labels.items() if name not in ("alertname", "instance")}
            )
            got.append(
                FiringAlert(labels, None if labels in labels_without_annotations else _sorted_items(alert.annotations))
            )
    got.sort(key=_sort_key)
    if got == expected:
        return None
    return RuleTestFailure(
        group=group.name, alertname=test.alertname, time=test.eval_time, expected=tuple(expected), got=tuple(got)
    )


def _sort_key(firing: FiringAlert) -> tuple[Any, ...]:
    return firing.labels, firing.annotations or ()


def _sorted_items(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))
