"""State machine of one attempt, without I/O: takes bytes and times, returns events and a deadline.

    waiting for headers ──▶ reading the event stream ──▶ finished
                    ╰─────▶ reading one JSON body ─────▶ finished

An attempt succeeds only with an event-stream content type, at least one event, a terminal state, and text, a refusal or
a tool call. ``[DONE]`` is not required. After a terminal state nothing changes the result, except an error that the
server sends.
"""

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from streamcanary.client.core.answer import Answer, AnswerTooLong
from streamcanary.client.core.chat import ChatReader
from streamcanary.client.core.fault_classification import fault_from_error_body, fault_from_status
from streamcanary.client.core.lenient_json import ErrorReported
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.responses import ResponsesReader
from streamcanary.client.core.sse import ServerSentEvent, SseDecoder, SseLimitExceeded
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import Delta
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.redaction.redactor import scrub

_CLOSE_GRACE = 1.0  # seconds to wait for the end of the stream after the answer is complete


class ResponseHead(Struct, frozen=True):
    """Status and headers of an HTTP response; ``url`` is the redacted URL that answered.

    ``error_body`` is the body of an error response: the value of its JSON, or text. ``refusal`` says why the body of
    another response is not read.
    """

    status: int
    headers: Mapping[str, str]
    url: str = ""
    error_body: object = None
    refusal: str = ""


class AnswerReader(Protocol):
    """Reads the answers of one API: :class:`ChatReader` or :class:`ResponsesReader`."""

    answer: Answer
    is_done: bool
    progressed: bool
    """Whether the last event shows work of the provider without a token: a built-in tool's, an image's, audio."""

    def read_event(self, event: ServerSentEvent) -> list[Delta]:
        """Return the deltas that an event adds to the answer."""
        ...

    def read_body(self, body: bytes) -> list[Delta] | None:
        """Return the deltas of a complete JSON body, or ``None`` if it is no answer."""
        ...


def _media_type(content_type: str) -> str:
    """Return the media type without parameters; every JSON type, such as ``application/problem+json``, is one."""
    media_type = content_type.partition(";")[0].strip().lower()
    return "application/json" if media_type.endswith(("/json", "+json")) else media_type


Api = Literal["chat", "responses"]
_READERS: dict[Api, type[ChatReader] | type[ResponsesReader]] = {"chat": ChatReader, "responses": ResponsesReader}


