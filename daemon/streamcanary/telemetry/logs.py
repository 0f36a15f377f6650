"""Structured logs on stderr: JSON for machines, columns for a terminal.

All packages log through the standard library: ``logging.getLogger(__name__).info("…", extra={"canary": name})``. The
formatter scrubs secrets from every line, including those of third-party packages, and bounds its length.
"""

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

import msgspec
from opentelemetry import trace

from streamcanary.model.redaction.redactor import Redactor, redactor_for

Level = Literal["debug", "info", "warning", "error"]
SecretsProvider = Callable[[], Iterable[str]]

NOISY_LOGGERS: Final = (
    "apscheduler",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "urllib3",
    "uvicorn.access",
)
"""Loggers of third-party packages that log each request and job; only their warnings are logged, at any level.

At lower levels ``openai`` would also log whole requests, including prompts and headers.
"""

OTLP_ATTRIBUTES: Final = "otlp_attributes"
"""The field of ``extra`` with attributes, as a dictionary, that only an exported log record has, not stderr."""

_PACKAGE = "streamcanary"  # part of the name of each logger
_MAX_MESSAGE_LENGTH = 2000  # characters
_MAX_FIELD_LENGTH = 500
_LONG_FIELDS = frozenset({"detail", "error", "problem"})  # texts of errors, as long as a message may be
_MAX_KEY_LENGTH = 100
_MAX_TRACEBACK_LENGTH = 8000
_MAX_FIELDS = 32
_MAX_ELEMENTS = 32  # of a list or an object in a field
_MAX_CONFIGURATIONS = 2  # whose secrets are scrubbed: the current one, and the former
_STANDARD_FIELDS = ("time", "level", "message", "logger", "exception", "trace_id", "span_id")
_RECORD_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "message", "taskName"}


