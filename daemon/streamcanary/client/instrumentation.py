"""Spans and metrics of calls and attempts. Uses the OpenTelemetry API only, never its SDK.

Without an SDK the instruments are no-ops. No span becomes the current one, because the caller's code runs between two
reads of a stream. Span times are one wall time plus monotonic differences, so a clock step does not distort them.
https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import httpx2
from opentelemetry import metrics, trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from streamcanary import __version__
from streamcanary.client.result import StreamFailed, StreamResult
from streamcanary.model import names
from streamcanary.model.faults import Fault, FaultKind
from streamcanary.model.outcome import Attempt

if TYPE_CHECKING:
    from streamcanary.client.core.attempt import AttemptMachine, ResponseHead

Labels = Mapping[str, str]


def host_and_port(url: httpx2.URL) -> tuple[str, int]:
    """Return the host and the port of ``url``; without a port, the default of its scheme."""
    return url.host, url.port or (443 if url.scheme == "https" else 80)


class Instruments:
    """The tracer and the metric instruments of a client, shared by its calls.

    ``time_per_chunk`` adds the histogram that is recorded at every chunk.
    """

    def __init__(self, *, time_per_chunk: bool = False) -> None:
        self.tracer = trace.get_tracer(names.INSTRUMENTATION_SCOPE, __version__)
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)

        def histogram(metric: names.Metric) -> metrics.Histogram:
            return meter.create_histogram(
                metric.name,
                metric.unit,
                metric.description,
                explicit_bucket_boundaries_advisory=metric.buckets,
            )

        self.operation_duration = histogram(names.OPERATION_DURATION)
        self.time_to_first_chunk = histogram(names.TIME_TO_FIRST_CHUNK)
        self.time_per_output_chunk = histogram(names.TIME_PER_OUTPUT_CHUNK) if time_per_chunk else None
        self.token_usage = histogram(names.TOKEN_USAGE)
        self.attempt_duration = histogram(names.ATTEMPT_DURATION)
        self.max_gap = histogram(names.MAX_GAP)
        self.retry_delay = histogram(names.RETRY_DELAY)
        self.first_token = histogram(names.FIRST_TOKEN_TIME)
        self.attempts = meter.create_counter(names.ATTEMPTS.name, names.ATTEMPTS.unit, names.ATTEMPTS.description)
        self.streams_active = meter.create_up_down_counter(
            names.STREAMS_ACTIVE.name, names.STREAMS_ACTIVE.unit, names.STREAMS_ACTIVE.description
        )


class CallRecorder:
    """Records the spans and metrics of one call.

    ``labels`` (``canary``, ``target``, ``provider``) are attributes of every metric. ``request_attributes`` are the
    attributes that a GenAI client span has from its start. ``url`` is the address of the primary route.
    """

    def __init__(
        self,
        instruments: Instruments,
        *,
        model: str,
        labels: Labels,
        request_attributes: dict[str, AttributeValue],
        url: str,
    ) -> None:
        self._instruments = instruments
        self._labels = labels
        self._request_attributes = request_attributes
        self._url = url
        self._span_name = f"chat {model}"
        self._parent_context: Context = get_current()
        self._attempt_context: Context = self._parent_context
        self._call_span: Span = trace.INVALID_SPAN
        self._attempt_span: Span = trace.INVALID_SPAN
        # Set on the span together at its end, because setting a single one takes a lock.
        self._attempt_attributes: dict[str, AttributeValue] = {}
        self._wall_offset = 0.0
        self._metric_attributes: dict[str, AttributeValue] = {
            **labels,
            **{key: value for key, value in request_attributes.items() if key in _METRIC_ATTRIBUTES},
        }

    def _to_nanoseconds(self, now: float) -> int:
        """Return the span time (nanoseconds since the epoch) of ``now`` (monotonic seconds)."""
        return int((self._wall_offset + now) * 1e9)

    def call_started(self, now: float, wall_time: float) -> None:
        """Start the span of the logical call."""
        self._wall_offset = wall_time - now
        self._call_span = self._instruments.tracer.start_span(
            self._span_name,
            self._parent_context,
            SpanKind.CLIENT,
            self._request_attributes,
            start_time=self._to_nanoseconds(now),
        )
        self._attempt_context = trace.set_span_in_context(self._call_span, self._parent_context)
        self._instruments.streams_active.add(1, context=_NO_SPAN_CONTEXT)

    def attempt_started(self, number: int, route: str, delay: float, now: float) -> None:
        """Start the span of one attempt."""
        attributes: dict[str, AttributeValue] = {
            names.HTTP_METHOD: "POST",
            names.URL_FULL: self._url,
            names.ATTEMPT_ROUTE: route,
            names.SERVER_ADDRESS: self._request_attributes.get(names.SERVER_ADDRESS, ""),
            names.SERVER_PORT: self._request_attributes.get(names.SERVER_PORT, 0),
        }
        if number > 1:
            attributes[names.HTTP_RESEND_COUNT] = number - 1
            attributes[names.ATTEMPT_DELAY] = delay
            self._instruments.retry_delay.record(
                delay, {**self._labels, names.ROUTE: route}, context=self._attempt_context
            )
        self._attempt_attributes = {}
        self._attempt_span = self._instruments.tracer.start_span(
            names.ATTEMPT_SPAN, self._attempt_context, SpanKind.CLIENT, attributes, start_time=self._to_nanoseconds(now)
        )

    def headers_received(self, head: "ResponseHead") -> None:
        """Record the HTTP status, and the address that answered."""
        self._attempt_attributes[names.HTTP_STATUS] = head.status
        self.set_server(head.url)

    def set_server(self, url: str) -> None:
        """Record the address of this attempt's request, if it differs from that of the primary route."""
        if url and url != self._url:
            self._attempt_attributes[names.URL_FULL] = url
            self._attempt_attributes[names.SERVER_ADDRESS], self._attempt_attributes[names.SERVER_PORT] = host_and_port(
                httpx2.URL(url)
            )

    def first_token_received(self, now: float) -> None:
        """Record when the first token of an attempt arrived."""
        self._attempt_span.add_event(names.FIRST_TOKEN_EVENT, timestamp=self._to_nanoseconds(now))

    @property
    def records_gaps(self) -> bool:
        """Whether the time between any two chunks is recorded."""
        return self._instruments.time_per_output_chunk is not None

    def record_gaps(self, gaps: list[float], model: str | None) -> None:
        """Record the seconds between chunks, without the time that the caller took between two reads."""
        if (histogram := self._instruments.time_per_output_chunk) is not None:
            common = {**self._metric_attributes, names.RESPONSE_MODEL: model} if model else self._metric_attributes
            for gap in gaps:
                histogram.record(gap, common, self._attempt_context)

    def attempt_ended(self, attempt: Attempt, machine: "AttemptMachine", now: float) -> None:
        """End the span of an attempt, and record its metrics.

        A cancelled attempt has the outcome ``cancelled``. It is no error, and its duration is not recorded, because the
        caller ended it: the duration says nothing about the endpoint.
        """
        fault = attempt.fault
        if self._attempt_span.is_recording():
            if attempt.request_id:
                self._attempt_attributes[names.HTTP_REQUEST_ID] = (attempt.request_id,)
            if fault is not None and fault.status is not None:  # raised by the SDK, headers_received() was not called
                self._attempt_attributes[names.HTTP_STATUS] = fault.status
            self._attempt_span.set_attributes(self._attempt_attributes)
            if fault is not None:
                self._set_fault_attributes(self._attempt_span, fault)
        self._attempt_span.end(self._to_nanoseconds(now))
        by_route = {**self._labels, names.ROUTE: attempt.route}
        if fault is not None and fault.kind is FaultKind.CANCELLED:
            self._instruments.attempts.add(1, {**by_route, names.OUTCOME: fault.kind.value}, self._attempt_context)
            return
        outcome = {**by_route, names.OUTCOME: "ok" if fault is None else "fault"}
        if fault is not None:
            outcome |= {names.ERROR_TYPE: fault.kind.value, names.BLAME: fault.blame.value}
        context, instruments = self._attempt_context, self._instruments
        instruments.attempts.add(1, outcome, context)
        instruments.attempt_duration.record(attempt.duration, by_route, context)
        if attempt.time_to_first_token is not None:
            instruments.first_token.record(attempt.time_to_first_token, by_route, context)
        if machine.clock.max_gap is not None:
            instruments.max_gap.record(machine.clock.max_gap, by_route, context)

    def retry_scheduled(self, fault: Fault, route: str, delay: float, now: float) -> None:
        """Add an event to the span of the call: another attempt follows, and why."""
        attributes: dict[str, AttributeValue] = {
            names.ATTEMPT_FAULT: fault.kind.value,
            names.ATTEMPT_DELAY: delay,
            names.ATTEMPT_ROUTE: route,
        }
        self._call_span.add_event(names.RETRY_SCHEDULED_EVENT, attributes, self._to_nanoseconds(now))

    def call_succeeded(self, result: StreamResult, now: float) -> None:
        """End the span of a call that succeeded; a retry does not make it an error."""
        context, instruments, common = self._attempt_context, self._instruments, self._metric_attributes
        if self._call_span.is_recording():
            self._set_response_attributes(result)
        if result.model:
            common = {**common, names.RESPONSE_MODEL: result.model}
        instruments.operation_duration.record(result.duration, common, context)
        if result.time_to_first_token is not None:
            instruments.time_to_first_chunk.record(result.time_to_first_token, common, context)
        if (usage := result.usage) is not None:
            instruments.token_usage.record(usage.input_tokens, {**common, names.TOKEN_TYPE: "input"}, context)
            instruments.token_usage.record(usage.output_tokens, {**common, names.TOKEN_TYPE: "output"}, context)
        self._end_call_span(now)

    def call_failed(self, failure: StreamFailed, now: float) -> None:
        """End the span of a call that failed."""
        fault = failure.fault
        self._call_span.set_attribute(names.CALL_ATTEMPTS, len(failure.attempts))
        self._set_fault_attributes(self._call_span, fault)
        duration = now + self._wall_offset - failure.attempts[0].started if failure.attempts else 0.0
        self._instruments.operation_duration.record(
            max(0.0, duration), {**self._metric_attributes, names.ERROR_TYPE: fault.kind.value}, self._attempt_context
        )
        self._end_call_span(now)

    def call_cancelled(self, attempts: tuple[Attempt, ...], now: float) -> None:
        """End the span of a call that the caller cancelled: neither a success nor an error of the endpoint."""
        self._call_span.set_attribute(names.CALL_ATTEMPTS, len(attempts))
        self._call_span.set_attribute(names.ATTEMPT_FAULT, FaultKind.CANCELLED.value)
        self._end_call_span(now)

    def _end_call_span(self, now: float) -> None:
        self._instruments.streams_active.add(-1, context=_NO_SPAN_CONTEXT)
        self._call_span.end(self._to_nanoseconds(now))

    def _set_response_attributes(self, result: StreamResult) -> None:
        attributes: dict[str, AttributeValue | None] = {
            names.CALL_ATTEMPTS: len(result.attempts),
            names.CALL_CHUNKS: result.attempts[-1].chunks if result.attempts else 0,
            names.CALL_MAX_GAP: result.max_gap,
            names.CALL_DEGRADED: result.degraded,
            names.RESPONSE_ID: result.response_id,
            names.RESPONSE_MODEL: result.model,
            names.RESPONSE_FINISH_REASONS: (result.finish_reason,) if result.finish_reason else None,
            names.RESPONSE_TIME_TO_FIRST_CHUNK: result.time_to_first_token,
            names.USAGE_INPUT: result.usage.input_tokens if result.usage else None,
            names.USAGE_OUTPUT: result.usage.output_tokens if result.usage else None,
        }
        self._call_span.set_attributes({key: value for key, value in attributes.items() if value is not None})

    @staticmethod
    def _set_fault_attributes(span: Span, fault: Fault) -> None:
        span.set_attributes(
            {
                names.ATTEMPT_PHASE: fault.phase.value,
                names.ATTEMPT_FAULT: fault.kind.value,
                names.ATTEMPT_BLAME: fault.blame.value,
            }
        )
        if fault.kind is not FaultKind.CANCELLED:
            span.set_attribute(names.ERROR_TYPE, fault.kind.value)
            span.set_status(Status(StatusCode.ERROR, str(fault)))


_NO_SPAN_CONTEXT = Context()  # the number of open streams belongs to no single call: no exemplar, and no cost for one
_METRIC_ATTRIBUTES = (names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.SERVER_ADDRESS, names.SERVER_PORT)
