"""Estimates the number of time series that a configuration exports."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from streamcanary.alerting.service.metrics import MAX_IDLE_SERIES
from streamcanary.canary.metrics import MISSED_REASONS
from streamcanary.model import names
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from streamcanary.telemetry.series_limit import expected_series, series_limit

_SERIES_WHEN_HEALTHY: Final = {
    names.RUNS: len(OutcomeKind),
    names.RUNS_MISSED: len(MISSED_REASONS),
    names.TOKENS: 2,  # input, output
    names.LAST_RUN: 1,
    names.LAST_SUCCESS: 1,
    names.CANARY_INFO: 1,
    names.CANARY_INTERVAL: 1,
    names.SCHEDULE_LAG: 1,
    names.ATTEMPTS: 1,
    names.ATTEMPT_DURATION: 1,
    names.PHASE_DURATION: 6,  # dns, connect, tls, headers, first_token, streaming
    names.CONNECTIONS: 1,
    names.CERTIFICATE_EXPIRY: 1,
    names.FIRST_TOKEN_TIME: 1,
    names.MAX_GAP: 1,
    names.MEDIAN_GAP: 1,
    names.OUTPUT_SPEED: 1,
    names.RATE_LIMIT_REMAINING: 2,  # requests, tokens
    names.RATE_LIMIT_LIMIT: 2,
    names.RATE_LIMIT_RESET: 2,
    names.RATE_LIMIT_HEADROOM: 2,
    names.MODEL_CHANGES: 3,  # model, system_fingerprint, service_tier
    names.MODEL_INFO: 1,
    names.OPERATION_DURATION: 1,
    names.TIME_TO_FIRST_CHUNK: 1,
    names.TOKEN_USAGE: 2,  # input, output
}


_ATTEMPT_HISTOGRAMS: Final = (
    names.ATTEMPT_DURATION,
    names.FIRST_TOKEN_TIME,
    names.MAX_GAP,
    names.MEDIAN_GAP,
    names.OUTPUT_SPEED,
    names.RETRY_DELAY,
)
_RATE_LIMITS: Final = frozenset(
    {names.RATE_LIMIT_REMAINING, names.RATE_LIMIT_LIMIT, names.RATE_LIMIT_RESET, names.RATE_LIMIT_HEADROOM}
)
_FAULTS: Final = len(FaultKind)
_DAEMON_SERIES: Final = 40
"""Series without a canary: lag of the event loop, process, build, configuration, resource; some more than there are."""
_SERIES_PER_RECEIVER: Final = 5  # accepted, retried and refused notifications; size and age of the queue


def estimate_series(canaries: int, bindings: int) -> int:
    """Return the number of time series in Prometheus while all runs succeed.

    ``bindings`` is the number of alerts that rules may have, and of base rates that they may learn. A histogram has one
    series for each bucket, and three more. Included is what a provider need not report: rate limits, and the model. Not
    included: two series a canary for a budget, one for a sunset, a few for each fault kind that occurs, and for each
    fallback route as many as for the primary route.
    """
    bindings = bindings if bindings <= MAX_IDLE_SERIES else 0
    return canaries * sum(count * _series_per_set(metric) for metric, count in _SERIES_WHEN_HEALTHY.items()) + bindings


def estimate_reduced_series(canaries: int, targets: int, bindings: int) -> int:
    """Return the same with reduced series: histograms and rate limits by target, counters from the first event on."""
    sets = {**_SERIES_WHEN_HEALTHY, names.RUNS: 1, names.RUNS_MISSED: 0, names.MODEL_CHANGES: 0}
    return (bindings if bindings <= MAX_IDLE_SERIES else 0) + sum(
        count
        * _series_per_set(metric)
        * (targets if metric.buckets is not None or metric in _RATE_LIMITS else canaries)
        for metric, count in sets.items()
    )


def max_series(routes: Sequence[int], bindings: int, receivers: int) -> int:
    """Return the number of time series that a process cannot exceed, whatever fails and whatever providers answer.

    ``routes`` has the number of routes of each canary: 1, and its fallbacks. Every kind of fault is counted on every
    route. The name of the model that answered is a label of ``streamcanary.model.info`` only, which has one series.
    """
    limit = series_limit(expected_series(len(routes), can_reload=True))
    total: Counter[names.Metric] = Counter()
    for count in routes:
        total.update(_max_sets(count))
    of_canaries = sum(min(sets, limit + 1) * _series_per_set(metric) for metric, sets in total.items())
    return of_canaries + bindings + receivers * _SERIES_PER_RECEIVER + _DAEMON_SERIES


def _max_sets(routes: int) -> dict[names.Metric, int]:
    """Return the highest number of attribute sets of one canary with ``routes`` routes, by metric."""
    return {
        **_SERIES_WHEN_HEALTHY,
        **dict.fromkeys(_ATTEMPT_HISTOGRAMS, routes),
        names.PHASE_DURATION: 6 * routes,
        names.CONNECTIONS: 2,  # new, reused
        names.FAILURES: 2 * (_FAULTS + 1),  # failed and failed_over, with each kind of fault or none
        names.ATTEMPTS: routes * (_FAULTS + 1),  # ok, and each kind of fault
        names.LAST_FAILURE: 1,
        names.SPEND: 2,  # input, output
        names.MODEL_DEPRECATED: 1,
        names.MODEL_DEPRECATION: 1,
        names.MODEL_SUNSET: 1,
        names.OPERATION_DURATION: 1 + _FAULTS,
    }


def _series_per_set(metric: names.Metric) -> int:
    return 1 if metric.buckets is None else len(metric.buckets) + 3  # the +Inf bucket, the sum, the count
