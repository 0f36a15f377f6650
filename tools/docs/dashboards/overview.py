"""The dashboard to open first: what is broken, for whom, and since when."""

from streamcanary.model import names

from .board import Board
from .metrics import CANARY_LABELS, RANGE, heat, new_increase, quantile, series
from .panels import (
    DATA_AGE,
    MANY,
    OUTAGE,
    SHARE_OF_FAILURES,
    SHARE_OF_SUCCESSES,
    heat_map,
    lines,
    number,
    query,
    row,
    rows,
    stacked_bars,
    states,
)
from .queries import (
    ALERT_LABELS,
    CANARY_LINK,
    CANARY_VARIABLES,
    alert_states,
    failed_over_runs,
    failing_attempts,
    failing_canaries,
    failing_canary_runs,
    failing_for,
    failing_runs,
    firing_alerts,
    firing_time,
    longest_silence,
    or_zero,
    total,
    unanswered_runs,
)

_NOW = (
    number(
        "Daemon: last data",
        "Time since the last data of the daemon that has been silent for longest, unless it has been replaced. All "
        "other panels say nothing about what it has seen since then.",
        longest_silence(),
        unit="s",
        steps=DATA_AGE,
        width=3,
    ),
    number("Firing alerts", "Alerts that fire now.", total(firing_alerts()), steps=MANY, width=3),
    number(
        "Failing canaries",
        "Canaries whose last run failed on its primary route, in at least one daemon: it is later than their last "
        "success.",
        total(failing_canaries()),
        steps=MANY,
        width=3,
    ),
    number(
        "Failing for",
        "Time since the last success of the canary that has failed for longest, in any daemon. Without a success, the "
        "time since the daemon started.",
        or_zero(failing_for("")),
        unit="s",
        steps=OUTAGE,
        width=3,
    ),
    number(
        "Successful runs",
        "Part of the runs in the time range that the primary route answered, `ok` or `slow`.",
        f"1 - {failing_runs('', RANGE)}",
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
        width=3,
    ),
    number(
        "Answered runs",
        "Part of the runs in the time range with a complete answer, also from a fallback.",
        f"1 - {unanswered_runs('', RANGE)}",
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
        width=3,
    ),
    number(
        "First token, 95 %",
        "95 % of the attempts in the time range had their first token within this time.",
        quantile(0.95, names.FIRST_TOKEN_TIME, within=RANGE),
        unit="s",
        none="none",
        width=3,
    ),
    number(
        "Undelivered",
        "Notifications that wait for a receiver.",
        or_zero(f"sum({series(names.NOTIFICATION_QUEUE_SIZE, selector='')})"),
        steps=MANY,
        width=3,
    ),
    stacked_bars(
        "Failed runs by blame",
        "Who can fix the fault: `config` and `local` are us; the others are the network, the provider, the quota "
        "and the content.",
        query(new_increase(names.FAILURES, "blame"), "{{blame}}", exemplar=True),
        height=7,
    ),
    lines(
        "Failed runs by provider",
        "Part of the runs that failed on the primary route, after retries. If one provider fails, the cause is there. "
        "If all fail at once, it is the network, or this machine.",
        query(failing_runs("provider"), "{{provider}}"),
        unit="percentunit",
        steps=SHARE_OF_FAILURES,
        highest=1,
        height=7,
    ),
)
_BROKEN = (
    rows(
        "Firing alerts",
        "Each firing alert, and how long it has been firing within the time range. A canary links to its details.",
        {"Firing for": (row(firing_time()), "s", None)},
        labels=ALERT_LABELS,
        sort="Firing for",
        height=6,
        link=CANARY_LINK,
    ),
    rows(
        "Canaries",
        "One row for each canary, over the time range. A canary links to its details.",
        {
            "Failed runs": (row(failing_runs(CANARY_LABELS, RANGE)), "percentunit", SHARE_OF_FAILURES),
            "Failing for": (row(failing_for(CANARY_LABELS)), "s", OUTAGE),
            "Failing daemons": (row(failing_canaries()), "short", MANY),
            "First token, 95 %": (row(quantile(0.95, names.FIRST_TOKEN_TIME, CANARY_LABELS, within=RANGE)), "s", None),
            "Failed attempts": (row(failing_attempts(CANARY_LABELS, RANGE)), "percentunit", SHARE_OF_FAILURES),
            "Failed over": (row(failed_over_runs(CANARY_LABELS, RANGE)), "percentunit", SHARE_OF_FAILURES),
        },
        labels=(names.CANARY, names.TARGET, names.PROVIDER_LABEL),
        sort="Failed runs",
        link=CANARY_LINK,
    ),
)
_SINCE = (
    states(
        "Failed runs by canary",
        "Part of the runs that failed on the primary route, after retries, of the canaries with a failure in the time "
        "range. The start of a red band is the start of the outage.",
        query(failing_canary_runs(), "{{canary}}"),
        steps=SHARE_OF_FAILURES,
    ),
    states(
        "Alerts",
        "When each alert of the time range fired.",
        query(alert_states(), "{{alert}} {{canary}}{{receiver}}"),
        unit="short",
        steps=MANY,
        height=6,
    ),
)
_WHY = (
    stacked_bars(
        "Failed runs by kind of fault",
        "What failed runs ended with, after all retries.",
        query(new_increase(names.FAILURES, "error_type"), "{{error_type}}", exemplar=True),
    ),
    heat_map(
        "First token",
        "Time from the start of an attempt to its first token. A dot is an attempt with a trace.",
        query(heat(names.FIRST_TOKEN_TIME), exemplar=True),
    ),
)
BOARD = Board(
    name="overview",
    title="streamcanary: overview",
    description="What is broken, for whom, since when, and whether it is us, the network, the quota or the provider.",
    variables=CANARY_VARIABLES,
    rows=(("Now", _NOW), ("What is broken, and for whom", _BROKEN), ("Since when", _SINCE), ("Why", _WHY)),
)
