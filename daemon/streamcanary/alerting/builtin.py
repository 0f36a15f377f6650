"""Alerts about the daemon itself. They are labelled ``severity="page"`` and routed like any other."""

from typing import Final

RECEIVER_FAILING: Final = "ReceiverFailing"
"""A receiver refuses what it is sent; told to the others, resolved when it accepts again."""
STORE_FAILING: Final = "StoreFailing"
"""The store cannot be written; pages go out from memory, at least once, until it can."""

BUILTIN: Final[dict[str, dict[str, str]]] = {
    RECEIVER_FAILING: {
        "summary": "Receiver {subject} refuses notifications",
        "description": "What was sent to {subject} was refused, and is not tried again before a restart: {message}",
    },
    STORE_FAILING: {
        "summary": "The store cannot be written",
        "description": "State is kept in memory, and pages may come twice after a crash: {message}",
    },
}
"""The annotations of each, by name."""

LABELS: Final = {"severity": "page"}
