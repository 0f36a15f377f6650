"""A change of one row of alerting in the store."""

from typing import Final, Literal

from msgspec import Struct

StateTable = Literal["detectors", "incidents", "groups", "notifications", "silences", "reachability", "baselines"]
"""Tables of the alerting state; each row has a key that alerting computes."""

AlertTable = StateTable | Literal["alert_history"]
"""Those tables, and the history of alerts, whose rows are kept for 30 days and read only to be shown."""

RUN_TABLES: Final[frozenset[AlertTable]] = frozenset({"detectors", "reachability"})
"""Tables that change with each run. Replicas that only show alerts do not read them each time."""


class RowChange(Struct, frozen=True):
    """Set ``key`` in ``table`` to ``value`` (JSON), or remove it if ``value`` is ``None``."""

    table: AlertTable
    key: str
    value: bytes | None
