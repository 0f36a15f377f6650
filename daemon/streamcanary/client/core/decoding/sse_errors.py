"""Finds errors that a server writes into an event stream without the field ``data``.

llama.cpp reports an error in a field of its own, ``error: {"code": 400, "message": "…"}``; other servers write the JSON
as a bare line. The specification ignores both, and the reason of a failure would be lost.
"""

import msgspec

from streamcanary.client.core.decoding.lenient_json import decode_untyped

_MAX_ERROR_BYTES = 64 * 1024
_MAX_NAME_BYTES = 64  # of a field that may hold an error
_MESSAGE_KEYS = frozenset({"message", "detail", "details", "msg", "error_message"})
_CODE_KEYS = frozenset({"code", "status", "error_code", "status_code"})
_IGNORED_FIELDS = frozenset({b"", b"id", b"retry"})  # comments, and fields that are ignored


def error_in_line(line: bytes) -> bytes | None:
    """Return the JSON error in a line that is an unknown field, or JSON without a field; ``None`` if it has none.

    The value must be a JSON object of at most 64 KiB. In a field named ``error`` any object with a member is an error;
    in another field, or without one, :func:`error_in_json` decides.
    """
    if line.startswith(b"{"):
        return error_in_json(line)
    name, colon, value = line.partition(b":")
    if not colon or name in _IGNORED_FIELDS or len(name) > _MAX_NAME_BYTES:
        return None
    value = value.removeprefix(b" ")
    if name.strip().lower() != b"error":
        return error_in_json(value)
    decoded = _decode_object(value)
    if not decoded:
        return None
    return value if decoded.get("error") else b'{"error":%b}' % value


def error_in_json(data: bytes) -> bytes | None:
    """Return ``data`` if it is a JSON object of at most 64 KiB that reports an error, wrapped as ``{"error": …}``.

    It reports an error if it has a non-empty ``error``, if its ``object`` or ``type`` is ``error``, or if it has a
    message together with an HTTP status of 400 or more or a type that ends in ``error``.
    """
    decoded = _decode_object(data)
    if not decoded:
        return None
    if decoded.get("error"):
        return data
    kind = decoded.get("type")
    has_message = any(isinstance(decoded.get(key), str) for key in _MESSAGE_KEYS)
    has_code = any(_is_error_status(decoded.get(key)) for key in _CODE_KEYS)
    has_error_type = isinstance(kind, str) and kind.lower().endswith("error")
    if "error" in (decoded.get("object"), kind) or (has_message and (has_code or has_error_type)):
        return b'{"error":%b}' % data
    return None


def _is_error_status(code: object) -> bool:
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    return isinstance(code, int) and 400 <= code <= 599


def _decode_object(data: bytes) -> dict[str, object] | None:
    if len(data) > _MAX_ERROR_BYTES or not data.lstrip().startswith(b"{"):
        return None
    try:
        decoded = decode_untyped(data)
    except msgspec.DecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None
