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


def failing_canary_runs() -> str:
    """Return the part of the runs that failed, of each canary that failed in the time range."""
    failed = f"sum by (canary) (increase({series(names.RUNS, BAD)}[{RANGE}] @ end()))"
    return f"{failing_runs('canary')} and {failed} > 0"


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


def failing_for(by: str) -> str:
    """Return the seconds since the last success of each canary whose last run failed, by the labels ``by``.

    A canary that never succeeded has failed since the daemon started, as far as it knows.
    """
    labels = "canary, target, provider"
    last_success = f"max by ({labels}) ({series(names.LAST_SUCCESS)})"
    uptime = series(names.PROCESS_UPTIME, selector="")
    of_daemon = f"max by ({labels}) (0 * {series(names.CANARY_INFO)} + on (job, instance) group_left () {uptime})"
    return f"max by ({by}) ((time() - {last_success} or {of_daemon}) and {failing_canaries()})"


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
    """Return the number of the series of ``counted``: 0 for none, and nothing where no daemon reports."""
    return f"count({counted}) or {_zero()}"


def or_zero(expr: str) -> str:
    """Return ``expr``, which has no labels, or 0 where it is empty and a daemon reports."""
    return f"{expr} or {_zero()}"


def _zero() -> str:
    return f"0 * count({series(names.BUILD_INFO, selector='')})"


def data_age(by: str = "") -> str:
    """Return the seconds since the last data of the daemons, or of each one by the labels ``by``.

    After the last data, they are looked for in the time range of the dashboard, to a resolution of a minute.
    """
    reported = f"timestamp({series(names.BUILD_INFO, selector='')})"
    return f"time() - max by ({by}) ({reported} or max_over_time({reported}[{RANGE}:1m]))"
