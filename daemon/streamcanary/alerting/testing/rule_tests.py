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
from streamcanary.alerting.notify.message import render_incident
from streamcanary.alerting.testing.replay import TICK, Replay
from streamcanary.alerting.testing.series_notation import Word, parse_values
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import Misfit, refuse
from streamcanary.model.config_types.duration import Duration, PositiveDuration
from streamcanary.model.config_types.label import LabelName
from streamcanary.model.outcome import Outcome

LONGEST: Final = 31 * 86400.0
"""Seconds that a test may span."""

MOST_RUNS: Final = 100_000
"""How many runs one test may have."""

_LONGEST_TICK = 30.0  # seconds; with longer ones the engine would take itself to have been asleep
_MOST_TICKS = 200_000
_SERIES = re.compile(r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})\s*(?:\{(?P<labels>.*)\}\s*)?", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)
_TAKEN = frozenset({"canary", "instance", "alertname", "alert"})


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
        if label is None or label[1] in labels or label[1] in _TAKEN:
            taken = ", ".join(sorted(_TAKEN))
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
    values: Annotated[tuple[Word | None, ...], PlainValidator(parse_values)]


class ExpectedAlert(BaseModel):
    """An alert that must be firing: its labels, and its annotations if they matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exp_labels: dict[LabelName, str] = Field(default_factory=dict)
    exp_annotations: dict[LabelName, str] | None = None


class AlertTest(BaseModel):
    """All alerts called ``alertname`` that must be firing ``eval_time`` seconds after the start; no other may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    eval_time: Annotated[Duration, Field(le=LONGEST)]
    alertname: str
    exp_alerts: Annotated[tuple[ExpectedAlert, ...], Field(max_length=1000)] = ()


