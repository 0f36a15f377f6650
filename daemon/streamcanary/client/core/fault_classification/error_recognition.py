"""Recognizes errors that are not marked as such: JSON and text in a stream, or in a body with status 200.

Servers report errors in every form they know: ``{"detail": "Not authenticated"}``, a line of a log, a page. Two answers
to a wrong address are no errors: the greeting of a server, ``{"message": "Welcome"}``, and a page in HTML. Neither is a
message of success, ``{"error_code": 0, "error_msg": "success"}``.
"""

import re
from collections.abc import Mapping
from typing import Final

from streamcanary.client.core.fault_classification.error_codes import classify_error_code
from streamcanary.client.core.fault_classification.error_details import (
    decode_json,
    is_failure_number,
    parse_error_details,
)
from streamcanary.client.core.fault_classification.error_phrases import classify_phrase, status_in_words

ERROR_EVENTS: Final = frozenset({"error", "exception"})
"""Types of server-sent events that are errors, whatever their data."""

_ERROR_KEYS: Final = ("error_message", "errorMessage", "error_msg", "error_type", "error_code")
_CODE_KEYS: Final = ("code", "error_code", "errcode", "status_code")
_MESSAGE_KEYS: Final = ("message", "msg", "detail", "details", "error_description", "reason")
_FAILED: Final = ("error", "fail", "failed", "failure")
_SUCCESS: Final = frozenset({"0", "200", "ok", "success"})
_MAX_ITEMS = 8  # of a list
_MAX_BYTES = 64 << 10  # of a body
_MAX_IGNORED_BYTES = 8 << 10
_MAX_TEXT_LENGTH = 1000  # characters: a longer text is a page, which may be about errors
_MAX_EXCERPT_LENGTH = 200  # characters of a body in a message
_ERROR_WORD: Final = re.compile(r"\b(?:errors?|exception|failed|failure|fatal|time-?out|timed out)\b", re.IGNORECASE)
_STARTS_AS_ERROR: Final = re.compile(  # [ERROR] out of memory; RuntimeError: …; Request failed during generation
    r"[^\w\"'{<]{0,8}(?:[\w.]{1,40} ){0,3}?[\w.]{0,40}(?:error|exception|fatal|failed|failure|traceback)\b(?![\"'}])",
    re.IGNORECASE,
)
_ERROR_FIELD: Final = re.compile(r"error:\s*(?=\S)", re.IGNORECASE)  # llama.cpp


def reports_error(value: object) -> bool:
    """Return whether decoded JSON that is no answer reports an error.

    It does if it has a member for errors, or a code of an error. Four digits alone are no error: each provider has its
    own numbers. In a stream that goes on, less is none: a proxy can say that a tool failed, and the answer still comes.
    """
    if isinstance(value, list):
        return any(reports_error(item) for item in value[:_MAX_ITEMS] if isinstance(item, Mapping))
    if not isinstance(value, Mapping) or value.get("choices"):
        return False
    if value.get("error") or value.get("errors") or "error" in (value.get("type"), value.get("object")):
        return True
    if isinstance(base := value.get("base_resp"), Mapping) and is_failure_number(base.get("status_code")):
        return True  # MiniMax
    if _is_success(value):
        return False
    if any(value.get(key) for key in _ERROR_KEYS):
        return True
    codes = [code for code in parse_error_details(value).codes if not _has_four_digits(code)]
    return classify_error_code(*codes) is not None


def find_error(body: bytes) -> object | None:
    """Return the error in a whole body with status 200, or in what a stream contains besides its answer, if any.

    It is decoded JSON, or text. JSON is an error by its members, codes or words, if it says that the request failed, or
    has a list of invalid fields (FastAPI); a short text by how it begins, or by a known phrase. The greeting that
    servers send at a wrong address is none, and neither is a page in HTML.
    """
    text = body[:_MAX_BYTES].decode("utf-8", "replace").strip()
    values = [decode_json(text)]
    if values == [None]:
        values = [decode_json(line.strip()) for line in (text.partition("\n")[0], text.rpartition("\n")[2])]
    for value in values:
        if value is not None and (reports_error(value) or _says_error(value)):
            return value
    return _find_error_in_text(text) if values == [None, None] else None


def find_error_in_event(event: str, data: bytes) -> object | None:
    """Return the error in the data of an event that is not JSON, if it is one: decoded JSON, or text.

    ``data: error: {"code": 500}`` is one, and so is any data of an event of type ``error``.
    """
    text = data[:_MAX_BYTES].decode("utf-8", "replace").strip()
    if text[:6].lower() == "error:" and (value := decode_json(text)) is not None:
        return value
    return text if event in ERROR_EVENTS else _find_error_in_text(text)


def keep_ignored(ignored: list[bytes], data: bytes) -> None:
    """Keep JSON that is neither of the API nor an error, in case that the stream ends without an answer.

    The first is kept and the last seven, of at most 8 KiB each.
    """
    if len(data) <= _MAX_IGNORED_BYTES:
        if len(ignored) >= _MAX_ITEMS:
            del ignored[1]
        ignored.append(data)


def excerpt_of(body: bytes) -> str:
    """Return what a body says, for a message: its message, its title, or its beginning.

    Binary data and pages without a title give ``""``.
    """
    text = body[:_MAX_BYTES].decode("utf-8", "replace").strip()
    message = " ".join(parse_error_details(text).message.split())
    if "\ufffd" in message or "\0" in message or message.startswith("<"):
        return ""
    return message if len(message) <= _MAX_EXCERPT_LENGTH else message[: _MAX_EXCERPT_LENGTH - 1] + "…"


def _find_error_in_text(text: str) -> str | None:
    if len(text) > _MAX_TEXT_LENGTH or text.startswith(("<", "{", '"')):
        return None
    if _STARTS_AS_ERROR.match(text) or classify_phrase(text) is not None or status_in_words(text) is not None:
        return _ERROR_FIELD.sub("", text, count=1) if _ERROR_FIELD.match(text) else text
    return None


def _says_error(value: object) -> bool:
    if isinstance(value, Mapping):
        if value.get("choices") or _is_success(value):
            return False
        if _lists_invalid_fields(value.get("detail")) or _has_failed(value):
            return True
    message = parse_error_details(value).message
    if message.startswith(("{", "[")):  # the value itself, which has no message
        return False
    return (
        classify_phrase(message) is not None
        or status_in_words(message) is not None
        or _ERROR_WORD.search(message[:_MAX_TEXT_LENGTH]) is not None
    )


def _is_success(value: Mapping[object, object]) -> bool:
    codes = [value.get(key) for key in _CODE_KEYS]
    return any(str(code).lower() in _SUCCESS for code in codes if isinstance(code, (str, int)) and code is not False)


def _has_failed(value: Mapping[object, object]) -> bool:
    has_failed = value.get("success") is False or value.get("status") in _FAILED
    return has_failed and any(value.get(key) for key in _MESSAGE_KEYS)


def _lists_invalid_fields(detail: object) -> bool:
    return isinstance(detail, list) and any(
        isinstance(item, Mapping) and ("msg" in item or "message" in item) for item in detail[:_MAX_ITEMS]
    )


def _has_four_digits(code: object) -> bool:
    text = str(code)
    return len(text) == 4 and text.isascii() and text.isdigit()
