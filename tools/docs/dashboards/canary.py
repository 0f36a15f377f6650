"""The details of canaries: where the time of an attempt goes, what fails, and how close the limits are.

With ``telemetry.series: reduced``, durations and rate limits are those of targets, whichever canary is chosen.
"""

from streamcanary.model import names

from .board import Board
from .metrics import CANARY_LABELS, MEASUREMENT_SELECTOR, RANGE, heat, increase, new_increase, quantile, rate, series
from .panels import BAD as RED
from .panels import (
    GOOD,
    OUTAGE,
    SHARE_OF_FAILURES,
    SHARE_OF_SUCCESSES,
    heat_map,
    lines,
    number,
    query,
    row,
    rows,
    stacked_areas,
    stacked_bars,
)
from .panels import WARNING as ORANGE
from .queries import (
    CANARY_VARIABLES,
    OUTCOME_COLOURS,
    failed_over_runs,
    failing_attempts,
    failing_for,
    failing_runs,
    or_zero,
)

_DAY = 86_400
_CERTIFICATE = ((None, RED), (3 * _DAY, ORANGE), (14 * _DAY, GOOD))
_DEPRECATED = ((None, GOOD), (1, ORANGE))
_MODEL_LABELS = ("canary", "target", "provider", "response_model", "system_fingerprint", "service_tier")
_MODELS = f"max by ({', '.join(_MODEL_LABELS)}) ({series(names.MODEL_INFO)})"
_ATTEMPT = rate(names.ATTEMPT_DURATION, "", suffix="_count")


def _limits(function: str, metric: names.Metric) -> str:
    """Return a gauge of rate limits: those of each canary, or of each target."""
    return f"{function} by (canary, target, type) ({series(metric, selector=MEASUREMENT_SELECTOR)})"


