"""Extracts codes, message, parameter and retry delay from the error body of a provider, whatever its shape.

The shapes that are known, with one provider or server that sends each:

    {"error": {"message": …, "type": …, "param": …, "code": …}}      OpenAI
    {"type": "error", "error": {"type": …, "message": …}}            Anthropic
    {"error": "model 'x' not found, try pulling it first"}           Ollama
    {"code": "permission-denied", "error": "…"}                      xAI
    {"object": "error", "message": …, "type": …, "code": …}          Mistral, vLLM
    {"detail": [{"loc": ["body", "n"], "msg": …}]}                   FastAPI
    {"type": "about:blank", "title": …, "status": 410, "detail": …}  RFC 9457, NVIDIA
    [{"error": {…, "details": [{"retryDelay": "2s"}]}}]              Google
    {"error": {…, "metadata": {"raw": '{"error": …}'}}}              OpenRouter
    {"base_resp": {"status_code": 1008, "status_msg": …}}            MiniMax
    {"errors": [{"message": …}]}, {"error_type": …, "error_message": …}

and any of these as a string of JSON, or as the text after ``error:`` or ``data:``.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

_INNER_ERROR_KEYS: Final = ("error", "errors", "innererror", "base_resp")
_CODE_KEYS: Final = ("code", "error_code", "type", "error_type", "__type", "status", "status_code")
_MESSAGE_KEYS: Final = (
    "message",
    "error_message",
    "errorMessage",
    "msg",
    "error_msg",
    "status_msg",
    "detail",
    "details",
    "error",
    "error_description",
    "reason",
    "title",
)
_RETRY_DELAY_KEYS: Final = ("retryDelay", "retry_delay", "retry_after", "retryAfter", "retry_after_seconds")
_MEANINGLESS_CODES: Final = frozenset({"error", "about:blank", ""})
_TEXT_PREFIXES: Final = ("error:", "data:", "event:")  # of a line of an event stream

_MAX_DEPTH = 6  # objects and lists inside each other
_MAX_ITEMS = 8  # of one list
_MAX_NODES = 64  # values that are examined in total
_MAX_JSON_LENGTH = 64 * 1024  # characters of a string that is decoded as JSON
_MAX_MESSAGES = 3  # that are joined
_MAX_TEXT_LENGTH = 8192  # characters that are kept of a message
_MAX_CODE_LENGTH = 4096  # characters: longer than what is shown, so that a secret in it is recognized
_MAX_QUOTA_ID_LENGTH = 128
_MAX_NUMBER_LENGTH = 16  # digits of a code
_MAX_RETRY_DELAY = 86_400.0  # seconds


class ErrorDetails(Struct, frozen=True, kw_only=True):
    """What an error body says. The text is untrusted: bounded, but not scrubbed.

    ``codes``: error codes and types, the most specific object first. ``message``: for people; the body itself if it has
    no message. ``param``: the parameter that was rejected. ``retry_delay``: the wait in seconds that the body asks for,
    at most a day. ``quota_ids``: the names of the quotas that are exceeded (Google).
    """

    codes: tuple[str | int, ...] = ()
    message: str = ""
    param: str = ""
    retry_delay: float | None = None
    quota_ids: str = ""


def parse_error_details(body: object) -> ErrorDetails:
    """Return what ``body`` says: decoded JSON, or text, which may be JSON or HTML."""
    extractor = _Extractor()
    extractor.visit(body, depth=0)
    message = extractor.message()
    if not message and not extractor.param:
        message = _encode(body)
    return ErrorDetails(
        codes=tuple(extractor.codes),
        message=message,
        param=extractor.param,
        retry_delay=extractor.retry_delay,
        quota_ids=" ".join(extractor.quota_ids),
    )


class _Extractor:
    """Collects the parts of an error body while it visits its values, a limited number of them."""

    def __init__(self) -> None:
        self.codes: list[str | int] = []
        self.messages: list[tuple[str, str]] = []  # the field of the request that a message is about, and the message
        self.param = ""
        self.retry_delay: float | None = None
        self.quota_ids: list[str] = []
        self._field = ""
        self._nodes = 0

    def message(self) -> str:
        """Return the messages as one text, each with its field if they are about different ones."""
        has_fields = len({field for field, _ in self.messages}) > 1
        return "; ".join(f"{field}: {text}" if field and has_fields else text for field, text in self.messages)

    def visit(self, value: object, depth: int) -> None:
        """Collect from ``value``, at ``depth`` objects below the body."""
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            return
        if isinstance(value, str):
            self._visit_text(value, depth)
        elif isinstance(value, list):
            for item in value[:_MAX_ITEMS]:
                self.visit(item, depth + 1)
        elif isinstance(value, Mapping):
            self._visit_object(value, depth)

    def _visit_text(self, text: str, depth: int) -> None:
        text = text.strip()
        if (decoded := decode_json(text)) is not None:
            self.visit(decoded, depth + 1)
            return
        text = _html_title(text)[:_MAX_TEXT_LENGTH]
        is_known = any(text in known for field, known in self.messages if field == self._field)
        if text and len(self.messages) < _MAX_MESSAGES and not is_known:
            self.messages.append((self._field, text))

    def _visit_object(self, error: Mapping[object, object], depth: int) -> None:
        for key in _INNER_ERROR_KEYS:
            if isinstance(error.get(key), (Mapping, list)):
                self.visit(error[key], depth + 1)
        self._add_codes(error)
        self._add_param(error)
        self._add_retry_delay(error)
        outer_field, self._field = self._field, _field_of(error) or self._field
        self._add_message(error, depth)
        self._field = outer_field
        if isinstance(metadata := error.get("metadata"), Mapping):
            self.visit(metadata.get("raw"), depth + 1)
        if isinstance(details := error.get("details"), list):
            self._add_details(details)

    def _add_codes(self, error: Mapping[object, object]) -> None:
        for key in _CODE_KEYS:
            code = error.get(key)
            if key == "status_code" and "status_msg" in error:  # MiniMax's numbers mean something else than others'
                code = f"base_resp {code}" if is_failure_number(code) else None
            if isinstance(code, float) and code.is_integer():
                code = int(code)
            if isinstance(code, str):
                code = code.strip()[:_MAX_CODE_LENGTH]
            if isinstance(code, (str, int)) and not isinstance(code, bool) and code not in _MEANINGLESS_CODES:
                self.codes.append(code)

    def _add_param(self, error: Mapping[object, object]) -> None:
        """Keep the first parameter."""
        self.param = self.param or _field_of(error)

    def _add_retry_delay(self, error: Mapping[object, object]) -> None:
        for key in _RETRY_DELAY_KEYS:
            if self.retry_delay is None:
                self.retry_delay = _parse_seconds(error.get(key))

    def _add_message(self, error: Mapping[object, object], depth: int) -> None:
        count = len(self.messages)
        for key in _MESSAGE_KEYS:
            value = error.get(key)
            if isinstance(value, str) or (key not in _INNER_ERROR_KEYS and isinstance(value, (Mapping, list))):
                self.visit(value, depth + 1)
            if len(self.messages) > count:
                return

    def _add_details(self, details: list[object]) -> None:
        """Add what Google's typed details say (google.rpc.RetryInfo and QuotaFailure, AIP-193)."""
        for detail in details[:_MAX_ITEMS]:
            if not isinstance(detail, Mapping):
                continue
            self._add_retry_delay(detail)
            violations = detail.get("violations")
            for violation in violations[:_MAX_ITEMS] if isinstance(violations, list) else ():
                quota_id = violation.get("quotaId") if isinstance(violation, Mapping) else None
                if isinstance(quota_id, str):
                    self.quota_ids.append(quota_id[:_MAX_QUOTA_ID_LENGTH])


