"""Metrics of canary runs, recorded through the OpenTelemetry API."""

from collections.abc import Container
from typing import Final

from opentelemetry import metrics
from opentelemetry.context import Context

from streamcanary import __version__
from streamcanary.canary.drift.model_tracker import CHANGE_TYPES, AnsweringModel, ChangeType
from streamcanary.canary.drift.response_gauges import ResponseGauges
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.metric_labels import metric_labels
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.spend import Spend

MISSED_REASONS: Final = ("late", "overlap", "concurrency", "shutdown", "budget", "behind_schedule")
"""Why a run that was due did not start."""

_SUCCESSFUL = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})
_FAILED = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER})


class CanaryMetrics:
    """The counters, gauges and histogram of runs, shared by all canaries.

    The counters of a canary have series before the first event, unless ``has_reduced_series``; then rate limits have
    series by target only.
    """

    def __init__(self, clock: Clock, *, has_reduced_series: bool = False) -> None:
        self._clock = clock
        self._has_reduced_series = has_reduced_series
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)

        def counter(metric: names.Metric) -> metrics.Counter:
            return meter.create_counter(metric.name, metric.unit, metric.description)

        self._runs = counter(names.RUNS)
        self._failures = counter(names.FAILURES)
        self._missed = counter(names.RUNS_MISSED)
        self._tokens = counter(names.TOKENS)
        self._spend = counter(names.SPEND)
        self._model_changes = counter(names.MODEL_CHANGES)
        shed = names.SCHEDULE_SHED
        self._shed_share = meter.create_gauge(shed.name, shed.unit, shed.description)
        self._response_gauges = ResponseGauges(meter, quotas_by_target=has_reduced_series)
        self._lag = meter.create_histogram(
            names.SCHEDULE_LAG.name,
            names.SCHEDULE_LAG.unit,
            names.SCHEDULE_LAG.description,
            explicit_bucket_boundaries_advisory=names.SCHEDULE_LAG.buckets,
        )
        self._last_run, self._last_success, self._last_failure = (
            meter.create_gauge(metric.name, metric.unit, metric.description)
            for metric in (names.LAST_RUN, names.LAST_SUCCESS, names.LAST_FAILURE)
        )
        self._info, self._certificate_expiry, self._interval = (
            meter.create_gauge(metric.name, metric.unit, metric.description)
            for metric in (names.CANARY_INFO, names.CERTIFICATE_EXPIRY, names.CANARY_INTERVAL)
        )

    def initialize_series(self, canary: Canary) -> None:
        """Create the series of ``canary`` at 0: ``increase()`` misses the first error of a series that starts at 1.

        ``streamcanary.failures`` is left out: a series for each of more than thirty kinds of fault, most of which never
        occur, would be the largest part of all series.
        """
        labels = metric_labels(canary)
        if not self._has_reduced_series:
            for kind in OutcomeKind:
                self._runs.add(0, {**labels, names.OUTCOME: kind.value})
            for reason in MISSED_REASONS:
                self._missed.add(0, {**labels, names.REASON: reason})
            for change in CHANGE_TYPES:
                self._model_changes.add(0, {**labels, names.TYPE: change})
        self._info.set(1, {**canary.labels, **labels})
        self._interval.set(canary.interval, labels)

    def record_run(self, canary: Canary, outcome: Outcome, context: Context) -> None:
        """Record a finished run."""
        labels = metric_labels(canary)
        result = {**labels, names.OUTCOME: outcome.kind.value}
        self._runs.add(1, result, context)
        fault = outcome.fault
        if fault is not None:
            kind = {names.ERROR_TYPE: fault.kind.value, names.BLAME: fault.blame.value}
            self._failures.add(1, {**result, **kind}, context)
        elif outcome.kind in _FAILED:
            self._failures.add(1, result, context)
        if outcome.kind is OutcomeKind.SKIPPED:
            return
        self._lag.record(max(0.0, outcome.started - outcome.scheduled), labels, context)
        self._last_run.set(self._clock.time(), labels)
        if outcome.certificate_expiry is not None:
            self._certificate_expiry.set(outcome.certificate_expiry, labels)
        if outcome.kind in _SUCCESSFUL:
            self._last_success.set(self._clock.time(), labels)
        elif outcome.kind in _FAILED:
            self._last_failure.set(self._clock.time(), labels)

    def restore_last_success(self, canary: Canary, outcome: Outcome) -> None:
        """Record when ``outcome`` ended, the last success of an earlier process; not in the future."""
        self._last_success.set(self._end_of(outcome), metric_labels(canary))

    def restore_last_run(self, canary: Canary, outcome: Outcome) -> None:
        """Record when ``outcome`` ended, the last run of an earlier process that was not skipped; not in the future."""
        self._last_run.set(self._end_of(outcome), metric_labels(canary))
        if outcome.kind in _FAILED:
            self._last_failure.set(self._end_of(outcome), metric_labels(canary))

    def _end_of(self, outcome: Outcome) -> float:
        return min(outcome.started + outcome.duration, self._clock.time())

    def record_response(self, canary: Canary, outcome: Outcome, model: AnsweringModel | None) -> None:
        """Record what the provider reported with a run: rate limits, sunset, and the ``model`` that answers."""
        self._response_gauges.record(canary, outcome, model)

    def retain(self, canaries: Container[str]) -> None:
        """Forget what was reported to canaries that are not among these names."""
        self._response_gauges.retain(canaries)

    def record_model_change(self, canary: Canary, change: ChangeType, context: Context) -> None:
        """Record that a run was answered by something else than the run before."""
        self._model_changes.add(1, {**metric_labels(canary), names.TYPE: change}, context)

    def record_spend(self, canary: Canary, spend: Spend, context: Context, *, is_priced: bool) -> None:
        """Record the tokens of a run, and its cost in USD if all prices are known."""
        if not spend.requests:
            return
        input_labels, output_labels = ({**metric_labels(canary), names.TYPE: kind} for kind in ("input", "output"))
        self._tokens.add(spend.input_tokens, input_labels, context)
        self._tokens.add(spend.output_tokens, output_labels, context)
        if is_priced:
            self._spend.add(spend.input_usd, input_labels, context)
            self._spend.add(spend.output_usd, output_labels, context)

    def record_shed_share(self, share: float) -> None:
        """Record the share of due runs that are skipped because the daemon is behind schedule, 0 to 1."""
        self._shed_share.set(share)

    def record_missed(self, canary: Canary, reason: str, count: int = 1) -> None:
        """Record runs that were due but not made; ``reason`` is one of :data:`MISSED_REASONS`."""
        self._missed.add(count, {**metric_labels(canary), names.REASON: reason})