_NOW = (
    number(
        "Successful runs",
        "Part of the runs in the time range that the primary route answered, `ok` or `slow`.",
        f"1 - {failing_runs('', RANGE)}",
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
    ),
    number(
        "Failing for",
        "Time since the last success of the canary that has failed for longest; 0 if the last run of each was `ok` or "
        "`slow`. Without a success, the time since the daemon started.",
        or_zero(failing_for("")),
        unit="s",
        steps=OUTAGE,
    ),
    number(
        "First token, 95 %",
        "95 % of the attempts in the time range had their first token within this time.",
        quantile(0.95, names.FIRST_TOKEN_TIME, within=RANGE),
        unit="s",
        none="none",
    ),
    number(
        "Output speed, median",
        "Tokens a second after the first token, in the time range.",
        quantile(0.5, names.OUTPUT_SPEED, within=RANGE),
        unit="tok/s",
        none="none",
    ),
    number(
        "Certificate expires in",
        "Time until the first certificate in the chain of a target expires.",
        f"min({series(names.CERTIFICATE_EXPIRY)}) - time()",
        unit="s",
        steps=_CERTIFICATE,
        none="no TLS",
    ),
    number(
        "Rate-limit headroom",
        "The smallest part of a rate limit that is left, of those that the providers report.",
        f"min({series(names.RATE_LIMIT_HEADROOM, selector=MEASUREMENT_SELECTOR)})",
        unit="percentunit",
        steps=((None, RED), (0.1, ORANGE), (0.25, GOOD)),
        none="not reported",
    ),
)
_TIME = (
    stacked_areas(
        "Phases of an attempt",
        "Mean length of each phase, added up to the mean attempt. DNS, connect and TLS are missing where a connection "
        "is reused.",
        query(f"{rate(names.PHASE_DURATION, 'phase', suffix='_sum')} / on () group_left () {_ATTEMPT}", "{{phase}}"),
        unit="s",
    ),
    lines(
        "Phases, 95 %",
        "95 % of the attempts had a phase of at most this length. Exemplars link to traces.",
        query(quantile(0.95, names.PHASE_DURATION, "phase"), "{{phase}}", exemplar=True),
        unit="s",
    ),
    heat_map(
        "First token",
        "Time from the start of an attempt to its first token. A dot is an attempt with a trace.",
        query(heat(names.FIRST_TOKEN_TIME), exemplar=True),
    ),
    lines(
        "First token",
        "Time from the start of an attempt to its first token, by canary. Exemplars link to traces.",
        query(quantile(0.5, names.FIRST_TOKEN_TIME, "canary, target"), "{{canary}} {{target}}, median"),
        query(quantile(0.95, names.FIRST_TOKEN_TIME, "canary, target"), "{{canary}} {{target}}, 95 %", exemplar=True),
        unit="s",
    ),
    lines(
        "Gaps between tokens",
        "The longest gap of an attempt, and its median gap: a long gap beside a short median is a stall.",
        query(quantile(0.95, names.MAX_GAP, "canary, target"), "{{canary}} {{target}}, longest, 95 %", exemplar=True),
        query(quantile(0.5, names.MEDIAN_GAP, "canary, target"), "{{canary}} {{target}}, median"),
        unit="s",
    ),
    lines(
        "Output speed",
        "Tokens a second after the first token: the median, and the speed that 90 % of the attempts exceed.",
        query(quantile(0.5, names.OUTPUT_SPEED, "canary, target"), "{{canary}} {{target}}, median"),
        query(quantile(0.1, names.OUTPUT_SPEED, "canary, target"), "{{canary}} {{target}}, 90 % exceed"),
        unit="tok/s",
    ),
)
_ERRORS = (
    stacked_bars(
        "Runs by outcome",
        "All runs, also those that were skipped.",
        query(increase(names.RUNS, "outcome"), "{{outcome}}", exemplar=True),
        colours=OUTCOME_COLOURS,
    ),
    lines(
        "Failed before and after retries",
        "Part of the attempts that failed, of the runs that failed on the primary route, and of the runs that a "
        "fallback answered. The distance between the first two is what retries hide.",
        query(failing_attempts(""), "attempts"),
        query(failing_runs(""), "runs"),
        query(failed_over_runs(""), "runs answered by a fallback"),
        unit="percentunit",
        steps=SHARE_OF_FAILURES,
        highest=1,
    ),
    stacked_bars(
        "Failed attempts by kind, before retries",
        "Faults of attempts, also of those that a retry or a fallback recovered.",
        query(new_increase(names.ATTEMPTS, "error_type", 'outcome="fault"'), "{{error_type}}", exemplar=True),
    ),
    stacked_bars(
        "Failed runs by kind, after retries",
        "What failed runs ended with.",
        query(new_increase(names.FAILURES, "error_type"), "{{error_type}}", exemplar=True),
    ),
    stacked_bars(
        "Failed attempts by blame, before retries",
        "Who can fix the faults of attempts.",
        query(new_increase(names.ATTEMPTS, "blame", 'outcome="fault"'), "{{blame}}"),
    ),
    stacked_bars(
        "Failed runs by blame, after retries",
        "Who can fix the faults that failed runs ended with.",
        query(new_increase(names.FAILURES, "blame"), "{{blame}}"),
    ),
    stacked_bars(
        "Attempts by route",
        "Successful attempts by route: a route that is not the primary one is a fallback.",
        query(new_increase(names.ATTEMPTS, "route", 'outcome="ok"'), "{{route}}"),
    ),
    lines(
        "Wait before a retry",
        "The mean and the 95 % quantile of the time that the client waited before a further attempt.",
        query(quantile(0.95, names.RETRY_DELAY, "canary, target"), "{{canary}} {{target}}, 95 %"),
        unit="s",
    ),
)
_LIMITS = (
    lines(
        "Rate-limit headroom",
        "Part of the rate limit that is left, as the provider reported it last.",
        query(_limits("min", names.RATE_LIMIT_HEADROOM), "{{canary}} {{target}}, {{type}}"),
        unit="percentunit",
        steps=((None, RED), (0.1, ORANGE), (0.25, GOOD)),
        highest=1,
        width=8,
    ),
    lines(
        "Rate limit",
        "Requests and tokens that are left, and the limit.",
        query(_limits("min", names.RATE_LIMIT_REMAINING), "{{canary}} {{target}}, {{type}} left"),
        query(_limits("min", names.RATE_LIMIT_LIMIT), "{{canary}} {{target}}, {{type}} limit"),
        width=8,
    ),
    lines(
        "Rate limit is reset in",
        "Time until the rate limit is reset, as the provider reported it at the last run.",
        query(_limits("max", names.RATE_LIMIT_RESET), "{{canary}} {{target}}, {{type}}"),
        unit="s",
        width=8,
    ),
    stacked_areas(
        "Tokens",
        "Tokens a second that canaries use, by type. Those of an answer that is cut are estimated, and so rise in an "
        "outage: usage comes with the end of an answer.",
        query(rate(names.TOKENS, "type"), "{{type}}"),
        unit="tok/s",
    ),
    stacked_areas(
        "Spend",
        "USD an hour, by canary, where prices are known. In an outage it is estimated from above, as the tokens are.",
        query(f"3600 * {rate(names.SPEND, 'canary')}", "{{canary}}"),
        unit="currencyUSD",
    ),
)
_ENDPOINT = (
    stacked_bars(
        "Connections",
        "Attempts on a new connection, and on one that was reused.",
        query(new_increase(names.CONNECTIONS, "connection"), "{{connection}}"),
    ),
    lines(
        "Certificate expires in",
        "Time until the first certificate in the chain expires. CertificateExpiring opens a ticket at 14 days, and "
        "pages at 3 days.",
        query(f"min by (canary, target) ({series(names.CERTIFICATE_EXPIRY)}) - time()", "{{canary}}"),
        unit="s",
        steps=_CERTIFICATE,
    ),
    rows(
        "Models that answer",
        "The model, fingerprint and service tier with which each canary was answered.",
        {
            "Answers": (
                row(_MODELS),
                "short",
                None,
            )
        },
        labels=_MODEL_LABELS,
        sort="Canary",
        width=12,
    ),
    rows(
        "Switched off in",
        "Deprecated models: for how long they have been, and the time until they are switched off, as the headers "
        "`Deprecation` and `Sunset` say.",
        {
            "Switched off in": (row(f"min by ({CANARY_LABELS}) ({series(names.MODEL_SUNSET)}) - time()"), "s", None),
            "Deprecated": (row(f"max by ({CANARY_LABELS}) ({series(names.MODEL_DEPRECATED)})"), "short", _DEPRECATED),
            "Deprecated for": (
                row(f"time() - min by ({CANARY_LABELS}) ({series(names.MODEL_DEPRECATION)})"),
                "s",
                None,
            ),
        },
        labels=(names.CANARY, names.TARGET, names.PROVIDER_LABEL),
        sort="Switched off in",
        width=12,
    ),
    stacked_bars(
        "Changes of the model",
        "Changes of the answering model, its fingerprint or its service tier.",
        query(f"{new_increase(names.MODEL_CHANGES, 'canary, type')} > 0", "{{canary}}, {{type}}"),
        width=24,
    ),
)
BOARD = Board(
    name="canary",
    title="streamcanary: canary",
    description="Where the time of an attempt goes, what fails before and after retries, and how close the limits are.",
    variables=CANARY_VARIABLES,
    rows=(
        ("Now", _NOW),
        ("Time", _TIME),
        ("Errors and fallbacks", _ERRORS),
        ("Limits and spend", _LIMITS),
        ("Endpoint", _ENDPOINT),
    ),
)
