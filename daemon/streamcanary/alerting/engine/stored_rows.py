"""Decodes the rows of the store to the state of alerting. A damaged row costs that row, never the others."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from streamcanary.alerting.detectors.ratio import WindowSample
from streamcanary.alerting.engine.evaluation.reachability import Reachability
from streamcanary.alerting.engine.state import TABLES, BindingState, State
from streamcanary.alerting.learning.baseline import LearnedBaseline, RequestSince
from streamcanary.model.alerts.incident import Group, Incident, Notification
from streamcanary.model.alerts.row_change import StateTable
from streamcanary.model.alerts.silence import Silence

_MAX_TIME: Final = 2.5e11  # seconds since the epoch, in the year 9892: the last years that RFC 3339 can show
_MAX_COUNT: Final = 2**53

_DECODERS: Final[dict[StateTable, msgspec.json.Decoder[Any]]] = {
    "detectors": msgspec.json.Decoder(BindingState),
    "incidents": msgspec.json.Decoder(Incident),
    "groups": msgspec.json.Decoder(Group),
    "notifications": msgspec.json.Decoder(Notification),
    "silences": msgspec.json.Decoder(Silence),
    "reachability": msgspec.json.Decoder(Reachability),
    "baselines": msgspec.json.Decoder(LearnedBaseline | RequestSince),
}


class UnreadableRow(NamedTuple):
    """A row that cannot be decoded, or whose values are impossible, and why."""

    table: StateTable
    key: str
    reason: str


def read_state(rows_by_table: Mapping[StateTable, Mapping[str, bytes]]) -> tuple[State, list[UnreadableRow]]:
    """Return the state in ``rows_by_table``, and the rows that cannot be read and are left out."""
    tables: dict[str, Any] = {}
    unreadable = []
    for name in TABLES:
        table = tables[name] = {}
        for key, value in rows_by_table.get(name, {}).items():
            try:
                table[key] = _decode(name, key, value)
            except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
                unreadable.append(UnreadableRow(name, key, str(error)))
    last_sequence = max((notification.sequence for notification in tables["notifications"].values()), default=0)
    return State(**tables, last_sequence=last_sequence), unreadable


def _decode(table: StateTable, key: str, value: bytes) -> Any:
    """Return the value of a row.

    Raises:
        msgspec.DecodeError, ValueError, TypeError, RecursionError: if it is damaged.
    """
    decoded = _DECODERS[table].decode(value)
    own_key = decoded.id if isinstance(decoded, (Notification, Silence)) else getattr(decoded, "key", key)
    if own_key != key:
        raise ValueError("its value is that of another key")
    _check_numbers(decoded)
    return decoded


def _check_numbers(value: Any) -> None:
    """Check that all numbers are in the range that times, durations and counts can have.

    Larger ones cannot be shown as a time, or encoded again. The samples of a ``ratio`` detector are left out: they are
    many, and the detector compares each with the current time.
    """
    if isinstance(value, float):
        if not 0 <= value <= _MAX_TIME:
            raise ValueError(f"the time or duration {value:g} is out of range")
    elif isinstance(value, int):
        if not 0 <= value <= _MAX_COUNT:
            raise ValueError("a number is out of range")
    elif isinstance(value, Struct):
        if not isinstance(value, WindowSample):
            for field in value.__struct_fields__:
                _check_numbers(getattr(value, field))
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_numbers(item)
    elif isinstance(value, dict):
        for item in value.values():
            _check_numbers(item)
