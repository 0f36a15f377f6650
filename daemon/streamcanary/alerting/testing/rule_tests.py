"""Unit tests for rules: canaries whose runs end as written, and the alerts that must be firing then.

The format is promtool's (https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/), with runs for
samples. What differs:

- ``rule_files`` are configurations of streamcanary, and each test must hold for each of them. In their place ``alerts``
  can be written out, with nothing but rules in it as a rule.
- A series is a canary: ``chat-mini``, or with written-out ``alerts`` also with labels, ``chat-mini{tier="prod"}``.
  There are no canaries but those with a series. ``values`` are those of :mod:`streamcanary.alerting.testing.series_notation`; a run
  takes no time unless it says so.
- ``interval`` is by default the canary's own schedule.
- ``exp_labels`` are all labels of the alert but ``alertname`` and ``instance``.
- Without ``exp_annotations`` annotations are not compared.
- A detector is judged at each run. ``evaluation_interval`` is how often the engine is told the time besides, for what
  is missing; and it is told at each ``eval_time``.
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
from streamcanary.alerting.testing.replay import TICK_INTERVAL, Replay
from streamcanary.alerting.testing.series_notation import SeriesRun, parse_values
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import Duration, PositiveDuration
from streamcanary.model.config_types.label import LabelName
from streamcanary.model.outcome import Outcome

MAX_TEST_DURATION: Final = 31 * 86400.0
"""Seconds that a test may span."""

MAX_RUNS_PER_TEST: Final = 100_000
"""How many runs one test may have."""

_MAX_TICK_INTERVAL = 30.0  # seconds; with longer ones the engine would take itself to have been asleep
_MAX_TICKS = 200_000
_SERIES = re.compile(r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})\s*(?:\{(?P<labels>.*)\}\s*)?", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)
_RESERVED_LABELS = frozenset({"canary", "instance", "alertname", "alert"})


class _Series(Struct, frozen=True):
    """A canary's name and the labels that are written beside it; ``None`` if there are no braces."""

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
            raise ValueError(f'labels are name="value", each once, and not called {taken}')
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
    """A canary and what becomes of its runs, from the start of the test on."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    series: Annotated[_Series, PlainValidator(_parse_series)]
    values: Annotated[tuple[SeriesRun | None, ...], PlainValidator(parse_values)]


class ExpectedAlert(BaseModel):
    """An alert that must be firing: its labels, and its annotations if they matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exp_labels: dict[LabelName, str] = Field(default_factory=dict)
    exp_annotations: dict[LabelName, str] | None = None


class AlertTest(BaseModel):
    """All alerts called ``alertname`` that must be firing ``eval_time`` seconds after the start; no other may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    eval_time: Annotated[Duration, Field(le=MAX_TEST_DURATION)]
    alertname: str
    exp_alerts: Annotated[tuple[ExpectedAlert, ...], Field(max_length=1000)] = ()


class TestGroup(BaseModel):
    """Some canaries on a time line of their own, from ``start_timestamp`` (seconds since the epoch) on."""

    __test__ = False  # pytest takes it for a test of its own

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
            ConfigIssue(("input_series", number, "series"), f"{name} has a series already; write all its runs in one")
            for number, name in enumerate(names)
            if name in names[:number]
        ]
        if sum(len(series.values) for series in self.input_series) > MAX_RUNS_PER_TEST:
            found.append(ConfigIssue(("input_series",), f"has more than {MAX_RUNS_PER_TEST} runs; write several tests"))
        raise_config_errors(type(self).__name__, found)
        return self


class TestFile(BaseModel):
    """A file of tests."""

    __test__ = False  # pytest takes it for a test of its own

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule_files: Annotated[tuple[Path, ...], Field(min_length=1, max_length=100)] | None = None
    alerts: AlertsConfig | None = None
    evaluation_interval: Annotated[PositiveDuration, Field(ge=1, le=86400)] = TICK_INTERVAL
    tests: Annotated[tuple[TestGroup, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _check_rule_source(self) -> Self:
        if (self.rule_files is None) == (self.alerts is None):
            raise ValueError("needs either rule_files, a list of configurations, or alerts, with rules in it")
        span = max(test.eval_time for group in self.tests for test in group.alert_rule_test)
        if span / min(self.evaluation_interval, _MAX_TICK_INTERVAL) > _MAX_TICKS:
            raise_config_errors(
                type(self).__name__,
                [ConfigIssue(("evaluation_interval",), f"is too short for a test of {span:g}s; write a longer one")],
            )
        if self.alerts is not None:
            missing = "is required with written-out alerts: the time between two runs of each canary"
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
    """An alert as it is compared: sorted labels and annotations."""

    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...] | None = None


class RuleTestFailure(Struct, frozen=True, kw_only=True):
    """What was expected at ``time`` seconds after the start, and what there was."""

    group: str
    alertname: str
    time: float
    expected: tuple[FiringAlert, ...]
    got: tuple[FiringAlert, ...]


class RulesUnderTest(Struct, frozen=True):
    """What tests are run against: rules, and the canaries of a configuration, or ``None`` where series make them."""

    alerts: AlertsConfig
    instance: str = "default"
    canaries: Mapping[str, Canary] | None = None


def reference_issues(file: TestFile, rules_under_test: RulesUnderTest) -> Iterator[ConfigIssue]:
    """Yield what in ``file`` speaks of things that are not in ``ground``."""
    rules = rules_under_test.alerts.all_rules
    for number, group in enumerate(file.tests):
        for place, test in enumerate(group.alert_rule_test):
            if test.alertname not in rules:
                path = ("tests", number, "alert_rule_test", place, "alertname")
                yield ConfigIssue(path, f"there is no rule {test.alertname!r}; known: {', '.join(sorted(rules))}")
        for place, entry in enumerate(group.input_series):
            path = ("tests", number, "input_series", place, "series")
            name, labels = entry.series.name, entry.series.labels
            if rules_under_test.canaries is None:
                continue
            if name not in rules_under_test.canaries:
                yield ConfigIssue(path, f"there is no canary {name!r}; known: {', '.join(rules_under_test.canaries)}")
            elif labels is not None:
                yield ConfigIssue(path, f"the labels of {name} stand in its configuration; write {name} alone")
    if rules_under_test.canaries is None:
        yield from _detector_config_errors(file, rules_under_test)


def _detector_config_errors(file: TestFile, rules_under_test: RulesUnderTest) -> Iterator[ConfigIssue]:
    """Yield what is wrong with written-out rules in view of the canaries that they watch; once for each key."""
    for name, rule in rules_under_test.alerts.rules.items():
        seen: set[tuple[str | int, ...]] = set()
        for group in file.tests:
            for entry in group.input_series:
                canary = _canary(entry, group, rules_under_test)
                issue = rule.detector.config_error(canary) if rule.applies_to(canary) else None
                if issue is not None and issue.path not in seen:
                    seen.add(issue.path)
                    yield ConfigIssue(("alerts", "rules", name, "detector", *issue.path), issue.message)


def run_tests(file: TestFile, rules_under_test: RulesUnderTest) -> Iterator[RuleTestFailure]:
    """Run all tests of ``file``, which has no :func:`mismatches`; yield those that fail, in the order of the file."""
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
    """Hold what fires against what is expected; annotations only where an expected alert of these labels has some."""
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
