"""Estimates the number of time series that a configuration exports."""

from typing import Final

from streamcanary.model import names
from streamcanary.model.outcome import OutcomeKind

_SERIES_WHEN_HEALTHY: Final = {
    names.RUNS: len(OutcomeKind),
    names.RUNS_MISSED: 5,  # late, overlap, concurrency, shutdown, budget
    names.TOKENS: 2,  # input, output
    names.LAST_RUN: 1,
    names.LAST_SUCCESS: 1,
    names.CANARY_INFO: 1,
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
    names.RATE_LIMIT_HEADROOM: 2,
    names.MODEL_CHANGES: 3,  # model, system_fingerprint, service_tier
    names.MODEL_INFO: 1,
    names.OPERATION_DURATION: 1,
    names.TIME_TO_FIRST_CHUNK: 1,
    names.TOKEN_USAGE: 2,  # input, output
}


def estimate_series(canaries: int, bindings: int) -> int:
    """Return the number of time series in Prometheus while all runs succeed.

    ``bindings`` is the number of pairs of a rule and a canary that it applies to. A histogram has one series for each
    bucket, and three more. Included is what a provider need not report: rate limits, and the model. Not included: two
    series a canary for a budget, one for a sunset, a few for each fault kind that occurs, and for each fallback route
    as many as for the primary route.
    """
    return canaries * sum(count * _series_per_set(metric) for metric, count in _SERIES_WHEN_HEALTHY.items()) + bindings


def _series_per_set(metric: names.Metric) -> int:
    return 1 if metric.buckets is None else len(metric.buckets) + 3  # the +Inf bucket, the sum, the count
