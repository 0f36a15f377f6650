"""JSON as servers really send it: fields missing, null, or of another type than they should be.

Every field of a wire struct is optional, unknown ones are ignored. Where a field has another type than expected, the
whole message is read again without types and what fits is kept. Only what is not JSON at all is an error.
"""

import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

_T = TypeVar("_T", bound=Struct)


class ErrorReported(Exception):
    """The server says that something is wrong; ``error`` is its JSON, of whatever shape."""

    def __init__(self, error: object) -> None:
        super().__init__()
        self.error = error


class LenientDecoder(typing.Generic[_T]):
    """Reads JSON into a wire struct, as far as it fits."""

    def __init__(self, struct: type[_T]) -> None:
        self._struct = struct
        self._decode = msgspec.json.Decoder(struct).decode

    def __call__(self, data: bytes) -> _T:
        """Return what ``data`` says.

        Raises:
            msgspec.DecodeError: if it is not JSON in UTF-8, or nested too deep.
        """
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            untyped = decode_untyped(data)
            return convert_leniently(self._struct, untyped) if isinstance(untyped, dict) else self._struct()
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None


def decode_untyped(data: bytes) -> Any:
    """Return the JSON in ``data`` as plain objects.

    Raises:
        msgspec.DecodeError: if ``data`` is not JSON in UTF-8, or nested too deep.
    """
    try:
        return msgspec.json.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def convert_leniently(struct: type[_T], untyped: dict[str, Any]) -> _T:
    """Return a ``struct`` of those fields of ``untyped`` that have the type it wants; the others keep their default."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if (value := untyped.get(field.encode_name)) is None:
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            if (nested := _convert_nested(field.type, value)) is not None:
                values[field.name] = nested
    return struct(**values)


def _convert_nested(field_type: Any, value: Any) -> Any:
    """Return what fits of a nested object, or of each object in a list."""
    for option in typing.get_args(field_type) or (field_type,):
        if isinstance(option, type) and issubclass(option, Struct) and isinstance(value, dict):
            return convert_leniently(option, value)
        if typing.get_origin(option) is list and isinstance(value, list):
            (item_type,) = typing.get_args(option)
            return [convert_leniently(item_type, item) for item in value if isinstance(item, dict)]
    return None