class AttemptMachine:
    """The state of one request. Times are monotonic seconds.

    ``is_finished``: no more input is accepted; then ``fault`` is ``None`` if the answer is complete. ``first_token`` is
    the time of the first content, reasoning or tool call, ``max_gap`` the longest time between two of these.
    ``non_streaming``: no stream was requested, so nothing arrives before the answer is complete, and the timeouts
    ``headers``, ``first_token`` and ``stall`` do not apply.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        started: float,
        api: Api = "chat",
        non_streaming: bool = False,
        lenient: bool = False,
        secrets: tuple[str, ...] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._timeouts = timeouts
        self._non_streaming = non_streaming
        self._reader: AnswerReader = _READERS[api](limits)
        self._lenient = lenient
        self._secrets = secrets
        self._limits = limits
        self._sse = SseDecoder(max_line=limits.max_line_bytes, max_event=limits.max_event_bytes)
        self._body: list[bytes] | None = None  # the pieces of a JSON body; None for an event stream
        self._body_size = 0
        self._idle_since = started  # the start of the current timeout
        self._complete_at: float | None = None
        self._events = 0
        self.started = started
        self.answer = self._reader.answer
        self.phase = Phase.HEADERS
        self.fault: Fault | None = None
        self.is_finished = False
        self.head: ResponseHead | None = None
        self.first_token: float | None = None
        self.max_gap: float | None = None
        self.token_gaps: list[float] | None = None  # filled unless None

    @property
    def was_streamed(self) -> bool:
        """Whether the answer came as an event stream; a server can ignore ``stream=True``."""
        return self._body is None

    @property
    def request_id(self) -> str | None:
        """The provider's id of this request, if any; that of an error response is in the fault."""
        if self.head is None:
            return self.fault.request_id if self.fault else None
        return scrub(self.head.headers.get("x-request-id", ""), self._secrets, 128) or None

    @property
    def deadline(self) -> float:
        """When the current timeout expires."""
        if self._non_streaming:
            return math.inf
        if self.phase is Phase.HEADERS:
            return self.started + self._timeouts.headers
        if self._complete_at is not None:
            return self._complete_at + min(_CLOSE_GRACE, self._timeouts.stall)
        if self.first_token is None:
            return self._idle_since + self._timeouts.first_token
        return self._idle_since + self._timeouts.stall

    def add_secrets(self, secrets: tuple[str, ...]) -> None:
        """Remove further ``secrets`` from every message."""
        self._secrets += secrets

    def exclude_pause(self, seconds: float) -> None:
        """Extend the current timeout by the ``seconds`` that the caller took between two reads."""
        if self.first_token is not None:
            self._idle_since += seconds

    def headers_received(self, head: ResponseHead, *, wall_time: float) -> None:
        """Handle status and headers; a ``Retry-After`` date is relative to ``wall_time``."""
        self.head = head
        content_type = _media_type(head.headers.get("content-type", ""))
        self.phase = Phase.STREAM
        if head.status >= 300:
            error = head.error_body
            self.fail(fault_from_status(head.status, head.headers, error, now=wall_time, secrets=self._secrets))
        elif head.refusal:
            self._fail_not_a_stream(scrub(head.refusal, self._secrets))
        elif content_type == "application/json" and head.status == 200:
            self._body = []
        elif content_type != "text/event-stream" or head.status != 200:
            printable_type = scrub(content_type, self._secrets, 100) or "no content type"
            self._fail_not_a_stream(
                f"the server answered with status {head.status} and {printable_type}, not an event stream"
            )

    def feed(self, data: bytes, now: float) -> list[Delta]:
        """Handle bytes of the body, and return the deltas that they add to the answer."""
        if self.is_finished:
            return []
        if self._body is not None:
            self._body.append(data)
            self._body_size += len(data)
            if self._body_size > self._limits.max_event_bytes:
                self._fail_with(
                    FaultKind.ANSWER_TOO_LONG, f"the answer is larger than {self._limits.max_event_bytes} bytes"
                )
            return []
        deltas: list[Delta] = []
        sse_error: SseLimitExceeded | None = None
        try:
            events = self._sse.feed(data)
        except SseLimitExceeded as error:
            events, sse_error = error.events, error
        try:
            for event in events:
                self._handle_event(event, now, deltas)
            if sse_error is not None:
                raise sse_error
        except (SseLimitExceeded, msgspec.DecodeError) as error:
            self.fail_unless_complete(
                make_fault(FaultKind.STREAM_MALFORMED, self.phase, f"the event stream is malformed: {error}")
            )
        except AnswerTooLong as error:
            self._fail_with(FaultKind.ANSWER_TOO_LONG, str(error))
        return deltas

    def feed_eof(self, now: float) -> list[Delta]:
        """Handle the clean end of the body, and return the deltas that it adds to the answer."""
        if self.is_finished:
            return []
        self.phase = Phase.END
        if self._body is not None:
            return self._parse_body(now)
        self._check_complete()
        return []

    def fail_unless_complete(self, fault: Fault) -> None:
        """End the attempt with ``fault``, unless the answer is already complete."""
        if self._complete_at is not None:
            self._check_complete()
        else:
            self.fail(fault)

    def deadline_exceeded(self) -> None:
        """Handle that :attr:`deadline` has passed."""
        timeouts = self._timeouts
        if self._complete_at is not None:
            self._check_complete()
        elif self.phase is Phase.HEADERS:
            self._fail_with(FaultKind.HEADERS_TIMEOUT, f"no answer within {timeouts.headers:g} s")
        elif self.first_token is None:
            self._fail_with(FaultKind.FIRST_TOKEN_TIMEOUT, f"no first token within {timeouts.first_token:g} s")
        else:
            self._fail_with(FaultKind.STALLED, f"no further token within {timeouts.stall:g} s")

    def cancelled(self) -> None:
        """End the attempt because the caller cancelled the call."""
        self.fail(make_fault(FaultKind.CANCELLED, self.phase, "the caller cancelled the call"))

    def fail(self, fault: Fault) -> None:
        """End the attempt with ``fault``, and add status and request id of the response. The first fault is kept."""
        if not self.is_finished:
            if self.head is not None:
                fault = msgspec.structs.replace(
                    fault,
                    status=self.head.status if fault.status is None else fault.status,
                    request_id=fault.request_id or self.request_id,
                )
            self.fault, self.is_finished = fault, True

    def _handle_event(self, event: ServerSentEvent, now: float, deltas: list[Delta]) -> None:
        if self.is_finished:
            return
        self._events += 1
        if self._events > self._limits.max_events:
            raise AnswerTooLong(f"the stream has more than {self._limits.max_events} events")
        try:
            new_deltas = self._reader.read_event(event)
        except ErrorReported as reported:
            self.fail(fault_from_error_body(reported.error, Phase.STREAM, secrets=self._secrets))
            return
        if new_deltas:
            if self.first_token is None:
                self.first_token = now
            else:
                self.max_gap = max(self.max_gap or 0.0, now - self._idle_since)
                if self.token_gaps is not None:
                    self.token_gaps.append(now - self._idle_since)
            self._idle_since = now
            deltas.extend(new_deltas)
        if self._reader.is_done:
            self._check_complete()
        elif self._complete_at is None and self.answer.finish_reason is not None:
            self._complete_at = now

    def _check_complete(self) -> None:
        """End the attempt: check that the answer is complete. With ``lenient``, ``[DONE]`` is a terminal state."""
        answer = self.answer
        if self.is_finished:
            return
        self.phase = Phase.END
        if answer.chunks == 0:
            self._fail_not_a_stream("the event stream has no events")
        elif answer.finish_reason is None and not (self._lenient and self._reader.is_done):
            self._fail_with(
                FaultKind.STREAM_TRUNCATED, "the stream ended without a finish_reason: the answer may be cut short"
            )
        elif answer.has_output:
            self.is_finished = True
        elif answer.finish_reason == "content_filter":
            self._fail_with(FaultKind.CONTENT_POLICY, "the provider's content filter removed the whole answer")
        elif answer.finish_reason == "length":
            used_for = "on reasoning" if answer.reasoning else "without an answer"
            self._fail_with(
                FaultKind.TOKEN_LIMIT_REACHED, f"the model used its whole token limit {used_for}; raise the limit"
            )
        else:
            self._fail_with(
                FaultKind.EMPTY_ANSWER,
                f"the answer has no text, refusal or tool call (finish_reason {scrub(answer.finish_reason or 'null')})",
            )

    def _parse_body(self, now: float) -> list[Delta]:
        """Parse a JSON body: an error, a complete answer, or something else."""
        try:
            deltas = self._reader.read_body(b"".join(self._body or ()))
        except ErrorReported as reported:
            self.fail(fault_from_error_body(reported.error, Phase.HEADERS, secrets=self._secrets))
            return []
        except msgspec.DecodeError:
            self._fail_not_a_stream("the server answered with content type application/json, but the body is not JSON")
            return []
        except AnswerTooLong as error:
            self._fail_with(FaultKind.ANSWER_TOO_LONG, str(error))
            return []
        if deltas is None:
            self._fail_not_a_stream("the server answered with JSON that is neither an answer nor an error")
            return []
        self.first_token = now if deltas else None
        self._check_complete()
        return deltas if self.fault is None else []

    def _fail_not_a_stream(self, message: str) -> None:
        self._fail_with(FaultKind.NOT_A_STREAM, message)

    def _fail_with(self, kind: FaultKind, message: str) -> None:
        self.fail(make_fault(kind, self.phase, message))
