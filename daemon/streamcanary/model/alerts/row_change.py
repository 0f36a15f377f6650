"""One change to what the store keeps for alerting."""

from typing import Literal

from msgspec import Struct

StateTable = Literal["detectors", "incidents", "groups", "notifications", "silences", "reachability"]
"""What alerting remembers, each by a key of its own making."""


class RowChange(Struct, frozen=True):
    """Set ``key`` in ``table`` to ``value`` (JSON), or remove it if ``value`` is ``None``."""

    table: StateTable
    key: str
    value: bytes | None
