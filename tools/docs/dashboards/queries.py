"""Queries that several dashboards use."""

from streamcanary.model import names

from .board import Variable
from .metrics import ALERT_SELECTOR, BAD, OBSERVED, RANGE, RATE, increase, new_increase, series, share

CANARY_VARIABLES = (
    Variable(name="canary", label="Canary", source=names.CANARY, metric=names.CANARY_INFO),
    Variable(name="target", label="Target", source=names.TARGET, metric=names.CANARY_INFO),
    Variable(name="provider", label="Provider", source=names.PROVIDER_LABEL, metric=names.CANARY_INFO),
)
CANARY_LINK = {
    names.CANARY: "/d/streamcanary-canary?var-canary=${__value.raw}&var-datasource=${datasource}&${__url_time_range}"
}
"""The address of the details of the canary in a cell of a table."""

ALERT_LABELS = (names.ALERT, names.SEVERITY, names.CANARY, names.TARGET, names.PROVIDER_LABEL, names.RECEIVER)
OUTCOME_COLOURS = {
    "ok": "green",
    "slow": "yellow",
    "failed_over": "orange",
    "failed": "red",
    "internal_error": "purple",
    "skipped": "gray",
}
_RESOLUTION = 15  # seconds between two points of a subquery


def failing_runs(by: str, within: str = RATE) -> str:
    """Return the part of the runs that failed on the primary route, after its retries."""
    return share(increase(names.RUNS, by, BAD, within=within), increase(names.RUNS, by, OBSERVED, within=within))


def failed_over_runs(by: str, within: str = RATE) -> str:
    """Return the part of the runs that a fallback answered."""
    failed_over = increase(names.RUNS, by, f'{names.OUTCOME}="failed_over"', within=within)
    return share(failed_over, increase(names.RUNS, by, OBSERVED, within=within))


def unanswered_runs(by: str, within: str = RATE) -> str:
    """Return the part of the runs that neither the primary route nor a fallback answered."""
    failed = increase(names.RUNS, by, f'{names.OUTCOME}="failed"', within=within)
    return share(failed, increase(names.RUNS, by, OBSERVED, within=within))


def failing_attempts(by: str, within: str = RATE) -> str:
    """Return the part of the attempts that failed: what retries and fallbacks hide."""
    failed = new_increase(names.ATTEMPTS, by, f'{names.OUTCOME}="fault"', within=within)
    return share(failed, new_increase(names.ATTEMPTS, by, within=within))


def failing_canaries() -> str:
    """Return the canaries whose last run failed: it is later than their last success, or they had none."""
    labels = "canary, target, provider"
    last_run, last_success = (f"max by ({labels}) ({series(each)})" for each in (names.LAST_RUN, names.LAST_SUCCESS))
    return f"({last_run} > {last_success} or {last_run} unless {last_success})"


def since_success(by: str) -> str:
    """Return the seconds since the last run that was ok or slow."""
    return f"time() - max by ({by}) ({series(names.LAST_SUCCESS)})"


def firing_alerts(matchers: str = "") -> str:
    """Return the alerts that fire now."""
    return f"max by ({', '.join(ALERT_LABELS)}) ({series(names.ALERT_ACTIVE, matchers, selector=ALERT_SELECTOR)}) == 1"


def firing_time() -> str:
    """Return for how many seconds of the time range each firing alert has fired, to a resolution of 15 s."""
    active = f"max by ({', '.join(ALERT_LABELS)}) ({series(names.ALERT_ACTIVE, selector=ALERT_SELECTOR)})"
    return f"{_RESOLUTION} * sum_over_time(({active})[{RANGE}:{_RESOLUTION}s]) and {firing_alerts()}"


def alert_states() -> str:
    """Return the state over time of each alert that has fired within the time range."""
    labels = f"{names.ALERT}, {names.CANARY}, {names.RECEIVER}"
    active = f"max by ({labels}) ({series(names.ALERT_ACTIVE, selector=ALERT_SELECTOR)})"
    fired = f"max by ({labels}) (max_over_time({series(names.ALERT_ACTIVE, selector=ALERT_SELECTOR)}[{RANGE}]))"
    return f"{active} and {fired} == 1"


def total(counted: str) -> str:
    """Return the number of the series of ``counted``, 0 for none."""
    return f"count({counted}) or vector(0)"
