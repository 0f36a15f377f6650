"""State machine of one attempt, without I/O: takes bytes and times, returns events and a deadline.

    waiting for headers ──▶ reading the event stream ──▶ finished
                    ╰─────▶ reading another body ──────▶ finished

An attempt succeeds only with an event stream, at least one event, a terminal state, and text, a refusal, a tool call or
other output (``completeness``), or with one complete JSON body. Servers forget the content type of their stream;
``unmarked_body`` says which bodies are streams all the same.

The answer ends with ``[DONE]``, a terminal event of Responses, a clean end of the body, or real silence. A
``finish_reason`` alone is not the end: servers send it on every chunk, or before the text. Content after it revokes it,
and usage after it is kept; ``attempt_clock`` says what silence and a lost connection mean in each case. Times are
measured to the last event of the answer, so that a server that keeps the connection open does not look slow.

After the end nothing changes the result. Before it, an error that the server sends is always the result, also after a
``finish_reason``: in an event, or in a field of its own (``error: {…}``, ``sse``). What else a stream contains, such as
``{"message": "Internal server error"}`` or text, decides only if the stream ends without an answer.
"""

from typing import Literal

import msgspec

from streamcanary.client.core.answers.answer import AnswerTooLong
from streamcanary.client.core.answers.chat import ChatReader
from streamcanary.client.core.answers.completeness import (
    DEFAULT_TOKEN_LIMITS,
    Incompleteness,
    TokenLimit,
    fault_of_finish_reason,
    incompleteness_of,
)
from streamcanary.client.core.answers.finish_reasons import (
    FinishMeaning,
    explains_empty_answer,
    meaning_of,
)
from streamcanary.client.core.answers.reader import AnswerReader
from streamcanary.client.core.answers.responses import ResponsesReader
from streamcanary.client.core.attempt_clock import AttemptClock, FinishState
from streamcanary.client.core.connection_trace import ConnectionTrace
from streamcanary.client.core.decoding.lenient_json import ErrorReported
from streamcanary.client.core.decoding.sse import ServerSentEvent, SseDecoder, SseLimitExceeded
from streamcanary.client.core.decoding.unmarked_body import UnmarkedBody, media_type_of
from streamcanary.client.core.fault_classification import (
    excerpt_of,
    fault_from_error_body,
    fault_from_status,
    find_error,
    find_error_in_event,
)
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.measurement.output_speed import measure_output_speed
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.core.response_headers.rate_limits import rate_limits_of, rate_limits_of_error
from streamcanary.client.core.response_headers.retirement import retirement_of
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import Delta
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import OutputSpeed, Retirement
from streamcanary.model.rate_limit import RateLimits
from streamcanary.model.redaction.redactor import Redactor, redactor_for

Api = Literal["chat", "responses"]
_STATUSES_WITHOUT_BODY = frozenset({204, 205})
_WITHOUT_ANSWER = frozenset({FaultKind.NOT_A_STREAM, FaultKind.STREAM_TRUNCATED, FaultKind.EMPTY_ANSWER})
_READERS: dict[Api, type[ChatReader] | type[ResponsesReader]] = {"chat": ChatReader, "responses": ResponsesReader}


