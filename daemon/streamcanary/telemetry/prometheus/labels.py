"""The attributes of a series in few bytes: the values alone, with the names that all series of a kind share."""

from collections.abc import Mapping
from typing import Any, Final

_MAX_ORDERS: Final = 10_000  # sets of names; a daemon has some dozens, whatever a provider sends
_TEXT: Final = frozenset({str})

_orders: dict[tuple[str, ...], tuple[str, ...]] = {}


class Labels(tuple[Any, ...]):
    """Attributes: their sorted names, and then the values.

    Equal to those with the same names and values, whatever their order was. As the key of a table, and as what a series
    keeps, they are one object, of a fifth of the size of a dictionary.
    """

    __slots__ = ()

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Labels":
        """Return ``attributes`` as labels."""
        names = tuple(attributes)
        order = _orders.get(names)
        if order is None:
            order = _order_of(names)
        values = [attributes[name] for name in order]
        if not _TEXT.issuperset(map(type, values)):
            values = [value if type(value) is str else _Typed(value) for value in values]
        return cls((order, *values))

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes as a new dictionary, in the order of their names."""
        return {name: _value_of(value) for name, value in zip(self[0], self[1:], strict=True)}

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of one attribute; ``default`` if there is none of this ``name``."""
        order: tuple[str, ...] = self[0]
        return _value_of(self[1 + order.index(name)]) if name in order else default


class _Typed:
    """A value that equals only one of the same type: ``1``, ``1.0`` and ``True`` are different attributes."""

    __slots__ = ("_key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._key = repr(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Typed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _value_of(value: Any) -> Any:
    return value.value if isinstance(value, _Typed) else value


def _order_of(names: tuple[str, ...]) -> tuple[str, ...]:
    order = tuple(sorted(names))
    order = _orders.get(order, order)  # equal ones are one object
    if len(_orders) < _MAX_ORDERS:
        _orders[order] = order
        _orders[names] = order
    return order