def _field_of(error: Mapping[object, object]) -> str:
    """Return the parameter that an error is about: its name, or its path, without the leading ``body`` of FastAPI."""
    param = error.get("param") or error.get("loc")
    if isinstance(param, list):
        names = [str(name) for name in param[:_MAX_ITEMS] if isinstance(name, (str, int))]
        param = ".".join(names[1:] if names[:1] == ["body"] and len(names) > 1 else names)
    return param[:_MAX_TEXT_LENGTH] if isinstance(param, str) else ""


def is_failure_number(code: object) -> bool:
    """Return whether ``code`` is a number, or the digits of one, that does not mean success as 0 and 200 do."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < _MAX_NUMBER_LENGTH:
        code = int(code)
    return isinstance(code, (int, float)) and not isinstance(code, bool) and code not in (0, 200)


def decode_json(text: str) -> object | None:
    """Return the object or list in ``text``, which is JSON or the first line of an event stream; else ``None``."""
    if text[:6].lower().startswith(_TEXT_PREFIXES):
        text = text[text.find("{") :].partition("\n")[0] if "{" in text else ""
    if not text.startswith(("{", "[")) or len(text) > _MAX_JSON_LENGTH:
        return None
    try:
        return msgspec.json.decode(text)  # type: ignore[no-any-return] # any JSON
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _html_title(text: str) -> str:
    """Return the title of an HTML page (``502 Bad Gateway``), any other ``text`` unchanged."""
    if not text.startswith("<"):
        return text
    beginning = text[:_MAX_TEXT_LENGTH]
    start = beginning.lower().find("<title>") + len("<title>")
    end = beginning.lower().find("</title>", start)
    title = beginning[start:end].strip() if len("<title>") <= start < end else ""
    return title or text


def _parse_seconds(value: object) -> float | None:
    """Return seconds from a number, or from text such as ``2s`` or ``36.5s`` (protobuf's Duration)."""
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = float(value.strip().removesuffix("s"))
        except ValueError:
            return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        return None
    return min(float(value), _MAX_RETRY_DELAY)


def _encode(body: object) -> str:
    """Return a body without a message as text; ``""`` if it is empty."""
    if isinstance(body, str):
        return body.strip()[:_MAX_TEXT_LENGTH] if decode_json(body.strip()) else ""
    if not body or not isinstance(body, (Mapping, list)):
        return ""
    try:
        return msgspec.json.encode(body)[:_MAX_TEXT_LENGTH].decode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError):
        return ""
