r"""Decodes JSON whose fields can be missing, null, or of a wrong type.

Every field of a wire struct is optional; unknown fields are ignored. If a field has a wrong type, the message is
decoded again without types, and the fields with valid types are kept. Only invalid JSON is an error, except for what
servers in Python send: ``NaN``, ``Infinity`` and ``-Infinity`` as numbers, and half a surrogate pair in a string
(``"\ud83d"``). Such a message is decoded by ``json``, which accepts both, after msgspec has refused it.
"""

import json
import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from streamcanary.client.core.decoding.surrogates import replace_escaped_halves

_T = TypeVar("_T", bound=Struct)
_ONLY_IN_PYTHON = (b"NaN", b"Infinity", b"\\u")  # what json accepts and msgspec does not
_MAX_INTEGER_DIGITS = 4300  # Python refuses to convert more digits into an integer


class ErrorReported(Exception):
    """The server reported an error; ``error`` is its JSON, of any shape."""

    def __init__(self, error: object) -> None:
        super().__init__()
        self.error = error


class LenientDecoder(typing.Generic[_T]):
    """Decodes JSON into a wire struct, without the fields of a wrong type."""

    __slots__ = ("_decode_typed", "_struct")

    def __init__(self, struct: type[_T]) -> None:
        self._struct = struct
        self._decode_typed = msgspec.json.Decoder(struct).decode

    def decode(self, data: bytes) -> _T:
        """Return the struct of ``data``.

        Half a surrogate pair stays in its string, so that the other half in the next message can be joined to it.

        Raises:
            msgspec.DecodeError: if ``data`` is not JSON in UTF-8, or nested too deep.
        """
        try:
            return self._decode_typed(data)
        except msgspec.ValidationError:
            untyped = decode_untyped(data, keep_halves=True)
        except msgspec.DecodeError as error:
            untyped = _decode_with_json(data, error, keep_halves=True)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None
        return convert_leniently(self._struct, untyped) if isinstance(untyped, dict) else self._struct()


def decode_untyped(data: bytes, *, keep_halves: bool = False) -> Any:
    """Return the JSON in ``data`` as plain objects.

    Half a surrogate pair becomes U+FFFD, unless ``keep_halves``.

    Raises:
        msgspec.DecodeError: if ``data`` is not JSON in UTF-8, or nested too deep.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        return _decode_with_json(data, error, keep_halves=keep_halves)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _decode_with_json(data: bytes, error: msgspec.DecodeError, *, keep_halves: bool) -> Any:
    """Return the JSON in ``data`` if it has what ``json`` accepts and msgspec does not.

    Raises:
        msgspec.DecodeError: ``error``, the one of msgspec, if ``json`` does not accept it, either.
    """
    if not any(token in data for token in _ONLY_IN_PYTHON):
        raise error
    try:
        text = data.decode()
        return json.loads(text if keep_halves else replace_escaped_halves(text), parse_int=_parse_int)
    except (ValueError, RecursionError):
        raise error from None


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def convert_leniently(struct: type[_T], untyped: dict[str, Any]) -> _T:
    """Return a ``struct`` of the fields of ``untyped`` with the right type; the others have their defaults."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if (value := untyped.get(field.encode_name)) is None:
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except (msgspec.ValidationError, UnicodeEncodeError):  # of half a surrogate pair in a number's place
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
