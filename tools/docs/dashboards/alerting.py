"""Alerting: what fires, and whether receivers accept the notifications."""

from streamcanary.model import names

from .board import Board, Variable
from .metrics import ALERT_SELECTOR, RANGE, new_increase, series, share
from .panels import (
    BAD,
    GOOD,
    MANY,
    SHARE_OF_SUCCESSES,
    WARNING,
    lines,
    number,
    query,
    row,
    rows,
    stacked_areas,
    stacked_bars,
    states,
)
from .queries import (
    ALERT_LABELS,
    CANARY_LINK,
    CANARY_VARIABLES,
    alert_states,
    firing_alerts,
    firing_time,
    or_zero,
    total,
)

_RECEIVER = 'receiver=~"$receiver"'
_ACTIVE_BY = "alert, severity, canary, scope, scope_value, receiver"
_ACTIVE = f"max by ({_ACTIVE_BY}) ({series(names.ALERT_ACTIVE, selector=ALERT_SELECTOR)})"
_WAITING = f"sum by (receiver) ({series(names.NOTIFICATION_QUEUE_SIZE, selector=_RECEIVER)})"
_AGE = ((None, GOOD), (60, WARNING), (300, BAD))


def _accepted(by: str, within: str = RANGE) -> str:
    """Return the part of the deliveries that a receiver accepted."""
    accepted = new_increase(names.NOTIFICATIONS, by, 'outcome="accepted"', within=within, selector=_RECEIVER)
    return share(accepted, new_increase(names.NOTIFICATIONS, by, within=within, selector=_RECEIVER))


_NOW = (
    number("Firing alerts", "Alerts that fire now.", total(firing_alerts()), steps=MANY),
    number(
        "Firing pages",
        "Alerts with the severity `page` that fire now.",
        total(firing_alerts('severity="page"')),
        steps=MANY,
    ),
    number(
        "Accepted",
        "Part of the deliveries in the time range that a receiver accepted.",
        _accepted(""),
        unit="percentunit",
        steps=SHARE_OF_SUCCESSES,
        none="none sent",
    ),
    number(
        "Failing receivers",
        "Receivers for which ReceiverFailing fires.",
        total(firing_alerts('alert="ReceiverFailing"')),
        steps=MANY,
    ),
    number(
        "Undelivered",
        "Notifications that wait for a receiver.",
        or_zero(f"sum({series(names.NOTIFICATION_QUEUE_SIZE, selector=_RECEIVER)})"),
        steps=MANY,
    ),
    number(
        "Oldest notification",
        "How long the oldest notification has been waiting.",
        or_zero(f"max({series(names.NOTIFICATION_QUEUE_AGE, selector=_RECEIVER)})"),
        unit="s",
        steps=_AGE,
    ),
)
_ALERTS = (
    rows(
        "Firing alerts",
        "Each firing alert, and how long it has been firing within the time range. A canary links to its details.",
        {"Firing for": (row(firing_time()), "s", None)},
        labels=ALERT_LABELS,
        sort="Firing for",
        link=CANARY_LINK,
    ),
    states(
        "Alerts",
        "When each alert of the time range fired.",
        query(alert_states(), "{{alert}} {{canary}}{{scope_value}}{{receiver}}"),
        unit="short",
        steps=MANY,
    ),
    stacked_areas(
        "Firing alerts by severity",
        "Number of firing alerts.",
        query(
            f"sum by (severity) ({_ACTIVE})",
            "{{severity}}",
        ),
    ),
    stacked_areas(
        "Firing alerts by rule",
        "Number of firing alerts.",
        query(
            f"sum by (alert) ({_ACTIVE}) > 0",
            "{{alert}}",
        ),
    ),
)
_NOTIFICATIONS = (
    stacked_bars(
        "Deliveries by receiver and outcome",
        "`accepted`; `retried`: failed, and will be sent again; `refused`: will not be.",
        query(new_increase(names.NOTIFICATIONS, "receiver, outcome", selector=_RECEIVER), "{{receiver}}, {{outcome}}"),
    ),
    rows(
        "Receivers",
        "Deliveries in the time range.",
        {
            "Accepted": (row(_accepted("receiver")), "percentunit", SHARE_OF_SUCCESSES),
            "Deliveries": (
                row(new_increase(names.NOTIFICATIONS, "receiver", within=RANGE, selector=_RECEIVER)),
                "short",
                None,
            ),
            "Waiting": (
                row(_WAITING),
                "short",
                MANY,
            ),
        },
        labels=(names.RECEIVER,),
        sort="Deliveries",
        width=12,
    ),
    lines(
        "Notifications that wait",
        "Notifications in the queue of each receiver.",
        query(_WAITING, "{{receiver}}"),
    ),
    lines(
        "Age of the oldest notification",
        "How long the oldest notification of each receiver has been waiting.",
        query(f"max by (receiver) ({series(names.NOTIFICATION_QUEUE_AGE, selector=_RECEIVER)})", "{{receiver}}"),
        unit="s",
        steps=_AGE,
    ),
)
BOARD = Board(
    name="alerting",
    title="streamcanary: alerting",
    description="What fires, and whether receivers accept the notifications.",
    variables=(
        *CANARY_VARIABLES,
        Variable(name="receiver", label="Receiver", source=names.RECEIVER, metric=names.NOTIFICATION_QUEUE_SIZE),
    ),
    rows=(("Now", _NOW), ("Alerts", _ALERTS), ("Notifications", _NOTIFICATIONS)),
)
