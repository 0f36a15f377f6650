"""Decodes JSON whose fields can be missing, null, or of a wrong type.

Every field of a wire struct is optional; unknown fields are ignored. If a field has a wrong type, the message is
decoded again without types, and the fields with valid types are kept. Only invalid JSON is an error.
"""

import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

_T = TypeVar("_T", bound=Struct)


class ErrorReported(Exception):
    """The server reported an error; ``error`` is its JSON, of any shape."""

    def __init__(self, error: object) -> None:
        super().__init__()
        self.error = error


class LenientDecoder(typing.Generic[_T]):
    """Decodes JSON into a wire struct, without the fields of a wrong type."""

    def __init__(self, struct: type[_T]) -> None:
        self._struct = struct
        self._decode = msgspec.json.Decoder(struct).decode

    def __call__(self, data: bytes) -> _T:
        """Return the struct of ``data``.

        Raises:
            msgspec.DecodeError: if ``data`` is not JSON in UTF-8, or nested too deep.
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
    """Return a ``struct`` of the fields of ``untyped`` with the right type; the others have their defaults."""
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
    """Return a nested object, or list of objects, without the fields of a wrong type; ``None`` if it is neither."""
    for option in typing.get_args(field_type) or (field_type,):
        if isinstance(option, type) and issubclass(option, Struct) and isinstance(value, dict):
            return convert_leniently(option, value)
        if typing.get_origin(option) is list and isinstance(value, list):
            (item_type,) = typing.get_args(option)
            return [convert_leniently(item_type, item) for item in value if isinstance(item, dict)]
    return None
