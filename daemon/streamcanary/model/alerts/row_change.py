"""One change to what the store keeps for alerting."""

from typing import Literal

from msgspec import Struct

Table = Literal["detectors", "incidents", "groups", "notices", "silences", "sightings"]
"""What alerting remembers, each by a key of its own making."""


class Row(Struct, frozen=True):
    """Set ``key`` in ``table`` to ``value`` (JSON), or remove it if ``value`` is ``None``."""

    table: Table
    key: str
    value: bytes | None
