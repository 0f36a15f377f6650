"""Structured logs on stderr: JSON for machines, columns for a terminal.

Rooms log through the standard library: ``logging.getLogger(__name__).info("…", extra={"canary": name})``. Every line,
whoever wrote it, is scrubbed of secrets and bounded here, at the one place that all of them pass.
"""

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

import msgspec
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor

from streamcanary.model.config_types.secret import scrub

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
"""Loggers of other people's code that tell of each request and job; only their warnings are kept, at any level.

Below that, ``openai`` would also log whole requests, prompts and headers included.
"""

_MAX_MESSAGE_LENGTH = 2000  # characters
_MAX_FIELD_LENGTH = 500
_MAX_KEY_LENGTH = 100
_MAX_TRACEBACK_LENGTH = 8000
_MAX_FIELDS = 32
_MAX_ELEMENTS = 32  # of a list or an object in a field
_STANDARD_FIELDS = ("time", "level", "message", "logger", "exception", "trace_id", "span_id")


def configure(
    level: Level = "info",
    *,
    json: bool | None = None,
    secrets: SecretsProvider | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send the logs of the whole process to ``stream`` (stderr), from ``level`` up.

    ``json`` chooses one JSON object a line; by default, unless the stream is a terminal. ``secrets`` returns what must
    never be shown; it is asked for every line, so that a secret that was read again is known. A second call replaces
    what the first one set up.
    """
    stream = stream or sys.stderr or cast("TextIO", _NullStream())  # there is none if file 2 is closed
    handler = _StderrHandler(stream)
    terminal = stream.isatty()
    renderer = _json_renderer() if (json if json is not None else not terminal) else _console_renderer(colors=terminal)
    handler.setFormatter(_formatter(renderer, secrets or tuple))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


class _NullStream(io.TextIOBase):
    def write(self, text: str, /) -> int:
        return len(text)


class _StderrHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say that a line was lost, where logging would print a traceback with the line's arguments in it."""
        error = sys.exc_info()[1]
        line = {"level": "error", "message": f"a line of {record.name} is lost", "why": type(error).__name__}
        with suppress(OSError, ValueError):  # stderr is closed: there is nowhere left to say it
            self.stream.write(_to_json(line) + "\n")


def _json_renderer() -> Processor:
    return structlog.processors.JSONRenderer(serializer=_to_json)


def _console_renderer(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(event_key="message", timestamp_key="time", sort_keys=False, colors=colors)


def _formatter(renderer: Processor, secrets: SecretsProvider) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.EventRenamer("message"),
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _add_time,
            _add_trace,
            _add_traceback,
            _ScrubAndTruncate(secrets),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _add_time(logger: object, method: str, event: EventDict) -> EventDict:
    """Stamp the line with the time at which it was logged, UTC (RFC 3339)."""
    created = datetime.fromtimestamp(event["_record"].created, UTC)
    event["time"] = created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _add_trace(logger: object, method: str, event: EventDict) -> EventDict:
    """Name the current span, unless the line names one itself."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid and "trace_id" not in event:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _add_traceback(logger: object, method: str, event: EventDict) -> EventDict:
    """Turn an exception into text. Of a long one the end is kept: it says what was raised."""
    info = event.pop("exc_info", None)
    if info and info[1] is not None:
        text = "".join(traceback.format_exception(info[1], limit=-20))
        event["exception"] = text[-4 * _MAX_TRACEBACK_LENGTH :]
    if stack := event.pop("stack_info", None):
        event["stack"] = stack
    return event


class _ScrubAndTruncate:
    """Scrubs and shortens every field, and drops the fields beyond the thirty-second."""

    def __init__(self, secrets: SecretsProvider) -> None:
        self._secrets = secrets

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        secrets = tuple(self._secrets())
        meta = {key: event.pop(key) for key in ("_record", "_from_structlog")}
        standard = {key: event.pop(key) for key in _STANDARD_FIELDS if key in event}
        exception = standard.pop("exception", None)
        shown: EventDict = {key: self._scrub_value(standard[key], secrets, _MAX_MESSAGE_LENGTH) for key in standard}
        for key, value in list(event.items())[:_MAX_FIELDS]:
            shown[str(key)[:_MAX_KEY_LENGTH]] = self._scrub_value(value, secrets, _MAX_FIELD_LENGTH)
        if exception is not None:
            whole = scrub(exception, secrets, limit=4 * _MAX_TRACEBACK_LENGTH, lines=True)
            shown["exception"] = whole[-_MAX_TRACEBACK_LENGTH:]
        return {**shown, **meta}

    @classmethod
    def _scrub_value(cls, value: Any, secrets: tuple[str, ...], limit: int) -> Any:
        """Return ``value`` as it may be shown: a list or an object keeps its shape, what is in it becomes plain."""
        if isinstance(value, dict):
            return dict(cls._scrub_items(value.items(), secrets, limit))
        if isinstance(value, (list, tuple)):
            return [shown for _, shown in cls._scrub_items(enumerate(value), secrets, limit)]
        return cls._scrub_scalar(value, secrets, limit)

    @classmethod
    def _scrub_items(
        cls, pairs: Iterable[tuple[Any, Any]], secrets: tuple[str, ...], limit: int
    ) -> Iterator[tuple[str, Any]]:
        """Show keys and values until ``limit`` characters are used up; an ellipsis stands for the rest."""
        for number, (key, value) in enumerate(pairs):
            if limit <= 0 or number == _MAX_ELEMENTS:
                yield "…", "…"
                return
            name, shown = (
                cls._scrub_scalar(str(key), secrets, _MAX_KEY_LENGTH),
                cls._scrub_scalar(value, secrets, limit),
            )
            limit -= len(name) + len(str(shown))
            yield name, shown

    @staticmethod
    def _scrub_scalar(value: Any, secrets: tuple[str, ...], limit: int) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        text = value if isinstance(value, str) else str(value)
        return scrub(text, secrets, limit, lines=True).replace("\n", "\\n")  # one line stays one line


def _to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event).decode()
