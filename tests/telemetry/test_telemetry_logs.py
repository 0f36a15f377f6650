"""Structured logs: single lines, scrubbed, bounded, with the current trace."""

import io
import json
import logging
import sys
import warnings

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from streamcanary.telemetry import logs

LOGGER = logging.getLogger("streamcanary.test")


class Terminal(io.StringIO):
    """A stream that reports to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


class Unprintable:
    """A value whose ``__str__`` raises an exception."""

    def __str__(self) -> str:
        raise KeyError("hunter2-hunter2")


@pytest.fixture
def lines():
    """Configure JSON logs, and return a function that returns the decoded lines so far."""
    stream = io.StringIO()
    logs.configure("debug", secrets=lambda: ["hunter2-hunter2"], stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object(lines):
    """Time, level, message and logger come first, then the fields of the caller with their types."""
    LOGGER.info("run of %s ended", "chat-mini", extra={"canary": "chat-mini", "lag": 0.5, "attempts": 2, "fault": None})
    [line] = lines()
    assert list(line) == ["time", "level", "message", "logger", "canary", "lag", "attempts", "fault"]
    time = line.pop("time")
    assert (len(time), time[10], time[-1]) == (24, "T", "Z")
    assert line == {
        "level": "info",
        "message": "run of chat-mini ended",
        "logger": "streamcanary.test",
        "canary": "chat-mini",
        "lag": 0.5,
        "attempts": 2,
        "fault": None,
    }


def test_added_fields_do_not_replace_standard_fields(lines):
    """A field called ``level`` or ``time`` does not replace the standard field."""
    LOGGER.warning("odd", extra={"level": "debug", "time": "never", "logger": "root"})
    [line] = lines()
    assert (line["level"], line["logger"]) == ("warning", "streamcanary.test")
    assert line["time"] != "never"


def test_secrets_are_removed_everywhere(lines):
    """Secrets are removed from the message, from fields of any type, and from tracebacks."""
    try:
        int("hunter2-hunter2")
    except ValueError:
        LOGGER.exception(
            "using hunter2-hunter2", extra={"seen": {"key": "hunter2-hunter2"}, "other": "sk-abcdefghijkl"}
        )
    [line] = lines()
    text = json.dumps(line)
    assert "hunter2" not in text
    assert "sk-abc" not in text
    assert text.count("[redacted]") == 5  # the traceback shows the line that raised, too


def test_lists_and_objects_keep_their_shape(lines):
    """Lists and objects stay structured, and nested values in them become text."""
    LOGGER.info("x", extra={"ids": ["a", "b"], "pair": (1, None), "faults": {"stalled": 3}, "odd": [{"a": {"b": 1}}]})
    [line] = lines()
    assert (["a", "b"], [1, None], {"stalled": 3}) == (line["ids"], line["pair"], line["faults"])
    assert ["{'a': {'b': 1}}"] == line["odd"]


def test_lists_and_objects_are_scrubbed_through(lines):
    """Each element and each key is free of secrets, control characters and line breaks."""
    foul = "hunter2-hunter2 \x1b[31m\n\udcff"
    LOGGER.info("x", extra={"ids": [foul, (foul,)], "by": {foul: foul}})
    [line] = lines()
    clean = "[redacted]  [31m\\n?"
    assert [clean, line["ids"][1]] == line["ids"]
    assert {clean: clean} == line["by"]
    assert "hunter2" not in json.dumps(line)


def test_lists_and_objects_are_bounded(lines):
    """Long elements, a million elements, and a recursive list result in a short line."""
    endless: list[object] = []
    endless.append(endless)
    values = [["x" * 1_000_000] * 3, list(range(1_000_000)), {str(n) * 500: "x" * 60 for n in range(1000)}, endless]
    LOGGER.info("x", extra=dict(zip("abcd", values, strict=True)))
    [line] = lines()
    assert [500, "…"] == [len(line["a"][0]), *line["a"][1:]]
    assert [*range(32), "…"] == line["b"]
    assert all(len(json.dumps(line[key])) < 1200 for key in "abcd")
    assert "…" == list(line["c"])[-1]


def test_without_a_stderr_nothing_is_logged(monkeypatch):
    """A process that is started with a closed stderr can log without an error."""
    monkeypatch.setattr(sys, "stderr", None)
    logs.configure("debug")
    LOGGER.error("not written")


def test_a_line_stays_one_line(lines):
    """Line breaks and escape codes from a provider cannot forge a log line or control a terminal."""
    LOGGER.info("said: %s", 'x\n{"level":"error"}\x1b[31m', extra={"body": "a\nb"})
    [line] = lines()
    assert line["message"] == 'said: x\\n{"level":"error"} [31m'
    assert line["body"] == "a\\nb"


def test_everything_is_bounded(lines):
    """A megabyte in the message, in a field or in an exception, and a thousand fields, make a short line."""
    huge = "x" * 1_000_000
    error = ValueError(huge + " the end")
    LOGGER.error(huge, exc_info=error, extra={f"field{number}": huge for number in range(1000)})
    [line] = lines()
    assert len(line["message"]) == 2000
    assert {len(line[f"field{number}"]) for number in range(32)} == {500}
    assert "field32" not in line
    assert len(line["exception"]) == 8000
    assert line["exception"].endswith("the end")


def test_a_deep_traceback_keeps_its_end(lines):
    """The log of an endless recursion contains the innermost frames and the exception."""

    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError:
        LOGGER.exception("too deep")
    [line] = lines()
    assert "RecursionError: maximum recursion depth exceeded" in line["exception"]
    assert len(line["exception"]) <= 8000


def test_a_line_contains_the_current_span(lines):
    """Inside a span, a line has its trace id and span id, unless the caller adds a trace id."""
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        LOGGER.info("inside")
        LOGGER.info("own", extra={"trace_id": "f" * 32})
    LOGGER.info("outside")
    inside, own, outside = lines()
    assert (inside["trace_id"], inside["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert (own["trace_id"], "span_id" in own) == ("f" * 32, False)
    assert "trace_id" not in outside


@pytest.mark.parametrize("name", ["httpx2", "openai._base_client", "apscheduler.executors.default"])
def test_third_party_loggers_log_only_warnings(lines, name):
    """Third-party loggers log warnings but no requests or jobs, even at level debug."""
    logging.getLogger(name).info("HTTP Request: POST https://…")
    logging.getLogger(name).warning("retrying")
    assert [line["message"] for line in lines()] == ["retrying"]


def test_records_below_the_level_are_dropped():
    """Records below the configured level are not written."""
    stream = io.StringIO()
    logs.configure("warning", stream=stream)
    LOGGER.info("no")
    LOGGER.warning("yes")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_a_second_configuration_replaces_the_first():
    """After two calls of ``configure`` a record is written once."""
    first, second = io.StringIO(), io.StringIO()
    logs.configure(stream=first)
    logs.configure(stream=second)
    LOGGER.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_a_terminal_gets_columns():
    """On a terminal a line is rendered in columns with colours, unless ``json`` overrides it."""
    terminal, forced, pipe = Terminal(), Terminal(), io.StringIO()
    logs.configure(stream=terminal)
    LOGGER.info("hello", extra={"canary": "chat"})
    logs.configure(stream=forced, json=True)
    LOGGER.info("hello")
    logs.configure(stream=pipe, json=False)
    LOGGER.info("hello", extra={"canary": "chat"})
    assert "hello" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()
    assert json.loads(forced.getvalue())["message"] == "hello"
    assert "hello" in pipe.getvalue()
    assert "canary=chat" in pipe.getvalue()
    assert "\x1b[" not in pipe.getvalue()


def test_a_line_that_cannot_be_rendered_is_reported(lines):
    """A value that cannot be rendered loses its line, and logs neither a traceback nor the other values."""
    LOGGER.info("odd: hunter2-hunter2", extra={"body": Unprintable()})
    LOGGER.info("next")
    lost, following = lines()
    assert lost == {"level": "error", "message": "log line lost", "logger": "streamcanary.test", "error": "KeyError"}

    assert following["message"] == "next"


def test_a_closed_stream_raises_no_error():
    """A daemon whose stderr is closed continues to run."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    stream.close()
    LOGGER.info("not written")


def test_python_warnings_are_logged(lines):
    """A Python warning is logged as a JSON line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    [line] = lines()
    assert line["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in line["message"]