class AttemptMachine:
    """The state of one request. Times are monotonic seconds.

    ``is_finished``: no more input is accepted; then ``fault`` is ``None`` if the answer is complete. ``clock`` has the
    measured times, ``trace`` those of the connection. ``non_streaming``: no stream was requested, so nothing arrives
    before the answer is complete, and the timeouts ``headers``, ``first_token`` and ``stall`` do not apply.
    ``lenient``: ``[DONE]`` is a terminal state. ``token_limit`` is that of the request. Everything that leaves the
    machine except for the answer itself is redacted with ``secrets``: its metadata in the :class:`Answer`, faults in
    :meth:`fail`. ``public`` are names that are no secrets, such as the host and the model.
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
        public: tuple[str, ...] = (),
        limits: Limits = DEFAULT_LIMITS,
        token_limit: TokenLimit | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._reader: AnswerReader = _READERS[api](limits)
        self._lenient = lenient
        self._secrets = secrets
        self._public = public
        self._limits = limits
        self._max_events = limits.max_events
        self._token_limit = token_limit or DEFAULT_TOKEN_LIMITS[api]
        self._sse = SseDecoder(limits)
        self._body: UnmarkedBody | None = None  # None for an event stream
        self._events = 0
        self._finish_reason: str | None = None  # the one that was handled last
        self._first_size = 0  # characters that arrived with the first token
        self.clock = AttemptClock(timeouts, started, has_timeouts=not non_streaming)
        self.trace = ConnectionTrace(started)
        self.answer = self._reader.answer
        self.answer.redactor = redactor_for(secrets, public)
        self.phase = Phase.HEADERS
        self.fault: Fault | None = None
        self.is_finished = False
        self.head: ResponseHead | None = None
        self._wall_time = 0.0  # when the headers were received, seconds since the epoch
        self.rate_limits: RateLimits | None = None
        self.retirement: Retirement | None = None

    @property
    def was_streamed(self) -> bool:
        """Whether the answer came as an event stream; a server can ignore ``stream=True``."""
        return self._body is None

    @property
    def request_id(self) -> str | None:
        """The provider's id of this request, if any; that of an error response is in the fault."""
        if self.head is None:
            return self.fault.request_id if self.fault else None
        return self.redactor.scrub(self.head.headers.get("x-request-id", ""), 128) or None

    @property
    def output_speed(self) -> OutputSpeed | None:
        """The speed of a complete answer after its first token; ``None`` if it cannot be measured."""
        if self.fault is not None or not self.clock.streaming_time:
            return None
        return measure_output_speed(
            self.answer,
            first_characters=self._first_size,
            deltas=self.clock.gaps.count + 1,
            seconds=self.clock.streaming_time,
        )

    @property
    def redactor(self) -> Redactor:
        """The redactor of the secrets of this request."""
        return self.answer.redactor

    @property
    def deadline(self) -> float:
        """When the current timeout expires."""
        return self.clock.deadline

    @property
    def current_timeout(self) -> float:
        """The timeout that ends at :attr:`deadline`, in seconds."""
        timeouts = self._timeouts
        if self.phase is Phase.HEADERS:
            return timeouts.headers
        return timeouts.first_token if self.clock.awaits_first_token else timeouts.stall

    def add_secrets(self, secrets: tuple[str, ...]) -> None:
        """Remove further ``secrets`` from every message."""
        self._secrets += secrets
        self.answer.redactor = redactor_for(self._secrets, self._public)

    def headers_received(self, head: ResponseHead, *, wall_time: float) -> None:
        """Handle status and headers; a ``Retry-After`` date is relative to ``wall_time``."""
        self.head = head
        self._wall_time = wall_time
        self.rate_limits, self.retirement = rate_limits_of(head.headers, wall_time), retirement_of(head.headers)
        content_type = media_type_of(head.headers.get("content-type", ""))
        self.phase = Phase.STREAM
        self.clock.stream_started()
        if head.status >= 300:
            error = head.error_body
            self.rate_limits = rate_limits_of_error(error, wall_time) or self.rate_limits
            self.fail(fault_from_status(head.status, head.headers, error, now=wall_time, secrets=self.redactor))
        elif head.refusal:
            self._fail_not_a_stream(head.refusal)
        elif head.status in _STATUSES_WITHOUT_BODY:
            self._fail_not_a_stream(f"the server answered with status {head.status}, which has no body")
        elif content_type != "text/event-stream":
            self._body = UnmarkedBody(head.status, content_type, self._sse, self._limits)

    def feed(self, data: bytes, now: float) -> list[Delta]:
        """Handle bytes of the body, and return the deltas that they add to the answer."""
        if self.is_finished:
            return []
        deltas: list[Delta] = []
        limit_exceeded: SseLimitExceeded | None = None
        try:
            events = self._sse.feed(data) if self._body is None else self._feed_body(self._body, data, now, deltas)
        except SseLimitExceeded as error:
            events, limit_exceeded = error.events, error
        self._handle_events(events, now, deltas)
        if limit_exceeded is not None:
            self.fail_unless_complete(make_fault(FaultKind.ANSWER_TOO_LONG, self.phase, str(limit_exceeded)))
        return deltas

    def feed_eof(self, now: float) -> list[Delta]:
        """Handle the clean end of the body, and return the deltas that it adds to the answer."""
        if self.is_finished:
            return []
        if self._body is not None:
            return self._end_body(self._body, now)
        deltas: list[Delta] = []
        self._handle_events(self._sse.feed_eof(), now, deltas)
        self._check_complete()
        return deltas

    def fail_unless_complete(self, fault: Fault) -> None:
        """End the attempt with ``fault``, unless the answer is complete although its end has not arrived."""
        state = self.clock.finish_state
        is_silent = fault.kind is FaultKind.TOTAL_TIMEOUT and state is FinishState.TENTATIVE
        if state is FinishState.FINAL or is_silent:
            self._check_complete()
        elif fault.kind is FaultKind.STREAM_CUT and self._body is not None and self._body.is_page:
            self._end_body(self._body, self.deadline)
        elif fault.kind is FaultKind.STREAM_CUT and (reported := self._unmarked_error()) is not None:
            self.fail(reported)
        else:
            self.fail(fault)

    def deadline_exceeded(self) -> None:
        """Handle that :attr:`deadline` has passed."""
        timeouts = self._timeouts
        early = f"; finish_reason {self._finish_reason} came before any output" if self._finish_reason else ""
        if self.clock.finish_state is not FinishState.NONE:
            self._check_complete()
        elif self._body is not None and self._body.is_page:
            self._end_body(self._body, self.deadline)
        elif self.phase is Phase.HEADERS:
            self._fail_with(FaultKind.HEADERS_TIMEOUT, f"no answer within {timeouts.headers:g} s")
        elif self.clock.first_token is None:
            self._fail_with(FaultKind.FIRST_TOKEN_TIMEOUT, f"no first token within {timeouts.first_token:g} s{early}")
        else:
            self._fail_with(FaultKind.STALLED, f"no further token within {timeouts.stall:g} s{early}")

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
            self.fault, self.is_finished = self.redactor.redact(fault), True

    def _handle_events(self, events: list[ServerSentEvent], now: float, deltas: list[Delta]) -> None:
        event: ServerSentEvent | None = None
        try:
            for event in events:
                if self.is_finished:
                    return
                self._handle_event(event, now, deltas)
        except ErrorReported as reported:
            self._fail_reported(reported.error, Phase.STREAM)
        except msgspec.DecodeError as error:
            self._fail_malformed(event, error)
        except AnswerTooLong as error:
            self._fail_with(FaultKind.ANSWER_TOO_LONG, str(error))

    def _handle_event(self, event: ServerSentEvent, now: float, deltas: list[Delta]) -> None:
        reader, answer, clock = self._reader, self.answer, self.clock
        self._events += 1
        if self._events > self._max_events:
            message = self._limits.excess("max_events", "the stream")
            self.fail_unless_complete(make_fault(FaultKind.ANSWER_TOO_LONG, self.phase, message))
            return
        usage = answer.usage
        new_deltas = reader.read_event(event)
        if new_deltas:
            clock.token_received(now)
            if not clock.streaming_time:
                self._first_size = answer.size
            deltas.extend(new_deltas)
        elif reader.progressed:
            clock.progress_seen(now)
        if reader.is_done:
            clock.answer_end = now
            self._check_complete()
        elif answer.finish_reason is not None:
            self._handle_finish(answer.finish_reason, now, with_content=bool(new_deltas) or reader.progressed)
        if answer.usage is not usage:
            clock.answer_end = now

    def _handle_finish(self, reason: str, now: float, *, with_content: bool) -> None:
        """Handle an event of an answer that has a finish reason, from this event or an earlier one."""
        if reason != self._finish_reason:
            if meaning_of(reason) is FinishMeaning.UNFINISHED:
                self.answer.finish_reason = self._finish_reason
                return
            self._finish_reason = reason
            if (fault := fault_of_finish_reason(reason)) is not None:
                self._fail_because(fault)
                return
        is_early = not self.answer.has_output and not explains_empty_answer(reason)
        self.clock.finish_seen(now, with_content=with_content, is_early=is_early)

    def _check_complete(self) -> None:
        """End the attempt: check that the answer is complete."""
        if self.is_finished:
            return
        self.phase = Phase.END
        why = incompleteness_of(
            self.answer,
            token_limit=self._token_limit,
            accepts_missing_reason=self._lenient and self._reader.is_done,
            is_event_stream=not self._sse.foreign_lines,
        )
        if why is None:
            self.is_finished = True
        elif why.kind in _WITHOUT_ANSWER and (reported := self._unmarked_error()) is not None:
            self.fail(reported)
        elif self.answer.chunks == 0 and (
            excerpt := excerpt_of(bytes(self._sse.foreign_lines) or self._last_ignored())
        ):
            message = why.message if self._sse.foreign_lines else "the event stream ended without an answer"
            self._fail_because(why._replace(message=f"{message}; it says: {excerpt}"))
        else:
            self._fail_because(why)

    def _last_ignored(self) -> bytes:
        return self._reader.ignored[-1] if self._reader.ignored else b""

    def _unmarked_error(self) -> Fault | None:
        """Return the fault of an error in what the stream contains besides its answer, if there is one."""
        body = b"" if self._body is None else self._body.content
        for data in (body, bytes(self._sse.foreign_lines), *reversed(self._reader.ignored)):
            if data and (error := find_error(data)) is not None:
                return fault_from_error_body(error, Phase.STREAM, secrets=self.redactor)
        return None

    def _feed_body(self, body: UnmarkedBody, data: bytes, now: float, deltas: list[Delta]) -> list[ServerSentEvent]:
        """Add to a body that is not an event stream by its type; return its events if it is one all the same."""
        events = body.feed(data)
        if body.is_event_stream:
            self._body = None
        elif body.is_full and body.is_json:
            self._fail_with(FaultKind.ANSWER_TOO_LONG, self._limits.excess("max_event_bytes", "the answer"))
        elif body.is_full or body.is_markup:
            deltas += self._end_body(body, now)
        return events

    def _end_body(self, body: UnmarkedBody, now: float) -> list[Delta]:
        """Handle a whole body that is not an event stream: an error, a complete answer, or something else."""
        self.phase = Phase.END if body.is_json else Phase.STREAM
        data, is_json = body.content, True
        try:
            deltas = self._reader.read_body(data)
        except ErrorReported as reported:
            self._fail_reported(reported.error, Phase.HEADERS)
            return []
        except msgspec.DecodeError:
            deltas, is_json = None, False
        except AnswerTooLong as error:
            self._fail_with(FaultKind.ANSWER_TOO_LONG, str(error))
            return []
        if deltas is not None:
            self.clock.body_received(now, with_content=bool(deltas))
            self._check_complete()
            return deltas if self.fault is None else []
        if (error_found := find_error(data)) is not None:
            self._fail_reported(error_found, Phase.HEADERS)
        else:
            excerpt = excerpt_of(data)
            self._fail_not_a_stream(body.describe(is_json=is_json) + (excerpt and f": {excerpt}"))
        return []

    def _fail_malformed(self, event: ServerSentEvent | None, error: msgspec.DecodeError) -> None:
        """End the attempt because the data of ``event`` is not JSON: it is an error in words, or malformed."""
        data = b"" if event is None else event.data
        if event is not None and (reported := find_error_in_event(event.event, data)) is not None:
            self._fail_reported(reported, Phase.STREAM)
            return
        message = self.redactor.scrub(f"the event stream is malformed: {error}: {excerpt_of(data)}".rstrip(": "))
        self.fail_unless_complete(make_fault(FaultKind.STREAM_MALFORMED, self.phase, message))

    def _fail_reported(self, error: object, phase: Phase) -> None:
        self.rate_limits = rate_limits_of_error(error, self._wall_time) or self.rate_limits
        self.fail(fault_from_error_body(error, phase, secrets=self.redactor))

    def _fail_not_a_stream(self, message: str) -> None:
        self._fail_with(FaultKind.NOT_A_STREAM, self.redactor.scrub(message))

    def _fail_because(self, why: Incompleteness) -> None:
        self.fail(make_fault(why.kind, why.phase, self.redactor.scrub(why.message)))

    def _fail_with(self, kind: FaultKind, message: str) -> None:
        self.fail(make_fault(kind, self.phase, message))
