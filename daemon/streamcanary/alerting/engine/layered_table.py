"""A table that is copied in a time that hardly grows with its size: each run changes a row or two of 100,000."""

import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

_REMOVED: Final[Any] = object()
_MISSING: Final[Any] = object()
_MIN_CHANGES: Final = 32


class LayeredTable(MutableMapping[str, T]):
    """A dictionary in two layers: rows that copies share and that nobody changes, and the changes since.

    :meth:`copy` copies the changes only. When there are about as many as the square root of the rows, the copy has both
    in one layer. The given rows must not be changed any more.
    """

    __slots__ = ("_changes", "_length", "_rows")

    def __init__(self, rows: Mapping[str, T]) -> None:
        self._rows: Mapping[str, T] = rows
        self._changes: dict[str, T] = {}
        self._length = len(rows)

    def copy(self) -> "LayeredTable[T]":
        """Return a table with the same rows; a change of one does not change the other."""
        if len(self._changes) > _MIN_CHANGES + math.isqrt(self._length):
            return LayeredTable(self._merged())
        copy = LayeredTable(self._rows)
        copy._changes, copy._length = self._changes.copy(), self._length
        return copy

    def get(self, key: str, default: Any = None) -> Any:
        """Return the row of ``key``, or ``default``."""
        value = self._changes.get(key, _MISSING)
        if value is _MISSING:
            return self._rows.get(key, default)
        return default if value is _REMOVED else value

    def __getitem__(self, key: str) -> T:
        value: T = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: T) -> None:
        self._length += key not in self
        self._changes[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._length -= 1
        self._changes[key] = _REMOVED

    def __contains__(self, key: object) -> bool:
        value = self._changes.get(key, _MISSING)  # type: ignore[call-overload]
        return key in self._rows if value is _MISSING else value is not _REMOVED

    def __iter__(self) -> Iterator[str]:
        return iter(self._merged() if self._changes else self._rows)

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return repr(self._merged())

    def _merged(self) -> dict[str, T]:
        """Return all rows as a dictionary. A row that was removed and set again keeps its place."""
        merged = {**self._rows, **self._changes}
        for key, value in self._changes.items():
            if value is _REMOVED:
                del merged[key]
        return merged
