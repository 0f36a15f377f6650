"""The dashboard to open first: what is broken, for whom, and since when."""

from streamcanary.model import names

from .board import Board
from .metrics import CANARY_LABELS, RANGE, heat, increase, new_increase, quantile, series
from .panels import (
    MANY,
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
    failing_runs,
    firing_alerts,
    firing_time,
    since_success,
    total,
    unanswered_runs,
)

_NOW = (
    number("Firing alerts", "Alerts that fire now.", total(firing_alerts()), steps=MANY, width=3),
    number(
        "Failing canaries",
        "Canaries whose last run failed on its primary route: their last run is later than their last success.",
        total(failing_canaries()),
        steps=MANY,
        width=3,
    ),
    number(
        "Successful runs",
        "Part of the runs in the time range that the primary route answered, `ok` or `slow`.",
        f"1 - {failing_runs('', RANGE)}",
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
    ),
    number(
        "Answered runs",
        "Part of the runs in the time range with a complete answer, also from a fallback.",
        f"1 - {unanswered_runs('', RANGE)}",
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
    ),
    number(
        "First token, 95 %",
        "95 % of the attempts in the time range had their first token within this time.",
        quantile(0.95, names.FIRST_TOKEN_TIME, within=RANGE),
        unit="s",
    ),
    number(
        "Undelivered",
        "Notifications that wait for a receiver.",
        f"sum({series(names.NOTIFICATION_QUEUE_SIZE, selector='')}) or vector(0)",
        steps=MANY,
        width=3,
    ),
    number(
        "Spend",
        "Spend of the canaries in the time range, where prices are known.",
        increase(names.SPEND, "", within=RANGE),
        unit="currencyUSD",
        width=3,
    ),
)
_BROKEN = (
    rows(
        "Firing alerts",
        "Each firing alert, and how long it has been firing within the time range. A canary links to its details.",
        {"Firing for": (row(firing_time()), "s", None)},
        labels=ALERT_LABELS,
        sort="Firing for",
        height=7,
        link=CANARY_LINK,
    ),
    states(
        "Failed runs by canary",
        "Part of the runs that failed on the primary route, after retries. The start of a red band is the start of the "
        "outage.",
        query(failing_runs("canary"), "{{canary}}"),
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
    rows(
        "Canaries",
        "One row for each canary, over the time range. A canary links to its details.",
        {
            "Failed runs": (row(failing_runs(CANARY_LABELS, RANGE)), "percentunit", SHARE_OF_FAILURES),
            "Since success": (row(since_success(CANARY_LABELS)), "s", None),
            "First token, 95 %": (row(quantile(0.95, names.FIRST_TOKEN_TIME, CANARY_LABELS, within=RANGE)), "s", None),
            "Failed attempts": (row(failing_attempts(CANARY_LABELS, RANGE)), "percentunit", SHARE_OF_FAILURES),
            "Failed over": (row(failed_over_runs(CANARY_LABELS, RANGE)), "percentunit", SHARE_OF_FAILURES),
        },
        labels=(names.CANARY, names.TARGET, names.PROVIDER_LABEL),
        sort="Failed runs",
        link=CANARY_LINK,
    ),
)
_WHY = (
    stacked_bars(
        "Failed runs by kind of fault",
        "What failed runs ended with, after all retries.",
        query(new_increase(names.FAILURES, "error_type"), "{{error_type}}", exemplar=True),
    ),
    stacked_bars(
        "Failed runs by blame",
        "Who can fix the fault: `config` and `local` are us; the others are the network, the provider, the quota "
        "and the content.",
        query(new_increase(names.FAILURES, "blame"), "{{blame}}", exemplar=True),
    ),
    lines(
        "Failed runs by provider",
        "Part of the runs that failed on the primary route, after retries. If one provider fails, the cause is there. "
        "If all fail at once, it is the network, or this machine.",
        query(failing_runs("provider"), "{{provider}}"),
        unit="percentunit",
        steps=SHARE_OF_FAILURES,
        highest=1,
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
    rows=(("Now", _NOW), ("What is broken, for whom, since when", _BROKEN), ("Why", _WHY)),
)