class TestGroup(BaseModel):
    """Some canaries on a time line of their own, from ``start_timestamp`` (seconds since the epoch) on."""

    __test__ = False  # pytest takes it for a test of its own

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=200)] = ""
    interval: Annotated[PositiveDuration, Field(ge=0.1, le=LONGEST)] | None = None
    start_timestamp: Annotated[float, PlainValidator(_parse_start)] = 0.0
    input_series: Annotated[tuple[InputSeries, ...], Field(min_length=1, max_length=1000)]
    alert_rule_test: Annotated[tuple[AlertTest, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [series.series.name for series in self.input_series]
        found = [
            Misfit(("input_series", number, "series"), f"{name} has a series already; write all its runs in one")
            for number, name in enumerate(names)
            if name in names[:number]
        ]
        if sum(len(series.values) for series in self.input_series) > MOST_RUNS:
            found.append(Misfit(("input_series",), f"has more than {MOST_RUNS} runs; write several tests"))
        refuse(type(self).__name__, found)
        return self


class TestFile(BaseModel):
    """A file of tests."""

    __test__ = False  # pytest takes it for a test of its own

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule_files: Annotated[tuple[Path, ...], Field(min_length=1, max_length=100)] | None = None
    alerts: AlertsConfig | None = None
    evaluation_interval: Annotated[PositiveDuration, Field(ge=1, le=86400)] = TICK
    tests: Annotated[tuple[TestGroup, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _has_rules(self) -> Self:
        if (self.rule_files is None) == (self.alerts is None):
            raise ValueError("needs either rule_files, a list of configurations, or alerts, with rules in it")
        span = max(test.eval_time for group in self.tests for test in group.alert_rule_test)
        if span / min(self.evaluation_interval, _LONGEST_TICK) > _MOST_TICKS:
            refuse(
                type(self).__name__,
                [Misfit(("evaluation_interval",), f"is too short for a test of {span:g}s; write a longer one")],
            )
        if self.alerts is not None:
            missing = "is required with written-out alerts: the time between two runs of each canary"
            refuse(
                type(self).__name__,
                [
                    Misfit(("tests", number), f"interval {missing}")
                    for number, group in enumerate(self.tests)
                    if group.interval is None
                ],
            )
        return self


class Firing(Struct, frozen=True):
    """An alert as it is compared: sorted labels and annotations."""

    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...] | None = None


class Failure(Struct, frozen=True, kw_only=True):
    """What was expected at ``time`` seconds after the start, and what there was."""

    group: str
    alertname: str
    time: float
    expected: tuple[Firing, ...]
    got: tuple[Firing, ...]


class Ground(Struct, frozen=True):
    """What tests are run against: rules, and the canaries of a configuration, or ``None`` where series make them."""

    alerts: AlertsConfig
    instance: str = "default"
    canaries: Mapping[str, Canary] | None = None


def mismatches(file: TestFile, ground: Ground) -> Iterator[Misfit]:
    """Yield what in ``file`` speaks of things that are not in ``ground``."""
    rules = ground.alerts.rulebook
    for number, group in enumerate(file.tests):
        for place, test in enumerate(group.alert_rule_test):
            if test.alertname not in rules:
                path = ("tests", number, "alert_rule_test", place, "alertname")
                yield Misfit(path, f"there is no rule {test.alertname!r}; known: {', '.join(sorted(rules))}")
        for place, entry in enumerate(group.input_series):
            path = ("tests", number, "input_series", place, "series")
            name, labels = entry.series.name, entry.series.labels
            if ground.canaries is None:
                continue
            if name not in ground.canaries:
                yield Misfit(path, f"there is no canary {name!r}; known: {', '.join(ground.canaries)}")
            elif labels is not None:
                yield Misfit(path, f"the labels of {name} stand in its configuration; write {name} alone")
    if ground.canaries is None:
        yield from _unfit(file, ground)


def _unfit(file: TestFile, ground: Ground) -> Iterator[Misfit]:
    """Yield what is wrong with written-out rules in view of the canaries that they watch; once for each key."""
    for name, rule in ground.alerts.rules.items():
        seen: set[tuple[str | int, ...]] = set()
        for group in file.tests:
            for entry in group.input_series:
                canary = _canary(entry, group, ground)
                misfit = rule.detector.unfit(canary) if rule.watches(canary) else None
                if misfit is not None and misfit.path not in seen:
                    seen.add(misfit.path)
                    yield Misfit(("alerts", "rules", name, "detector", *misfit.path), misfit.message)


def run(file: TestFile, ground: Ground) -> Iterator[Failure]:
    """Run all tests of ``file``, which has no :func:`mismatches`; yield those that fail, in the order of the file."""
    for group in file.tests:
        yield from _run(group, ground, min(file.evaluation_interval, _LONGEST_TICK))


def _run(group: TestGroup, ground: Ground, tick: float) -> Iterator[Failure]:
    canaries = [_canary(entry, group, ground) for entry in group.input_series]
    replay = Replay(Engine(ground.alerts, ground.instance, canaries), group.start_timestamp, tick=tick)
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
    waiting = iter(outcomes)
    outcome = next(waiting, None)
    failures: list[tuple[int, Failure]] = []
    for number, test in tests:
        moment = group.start_timestamp + test.eval_time
        while outcome is not None and outcome.started + outcome.duration <= moment:
            replay.see(outcome)
            outcome = next(waiting, None)
        replay.look(moment)
        if failure := _judge(group, test, replay, moment):
            failures.append((number, failure))
    for _, failure in sorted(failures, key=lambda pair: pair[0]):
        yield failure


def _canary(entry: InputSeries, group: TestGroup, ground: Ground) -> Canary:
    if ground.canaries is not None:
        return ground.canaries[entry.series.name]
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


def _outcomes(canary: Canary, words: Sequence[Word | None], group: TestGroup, end: float) -> Iterator[Outcome]:
    at = group.start_timestamp
    for number, word in enumerate(words):
        if number:
            at = at + group.interval if group.interval else canary.nth_after(at, 1)
        if at > end:
            return
        if word is not None:
            yield word.outcome(canary, number, at)


def _judge(group: TestGroup, test: AlertTest, replay: Replay, now: float) -> Failure | None:
    """Hold what fires against what is expected; annotations only where an expected alert of these labels has some."""
    expected = [
        Firing(_sorted(alert.exp_labels), None if alert.exp_annotations is None else _sorted(alert.exp_annotations))
        for alert in test.exp_alerts
    ]
    expected.sort(key=_order)
    shown = {firing.labels for firing in expected if firing.annotations is None}
    got = []
    for incident in replay.firing:
        if incident.rule == test.alertname:
            alert = render_incident(incident, now)
            labels = _sorted(
                {name: text for name, text in alert.labels.items() if name not in ("alertname", "instance")}
            )
            got.append(Firing(labels, None if labels in shown else _sorted(alert.annotations)))
    got.sort(key=_order)
    if got == expected:
        return None
    return Failure(
        group=group.name, alertname=test.alertname, time=test.eval_time, expected=tuple(expected), got=tuple(got)
    )


def _order(firing: Firing) -> tuple[Any, ...]:
    return firing.labels, firing.annotations or ()


def _sorted(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))
