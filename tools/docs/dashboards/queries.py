"""Queries that several dashboards use."""

from streamcanary.model import names

from .board import Variable
from .metrics import ALERT_SELECTOR, BAD, CANARY_LABELS, OBSERVED, RANGE, RATE, increase, new_increase, series, share

CANARY_VARIABLES = (
    Variable(name="canary", label="Canary", source=names.CANARY, metric=names.CANARY_INFO),
    Variable(name="target", label="Target", source=names.TARGET, metric=names.CANARY_INFO),
    Variable(name="provider", label="Provider", source=names.PROVIDER_LABEL, metric=names.CANARY_INFO),
)
CANARY_LINK = {
    names.CANARY: "/d/streamcanary-canary?var-canary=${__value.raw}&var-datasource=${datasource}&${__url_time_range}"
}
"""The address of the details of the canary in a cell of a table."""

ALERT_LABELS = (
    names.ALERT,
    names.SEVERITY,
    names.CANARY,
    names.SCOPE,
    names.SCOPE_VALUE,
    names.TARGET,
    names.PROVIDER_LABEL,
    names.RECEIVER,
)
OUTCOME_COLOURS = {
    "ok": "green",
    "slow": "yellow",
    "failed_over": "orange",
    "failed": "red",
    "internal_error": "purple",
    "skipped": "gray",
}
_RESOLUTION = 15  # seconds between two points of a subquery
_REPLACED_WITHIN = 600  # seconds in which an update may run the old and the new daemon


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
    """Return the canaries whose last run failed in some daemon, and in how many daemons it did."""
    return f"count by ({CANARY_LABELS}) ({_failing_in_daemons()})"


def failing_for(by: str) -> str:
    """Return the seconds since the last success of each canary whose last run failed, by the labels ``by``.

    Several daemons may have the same canary, one in each region: it has failed for as long as in the daemon in which it
    has failed for longest. A canary that never succeeded has failed since the daemon started, as far as it knows.
    """
    uptime = series(names.PROCESS_UPTIME, selector="")
    uptime_of_daemon = f"0 * {series(names.CANARY_INFO)} + on (job, instance) group_left () {uptime}"
    since = f"time() - {_of_daemons(series(names.LAST_SUCCESS))} or {_of_daemons(uptime_of_daemon)}"
    return f"max by ({by}) (({since}) and {_failing_in_daemons()})"


def _failing_in_daemons() -> str:
    """Return the canaries of each daemon whose last run there is later than their last success, or had none."""
    last_run, last_success = (_of_daemons(series(each)) for each in (names.LAST_RUN, names.LAST_SUCCESS))
    return f"({last_run} > {last_success} or {last_run} unless {last_success})"


def _of_daemons(expr: str) -> str:
    return f"max by ({CANARY_LABELS}, job, instance) ({expr})"


def firing_alerts(matchers: str = "") -> str:
    """Return the alerts that fire now."""
    return f"max by ({', '.join(ALERT_LABELS)}) ({series(names.ALERT_ACTIVE, matchers, selector=ALERT_SELECTOR)}) == 1"


def firing_time() -> str:
    """Return for how many seconds of the time range each firing alert has fired, to a resolution of 15 s."""
    active = f"max by ({', '.join(ALERT_LABELS)}) ({series(names.ALERT_ACTIVE, selector=ALERT_SELECTOR)})"
    return f"{_RESOLUTION} * sum_over_time(({active})[{RANGE}:{_RESOLUTION}s]) and {firing_alerts()}"


def alert_states() -> str:
    """Return the state over time of each alert that has fired within the time range."""
    labels = f"{names.ALERT}, {names.CANARY}, {names.SCOPE_VALUE}, {names.RECEIVER}"
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


def data_age() -> str:
    """Return the seconds since the last data of each daemon that reported in the time range, by job and instance.

    After the last data, they are looked for in the time range of the dashboard, to a resolution of a minute.
    """
    reported = _reported()
    return f"time() - max by (job, instance) ({reported} or max_over_time({reported}[{RANGE}:1m]))"


def longest_silence() -> str:
    """Return the seconds since the last data of the daemon that has been silent for longest, within the time range.

    A daemon that has been replaced is not silent: one of the same job started at most ten minutes before its last data,
    or later. If two have stopped, and one of them was replaced, the other is hidden.
    """
    reported = _reported()
    uptime = (
        f"{series(names.PROCESS_UPTIME, selector='')} and on (job, instance) {series(names.BUILD_INFO, selector='')}"
    )
    newest_start = f"max by (job) (time() - ({uptime}))"
    silent = f"max_over_time({reported}[{RANGE}:1m])"
    replaced = f"{silent} <= on (job) group_left () ({newest_start} + {_REPLACED_WITHIN})"
    return f"time() - min({reported} or ({silent} unless {replaced}))"


def _reported() -> str:
    return f"timestamp({series(names.BUILD_INFO, selector='')})"