def configure(
    level: Level = "info",
    *,
    json: bool | None = None,
    secrets: SecretsProvider | None = None,
    public: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send the logs of the whole process to ``stream`` (default: stderr), from ``level`` up.

    ``json`` selects one JSON object per line; the default is JSON unless the stream is a terminal. ``secrets`` returns
    the values to scrub; it is called for every line, so that secrets that were read again are included. ``public``
    texts, such as names of hosts and models, are not redacted, even if a secret contains them. A second call replaces
    the configuration of the first.
    """
    stream = stream or sys.stderr or cast("TextIO", _NullStream())  # sys.stderr is None if file descriptor 2 is closed
    terminal = stream.isatty()
    render = _to_json if (json if json is not None else not terminal) else _console_renderer(colors=terminal)
    handler = _StderrHandler(stream, _RedactedEvents(secrets or tuple, (_PACKAGE, *public)), render)
    root = logging.getLogger()
    for old in list(_handlers()):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def add_secrets(secrets: SecretsProvider, public: Iterable[str]) -> None:
    """Scrub the ``secrets`` of another configuration, too, and leave out its ``public`` texts.

    Those of the former configuration are scrubbed on: requests with them may still be in flight.
    """
    for handler in _handlers():
        handler.events.add(secrets, tuple(public))


class _NullStream(io.TextIOBase):
    def write(self, text: str, /) -> int:
        return len(text)


class _StderrHandler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO, events: "_RedactedEvents", render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__(stream)
        self.events = events
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``."""
        event = self.events.event_of(record)
        event.pop(OTLP_ATTRIBUTES, None)
        return self._render(event)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log that a line was lost, instead of a traceback that would contain the arguments of the line."""
        error = sys.exc_info()[1]
        line = {"level": "error", "message": "log line lost", "logger": record.name, "error": type(error).__name__}
        with suppress(OSError, ValueError):  # stderr is closed: nothing can be written
            self.stream.write(_to_json(line) + "\n")


def _console_renderer(*, colors: bool) -> Callable[[dict[str, Any]], str]:
    import structlog.dev  # only for a terminal: it takes a tenth of a second

    renderer = structlog.dev.ConsoleRenderer(event_key="message", timestamp_key="time", sort_keys=False, colors=colors)
    return lambda event: renderer(None, "", event)


def redacted_event(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of ``record`` as stderr shows them, with the secrets of the last :func:`configure` scrubbed.

    The field :data:`OTLP_ATTRIBUTES` is included.
    """
    configured = next(_handlers(), None)
    events = configured.events if configured is not None else _RedactedEvents(tuple, (_PACKAGE,))
    return events.event_of(record)


def _handlers() -> Iterator[_StderrHandler]:
    return (handler for handler in logging.getLogger().handlers if isinstance(handler, _StderrHandler))


class _RedactedEvents:
    """Makes events of records: dictionaries whose fields are scrubbed and truncated, without those beyond the 32nd."""

    def __init__(self, secrets: SecretsProvider, public: tuple[str, ...]) -> None:
        self._secrets = [secrets]
        self._public = [public]
        self._redactor = redactor_for((), public)
        self._known: tuple[str, ...] = ()  # the secrets of the redactor

    def add(self, secrets: SecretsProvider, public: tuple[str, ...]) -> None:
        """Scrub ``secrets``, too, and leave out ``public``."""
        self._secrets = [*self._secrets, secrets][-_MAX_CONFIGURATIONS:]
        self._public = [*self._public, (_PACKAGE, *public)][-_MAX_CONFIGURATIONS:]
        self._redactor = self._redactor_of(self._known)

    def event_of(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the event of ``record``."""
        fields = {key: value for key, value in record.__dict__.items() if key not in _RECORD_ATTRIBUTES}
        standard = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **_trace_ids(fields),
        }
        exception = _traceback_of(record) or fields.get("exception")
        for key in _STANDARD_FIELDS:
            fields.pop(key, None)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return self._scrub(standard, fields, exception)

    def _scrub(self, standard: dict[str, Any], fields: dict[str, Any], exception: str | None) -> dict[str, Any]:
        redactor, event = self._current_redactor(), standard | fields
        if exception is None and (texts := _short_texts(event)) is not None and redactor.is_clean(texts):
            return event
        shown = {key: self._scrub_value(value, redactor, _MAX_MESSAGE_LENGTH) for key, value in standard.items()}
        for key, value in list(fields.items())[:_MAX_FIELDS]:
            limit = _MAX_MESSAGE_LENGTH if key in _LONG_FIELDS else _MAX_FIELD_LENGTH
            shown[str(key)[:_MAX_KEY_LENGTH]] = self._scrub_value(value, redactor, limit)
        if exception is not None:
            whole = redactor.scrub(str(exception), 4 * _MAX_TRACEBACK_LENGTH, lines=True)
            shown["exception"] = whole[-_MAX_TRACEBACK_LENGTH:]
        return shown

    def _current_redactor(self) -> Redactor:
        """Return the redactor of the current secrets, which is looked up only if they have changed: it takes long."""
        secrets = tuple(secret for provider in self._secrets for secret in provider())
        if secrets != self._known:
            self._known, self._redactor = secrets, self._redactor_of(secrets)
        return self._redactor

    def _redactor_of(self, secrets: tuple[str, ...]) -> Redactor:
        public = dict.fromkeys(text for texts in self._public for text in texts)
        return redactor_for(tuple(dict.fromkeys(secrets)), tuple(public))

    @classmethod
    def _scrub_value(cls, value: Any, redactor: Redactor, limit: int) -> Any:
        """Return ``value`` scrubbed and truncated: a list or an object keeps its shape, its elements become scalars."""
        if isinstance(value, dict):
            return dict(cls._scrub_items(value.items(), redactor, limit))
        if isinstance(value, (list, tuple)):
            return [shown for _, shown in cls._scrub_items(enumerate(value), redactor, limit)]
        return cls._scrub_scalar(value, redactor, limit)

    @classmethod
    def _scrub_items(
        cls, pairs: Iterable[tuple[Any, Any]], redactor: Redactor, limit: int
    ) -> Iterator[tuple[str, Any]]:
        """Yield scrubbed keys and values up to ``limit`` characters in total; an ellipsis replaces the rest."""
        for number, (key, value) in enumerate(pairs):
            if limit <= 0 or number == _MAX_ELEMENTS:
                yield "…", "…"
                return
            name, shown = (
                cls._scrub_scalar(str(key), redactor, _MAX_KEY_LENGTH),
                cls._scrub_scalar(value, redactor, limit),
            )
            limit -= len(name) + len(str(shown))
            yield name, shown

    @staticmethod
    def _scrub_scalar(value: Any, redactor: Redactor, limit: int) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        text = value if isinstance(value, str) else str(value)
        return redactor.scrub(text, limit, lines=True).replace("\n", "\\n")  # one log line stays one line


def _time_of(record: logging.LogRecord) -> str:
    """Return when ``record`` was logged, in UTC (RFC 3339)."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _short_texts(event: Mapping[str, Any]) -> list[str] | None:
    """Return the texts of an event of scalars from which nothing needs to be cut, or ``None`` if it is another one."""
    if len(event) > _MAX_FIELDS:
        return None
    texts: list[str] = []
    for key, value in event.items():
        if type(value) is str and len(value) <= _MAX_FIELD_LENGTH and len(key) <= _MAX_KEY_LENGTH:
            texts.append(value)
        elif value is not None and type(value) not in (bool, int, float):
            return None
    return texts


def _trace_ids(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the trace id that the caller has given, or the ids of the current span, if there is one."""
    if "trace_id" in fields:
        return {key: fields[key] for key in ("trace_id", "span_id") if key in fields}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def _traceback_of(record: logging.LogRecord) -> str | None:
    """Format an exception as text. The end of a long traceback is kept, because it contains the exception."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    return "".join(traceback.format_exception(record.exc_info[1], limit=-20))[-4 * _MAX_TRACEBACK_LENGTH :]


def _to_json(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()
