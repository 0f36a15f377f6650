"""Builds the PromQL expressions of the rules about vantage points.

Counters are added up over the processes of a vantage point, so a canary may move between replicas, and a restart loses
no run. Bad runs are those that a rule of the daemon counts by default: faults whose blame is the configuration or the
process of the daemon are no evidence about a provider.

The window is the shortest one in the file with five runs, by the interval that the vantage point exports; the longest
one, if there is none. The file has the windows of :data:`WINDOWS` that the canaries of one configuration need.

https://prometheus.io/docs/prometheus/latest/querying/operators/
"""

import json
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from streamcanary.alerting.prometheus import promql
from streamcanary.alerting.rules import Rule
from streamcanary.model import names
from streamcanary.model.alerts.matcher import Matcher
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.prometheus_names import metric_name

PROVIDER_DOWN: Final = "ProviderDown"
DEFAULT_LABEL: Final = names.REGION_LABEL
DEFAULT_AT_LEAST: Final = 2
DEFAULT_THRESHOLD: Final = 0.5
"""The share of bad runs from which a vantage point fails."""

WINDOWS: Final = tuple(60.0 * minutes for minutes in (5, 10, 25, 50, 100, 150, 300, 600, 1440))
"""Lengths in seconds of the windows in which the runs of a vantage point are counted; each holds 5 to 12 runs.

Intervals of 1, 2, 5, 10, 20, 30 and 60 minutes have five runs in theirs."""

RUNS_IN_WINDOW: Final = 5
"""The expected runs in a window, at least; three of them must have been observed."""

MAX_INTERVAL: Final = WINDOWS[-1] / RUNS_IN_WINDOW
"""The longest interval in seconds of a canary that can be evaluated."""

CANARY_IDENTITY: Final = (names.CANARY, names.TARGET, names.PROVIDER_LABEL)
DEPLOYMENT_LABELS: Final = ("job", "namespace")

_INTERVAL: Final = "vantage:streamcanary_interval:seconds"
_SHARE: Final = "vantage:streamcanary_bad_runs:ratio"
FAILING_SERIES: Final = "vantage:streamcanary_canary:failing"
_LAST_SEEN: Final = "vantage:streamcanary_point:last_seen"

_MIN_RUNS: Final = 3
_RECENT_INTERVALS: Final = 3  # since the last run of a vantage point that has a state
_GRACE: Final = 120  # seconds for a run and a scrape
_KEPT_STATE: Final = "1h"  # the last state of a vantage point without data, while ProviderDown fires
_SCRAPE_GAP: Final = "5m"  # a scrape that fails does not end a series
_SILENT_AFTER: Final = 300  # seconds without metrics of a vantage point
_FORGOTTEN_AFTER: Final = 7 * 86_400  # seconds; a vantage point that was removed for good
_EPSILON: Final = "1e-9"
_FIRING: Final = f'ALERTS{{alertname="{PROVIDER_DOWN}", alertstate="firing"}}'


class VantageRuleOptions(Struct, frozen=True, kw_only=True):
    """What can be chosen of the rules.

    ``label`` is the label whose values are the vantage points, ``at_least`` the number of them that must fail, and
    ``of`` how many there are, if that is known. ``by`` are labels that tell canaries of one name apart, ``ignoring``
    those of :data:`DEPLOYMENT_LABELS` that do not. ``match`` selects the series. ``threshold`` is the share of bad runs
    from which a vantage point fails, from 0 to 1. ``intervals`` are those of the canaries, in seconds.
    """

    label: str = DEFAULT_LABEL
    at_least: int = DEFAULT_AT_LEAST
    of: int | None = None
    by: tuple[str, ...] = ()
    ignoring: tuple[str, ...] = ()
    match: tuple[Matcher, ...] = ()
    threshold: float = DEFAULT_THRESHOLD
    intervals: tuple[float, ...] = ()

    @property
    def windows(self) -> tuple[float, ...]:
        """The windows of the canaries, the shortest first; at least one."""
        intervals = [interval for interval in self.intervals if interval <= MAX_INTERVAL] or [0.0]
        return tuple(sorted({next(each for each in WINDOWS if _limit(each) >= interval) for interval in intervals}))


