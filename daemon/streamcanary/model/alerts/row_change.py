"""A change of one row of the alerting state in the store."""

from typing import Literal

from msgspec import Struct

StateTable = Literal["detectors", "incidents", "groups", "notifications", "silences", "reachability", "baselines"]
"""Tables of the alerting state; each row has a key that alerting computes."""


class RowChange(Struct, frozen=True):
    """Set ``key`` in ``table`` to ``value`` (JSON), or remove it if ``value`` is ``None``."""

    table: StateTable
    key: str
    value: bytes | None
