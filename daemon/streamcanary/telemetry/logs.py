"""Structured logs on stderr: JSON for machines, columns for a terminal.

All packages log through the standard library: ``logging.getLogger(__name__).info("…", extra={"canary": name})``. The
formatter scrubs secrets from every line, including those of third-party packages, and bounds its length.
"""

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

import msgspec
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor

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
    handler = _StderrHandler(stream, _event_chain(secrets or tuple, (_PACKAGE, *public)))
    terminal = stream.isatty()
    renderer = _json_renderer() if (json if json is not None else not terminal) else _console_renderer(colors=terminal)
    handler.setFormatter(_formatter(renderer, handler.chain))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
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
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _StderrHandler):
            for process in handler.chain:
                if isinstance(process, _ScrubAndTruncate):
                    process.add(secrets, tuple(public))


class _NullStream(io.TextIOBase):
    def write(self, text: str, /) -> int:
        return len(text)


class _StderrHandler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO, chain: Sequence[Processor]) -> None:
        super().__init__(stream)
        self.chain = chain

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log that a line was lost, instead of a traceback that would contain the arguments of the line."""
        error = sys.exc_info()[1]
        line = {"level": "error", "message": "log line lost", "logger": record.name, "error": type(error).__name__}
        with suppress(OSError, ValueError):  # stderr is closed: nothing can be written
            self.stream.write(_to_json(line) + "\n")


def _json_renderer() -> Processor:
    return structlog.processors.JSONRenderer(serializer=_to_json)


def _console_renderer(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(event_key="message", timestamp_key="time", sort_keys=False, colors=colors)


def _formatter(renderer: Processor, chain: Sequence[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=chain,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _drop_otlp_attributes, renderer],
    )


def _event_chain(secrets: SecretsProvider, public: tuple[str, ...]) -> Sequence[Processor]:
    """Return the processors that make a redacted and bounded event of a record."""
    return [
        structlog.processors.EventRenamer("message"),
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_time,
        _add_trace,
        _add_traceback,
        _ScrubAndTruncate(secrets, public),
    ]


def redacted_event(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of ``record`` as stderr shows them, with the secrets of the last :func:`configure` scrubbed.

    The field :data:`OTLP_ATTRIBUTES` is included.
    """
    handlers = (handler for handler in logging.getLogger().handlers if isinstance(handler, _StderrHandler))
    configured = next(handlers, None)
    chain = configured.chain if configured is not None else _event_chain(tuple, (_PACKAGE,))
    event: EventDict = {"event": record.getMessage(), "_record": record, "_from_structlog": False}
    if record.exc_info:
        event["exc_info"] = record.exc_info
    for process in chain:
        event = cast("EventDict", process(None, record.levelname.lower(), event))
    return {key: value for key, value in event.items() if key not in ("_record", "_from_structlog")}


def _drop_otlp_attributes(logger: object, method: str, event: EventDict) -> EventDict:
    event.pop(OTLP_ATTRIBUTES, None)
    return event


def _add_time(logger: object, method: str, event: EventDict) -> EventDict:
    """Add the time at which the line was logged, in UTC (RFC 3339)."""
    created = datetime.fromtimestamp(event["_record"].created, UTC)
    event["time"] = created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _add_trace(logger: object, method: str, event: EventDict) -> EventDict:
    """Add the ids of the current span, unless the line has a trace id already."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid and "trace_id" not in event:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _add_traceback(logger: object, method: str, event: EventDict) -> EventDict:
    """Format an exception as text. The end of a long traceback is kept, because it contains the exception."""
    info = event.pop("exc_info", None)
    if info and info[1] is not None:
        text = "".join(traceback.format_exception(info[1], limit=-20))
        event["exception"] = text[-4 * _MAX_TRACEBACK_LENGTH :]
    if stack := event.pop("stack_info", None):
        event["stack"] = stack
    return event


class _ScrubAndTruncate:
    """Scrubs and truncates every field, and drops the fields beyond the first 32."""

    def __init__(self, secrets: SecretsProvider, public: tuple[str, ...]) -> None:
        self._secrets = [secrets]
        self._public = [public]

    def add(self, secrets: SecretsProvider, public: tuple[str, ...]) -> None:
        self._secrets = [*self._secrets, secrets][-_MAX_CONFIGURATIONS:]
        self._public = [*self._public, (_PACKAGE, *public)][-_MAX_CONFIGURATIONS:]

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        secrets = dict.fromkeys(secret for provider in self._secrets for secret in provider())
        public = dict.fromkeys(text for texts in self._public for text in texts)
        redactor = redactor_for(tuple(secrets), tuple(public))
        meta = {key: event.pop(key) for key in ("_record", "_from_structlog")}
        standard = {key: event.pop(key) for key in _STANDARD_FIELDS if key in event}
        exception = standard.pop("exception", None)
        shown: EventDict = {key: self._scrub_value(standard[key], redactor, _MAX_MESSAGE_LENGTH) for key in standard}
        for key, value in list(event.items())[:_MAX_FIELDS]:
            limit = _MAX_MESSAGE_LENGTH if key in _LONG_FIELDS else _MAX_FIELD_LENGTH
            shown[str(key)[:_MAX_KEY_LENGTH]] = self._scrub_value(value, redactor, limit)
        if exception is not None:
            whole = redactor.scrub(exception, 4 * _MAX_TRACEBACK_LENGTH, lines=True)
            shown["exception"] = whole[-_MAX_TRACEBACK_LENGTH:]
        return {**shown, **meta}

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


def _to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event).decode()