class VantageQueries:
    """The expressions for one choice of options; ``rule`` is the label of the recorded series.

    A process has its own ``instance`` and ``pod``.
    """

    def __init__(self, options: VantageRuleOptions) -> None:
        self._options = options
        label = options.label
        deployment = [each for each in DEPLOYMENT_LABELS if each not in options.ignoring]
        self._deployment = _labels(deployment, options.by, without=label)
        self._canary = _labels(CANARY_IDENTITY, deployment, options.by, without=label)
        self._point = f"{self._canary}, {label}"
        self._process = _labels(CANARY_IDENTITY, DEPLOYMENT_LABELS, options.by, [label, "instance", "pod"])
        matchers = [f"{one.name}{one.operator}{promql.quote(one.value)}" for one in options.match]
        self._matchers = [*matchers, f'{label}!=""']
        is_default = options.threshold == DEFAULT_THRESHOLD
        threshold = "" if is_default else f"{options.threshold:.12g}"
        self.rule = " ".join(filter(None, ("vantage", label, *options.by, *options.ignoring, *matchers, threshold)))

    def recorded(self) -> list[tuple[str, str]]:
        """Return the names and expressions of the recording rules."""
        counts = [recorded for window in self._options.windows for recorded in self._counts(window)]
        return [
            (_INTERVAL, self._interval()),
            *counts,
            (_SHARE, self._share()),
            (FAILING_SERIES, self._state()),
            (_LAST_SEEN, self._last_seen()),
        ]

    def provider_down(self) -> str:
        """Return the expression of the number of failing vantage points, where it is high enough.

        Each keeps its last state for an hour without data while the alert fires.
        """
        at_least, state = self._options.at_least, self._record(FAILING_SERIES)
        kept = f"({state} or last_over_time({state}[{_KEPT_STATE}]))"
        return (
            f"sum by ({self._canary}) ({state}) >= {at_least}\n"
            f"or\n"
            f"(sum by ({self._canary}) {kept} >= {at_least}\n  and on ({self._canary}) {_FIRING})"
        )

    def point_failing(self, quiet: float) -> str:
        """Return the expression of the share of bad runs of failing vantage points, if another one is healthy.

        It is empty while ``ProviderDown`` fires, and for ``quiet`` seconds after it.
        """
        state = self._record(FAILING_SERIES)
        return (
            f"max without ({promql.RULE_LABEL}) ({self._record(_SHARE)} and on ({self._point}) {state} == 1)\n"
            f"  and on ({self._canary}) {state} == 0\n"
            f"  unless on ({self._canary}) max_over_time({_FIRING}[{promql.duration(quiet)}])"
        )

    def point_silent(self) -> str:
        """Return the expression of the seconds without metrics of a vantage point that had some in the last week."""
        return f"max without ({promql.RULE_LABEL}) (time() - {self._record(_LAST_SEEN)}) > {_SILENT_AFTER}"

    def points_missing(self, at_least: int, fewer_than: int) -> str:
        """Return the expression of the number of vantage points with metrics, where it is in this range."""
        seen, by = self._record(_LAST_SEEN), f"count by ({self._deployment})"
        present = f"({by} ({seen} > time() - {_SILENT_AFTER}) or 0 * {by} ({seen}))"
        return f"{present} < {fewer_than}" if not at_least else f"{present} >= {at_least} < {fewer_than}"

    def canaries_missing(self) -> str:
        """Return the expression of the number of canaries that too few vantage points have a state of."""
        at_least = self._options.at_least
        return (
            f"count by ({self._deployment}) (\n"
            f"  group by ({self._canary}) ({self._record(_INTERVAL)} <= {MAX_INTERVAL:.12g})\n"
            f"  unless on ({self._canary}) count by ({self._canary}) ({self._record(FAILING_SERIES)}) >= {at_least}\n"
            f")\n"
            f"unless on ({self._deployment}) {self.points_missing(0, at_least)}"
        )

    def points(self, state: int) -> str:
        """Return the template of the vantage points that have this state for the canary of an alert."""
        label, query = self._options.label, self._template_query(f"{FAILING_SERIES}{{%s}} == {state}")
        return (
            f'{{{{ range $index, $point := {query} | sortByLabel "{label}" }}}}'
            f"{{{{ if $index }}}}, {{{{ end }}}}{{{{ $point.Labels.{label} }}}}{{{{ else }}}}none{{{{ end }}}}"
        )

    def number_of_points(self) -> str:
        """Return the template of the number of vantage points that had a state in the last hour."""
        query = self._template_query(f"count(last_over_time({FAILING_SERIES}{{%s}}[{_KEPT_STATE}]))")
        return f"{{{{ with {query} }}}}{{{{ . | first | value }}}}{{{{ end }}}}"

    def _template_query(self, query: str) -> str:
        """Return the call of ``query`` in a template; ``%s`` stands for the matchers of the canary of an alert."""
        labels = self._canary.split(", ")
        rule = f"{promql.RULE_LABEL}={promql.quote(self.rule)}".replace("%", "%%")
        text = query % ", ".join([rule, *(f"{label}=%q" for label in labels)])
        literal = json.dumps(text) if "`" in text else f"`{text}`"
        return f"(query (printf {literal} {' '.join(f'$labels.{label}' for label in labels)}))"

    def _interval(self) -> str:
        """Return the expression of the seconds between two runs of a vantage point, by canary.

        Members of a fleet share the schedule. Other processes with the same canary are replicas, of which one runs it.
        """
        process = _labels(DEPLOYMENT_LABELS, self._options.by, [self._options.label, "instance", "pod"])
        interval, fleet = map(self._latest, (names.CANARY_INTERVAL, names.FLEET_MEMBERS))
        members = f"({interval} and on ({process}) {fleet})"
        return (
            f"avg by ({self._point}) {members}\n  / count by ({self._point}) {members}\n"
            f"or\nmax by ({self._point}) ({interval} unless on ({process}) {fleet})"
        )

    def _counts(self, window: float) -> list[tuple[str, str]]:
        """Return the recording rules of the bad and the observed runs in the last ``window`` seconds."""
        span = promql.duration(window)
        bad, ok, good = (
            self._series(metric, promql.label_matcher(names.OUTCOME, outcomes), *further)
            for metric, outcomes, further in (
                (names.FAILURES, promql.BAD_OUTCOMES, promql.blame_matchers(Rule())),
                (names.RUNS, [OutcomeKind.OK], []),
                (names.RUNS, promql.GOOD_OUTCOMES, []),
            )
        )
        good_runs = f"sum by ({self._point}) (increase({good}[{span}]))"
        bad_runs = promql.bad_runs_expression(bad, ok, span, by=self._point, process=self._process)
        bad_name, seen_name = _count_names(window)
        return [
            (bad_name, f"{bad_runs}\nor\n0 * {good_runs}"),
            (seen_name, f"{good_runs}\n  + ignoring ({promql.RULE_LABEL}) {self._record(bad_name)}"),
        ]

    def _share(self) -> str:
        """Return the expression of the share of bad runs of the vantage points that have a recent run."""
        windows, parts = self._options.windows, []
        for number, window in enumerate(windows):
            bad, seen = map(self._record, _count_names(window))
            part = f"{bad} / {seen}\n  and {seen} >= {_MIN_RUNS} - {_EPSILON}"
            if number:
                part += f"\n  and {self._record(_INTERVAL)} > {_limit(windows[number - 1]):.12g}"
            if number < len(windows) - 1:
                part += f"\n  and {self._record(_INTERVAL)} <= {_limit(window):.12g}"
            parts.append(f"({part})")
        oldest = f"(time() - {_RECENT_INTERVALS} * {self._record(_INTERVAL)} - {_GRACE})"
        last_run = f"max by ({self._point}) ({self._latest(names.LAST_RUN)})"
        share = "\nor\n".join(parts)
        return f"({share})\n  and on ({self._point}) {last_run} > on ({self._point}) {oldest}"

    def _state(self) -> str:
        """Return the expression of 1 for each vantage point that fails, and 0 for each healthy one.

        One that fails does so until the share is below a quarter of the threshold: in a partial outage the share of a
        few runs varies much.
        """
        share, before = self._record(_SHARE), f"last_over_time({self._record(FAILING_SERIES)}[{_KEPT_STATE}])"
        high = f"{self._options.threshold:.12g} - {_EPSILON}"
        low = f"{self._options.threshold / 4:.12g} - {_EPSILON}"
        return f"({share} >= bool {low}\n  and {before} == 1)\nor\n{share} >= bool {high}"

    def _last_seen(self) -> str:
        """Return the expression of the time when each vantage point last had metrics.

        It continues its own value, also after Prometheus was stopped for less than an hour.
        """
        by = ", ".join(filter(None, (self._deployment, self._options.label)))
        before = f"max without ({promql.RULE_LABEL}) (last_over_time({self._record(_LAST_SEEN)}[1h]))"
        return (
            f"time() + 0 * max by ({by}) ({self._series(names.CANARY_INTERVAL)})\n"
            f"or\n{before} > time() - {_FORGOTTEN_AFTER}"
        )

    def _latest(self, metric: names.Metric) -> str:
        """Return the expression of a gauge that does not end with one failed scrape."""
        return f"max_over_time({self._series(metric)}[{_SCRAPE_GAP}])"

    def _series(self, metric: names.Metric, *matchers: str) -> str:
        return f"{metric_name(metric)}{{{', '.join([*self._matchers, *matchers])}}}"

    def _record(self, name: str) -> str:
        return f"{name}{{{promql.RULE_LABEL}={promql.quote(self.rule)}}}"


def _labels(*groups: Iterable[str], without: str = "") -> str:
    """Return the labels of ``groups``, each once, as PromQL lists them."""
    labels = dict.fromkeys(label for group in groups for label in group)
    return ", ".join(label for label in labels if label != without)


def _limit(window: float) -> float:
    """Return the longest interval in seconds of a canary with enough runs in ``window``."""
    return window / RUNS_IN_WINDOW


def _count_names(window: float) -> tuple[str, str]:
    """Return the names of the recorded counts of bad and of observed runs."""
    return promql.recorded_name("bad", window, "vantage"), promql.recorded_name("seen", window, "vantage")
