"""The span and the metrics of one call, and those of its attempts."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from streamcanary.client.instrumentation.attempt_recorder import AttemptRecorder
from streamcanary.client.instrumentation.attributes import set_fault_attributes
from streamcanary.client.instrumentation.content import (
    input_attributes,
    output_attributes,
    partial_output_attributes,
)
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.result import StreamFailed, StreamResult
from streamcanary.model import names
from streamcanary.model.faults import Fault, FaultKind
from streamcanary.model.outcome import Attempt
from streamcanary.model.redaction.redactor import Redactor


class CallRecorder:
    """Records the spans and metrics of one call.

    ``labels`` (``canary``, ``target``, ``provider``) are attributes of every metric. ``request_attributes`` are the
    attributes that a GenAI client span has from its start. ``url`` is the address of the primary route. ``content`` are
    the arguments of the request, if its content is recorded.
    """

    def __init__(
        self,
        instruments: Instruments,
        *,
        model: str,
        labels: Mapping[str, str],
        request_attributes: dict[str, AttributeValue],
        url: str,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        self._instruments = instruments
        self._labels = labels
        self._request_attributes = request_attributes
        self._url = url
        self._content = content
        self._span_name = f"chat {model}"
        self._parent_context: Context = get_current()
        self._attempt_context: Context = self._parent_context
        self._call_span: Span = trace.INVALID_SPAN
        self._attempt: AttemptRecorder | None = None
        self._wall_offset = 0.0
        self._to_nanoseconds = partial(_span_time, 0.0)
        self._metric_attributes: dict[str, AttributeValue] = {
            **labels,
            **{key: value for key, value in request_attributes.items() if key in _METRIC_ATTRIBUTES},
        }

    def call_started(self, now: float, wall_time: float) -> None:
        """Start the span of the logical call."""
        self._wall_offset = wall_time - now
        self._to_nanoseconds = partial(_span_time, self._wall_offset)  # no method: recorders must not refer in a cycle
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
        self._attempt = AttemptRecorder(
            self._instruments,
            self._attempt_context,
            number=number,
            route=route,
            delay=delay,
            now=now,
            url=self._url,
            server={
                names.SERVER_ADDRESS: self._request_attributes.get(names.SERVER_ADDRESS, ""),
                names.SERVER_PORT: self._request_attributes.get(names.SERVER_PORT, 0),
            },
            labels=self._labels,
            to_nanoseconds=self._to_nanoseconds,
        )

    @property
    def attempt(self) -> AttemptRecorder:
        """The recorder of the current attempt.

        Raises:
            RuntimeError: if no attempt has started.
        """
        if self._attempt is None:
            raise RuntimeError("no attempt has started")
        return self._attempt

    @property
    def records_gaps(self) -> bool:
        """Whether the time between any two chunks is recorded."""
        return self._instruments.time_per_output_chunk is not None

    def record_gaps(self, gaps: list[float], model: str | None) -> None:
        """Record the seconds between chunks, without the time that the caller took between two reads."""
        if (histogram := self._instruments.time_per_output_chunk) is not None:
            common = self._metric_attributes_with(model)
            for gap in gaps:
                histogram.record(gap, common, self._attempt_context)

    def _metric_attributes_with(self, model: str | None) -> dict[str, AttributeValue]:
        models = self._instruments.response_models
        if not model or models is None:
            return self._metric_attributes
        request_model = str(self._request_attributes.get(names.REQUEST_MODEL, ""))
        label = models.label_of(model, request_model)
        return {**self._metric_attributes, names.RESPONSE_MODEL: label}

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
        context, instruments = self._attempt_context, self._instruments
        if self._call_span.is_recording():
            self._set_response_attributes(result)
            self._set_content(lambda redactor: output_attributes(result, redactor))
        common = self._metric_attributes_with(result.model)
        instruments.operation_duration.record(result.duration, common, context)
        if result.time_to_first_token is not None:
            instruments.time_to_first_chunk.record(result.time_to_first_token, common, context)
        if (usage := result.usage) is not None and usage.input_tokens + usage.output_tokens <= _MAX_TOKENS:
            instruments.token_usage.record(usage.input_tokens, {**common, names.TOKEN_TYPE: "input"}, context)
            instruments.token_usage.record(usage.output_tokens, {**common, names.TOKEN_TYPE: "output"}, context)
        self._end_call_span(now)

    def call_failed(
        self, failure: StreamFailed, now: float, partial_result: Callable[[], StreamResult] | None = None
    ) -> None:
        """End the span of a call that failed; ``partial_result`` returns what its last attempt received."""
        fault = failure.fault
        if self._call_span.is_recording() and partial_result is not None:
            self._set_content(lambda redactor: partial_output_attributes(partial_result(), redactor))
        self._call_span.set_attribute(names.CALL_ATTEMPTS, len(failure.attempts))
        set_fault_attributes(self._call_span, fault)
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

    def _set_content(self, output: Callable[[Redactor], dict[str, AttributeValue]]) -> None:
        """Record prompt and answer if they are wanted; without an attempt, the secrets to remove are not known."""
        if self._content is not None and self._attempt is not None:
            redactor = self._attempt.redactor
            self._call_span.set_attributes(input_attributes(self._content, redactor) | output(redactor))

    def _set_response_attributes(self, result: StreamResult) -> None:
        attributes: dict[str, AttributeValue | None] = {
            names.CALL_ATTEMPTS: len(result.attempts),
            names.CALL_CHUNKS: result.attempts[-1].chunks if result.attempts else 0,
            names.CALL_MAX_GAP: result.max_gap,
            names.CALL_MEDIAN_GAP: result.median_gap,
            names.CALL_DEGRADED: result.degraded,
            names.RESPONSE_ID: result.response_id,
            names.RESPONSE_MODEL: result.model,
            names.OPENAI_FINGERPRINT: result.system_fingerprint,
            names.OPENAI_TIER: result.service_tier,
            names.RESPONSE_FINISH_REASONS: (result.finish_reason,) if result.finish_reason else None,
            names.RESPONSE_TIME_TO_FIRST_CHUNK: result.time_to_first_token,
            names.USAGE_INPUT: result.usage.input_tokens if result.usage else None,
            names.USAGE_OUTPUT: result.usage.output_tokens if result.usage else None,
        }
        self._call_span.set_attributes({key: value for key, value in attributes.items() if value is not None})


def _span_time(wall_offset: float, now: float) -> int:
    """Return the span time (nanoseconds since the epoch) of ``now`` (monotonic seconds)."""
    return int((wall_offset + now) * 1e9)


_MAX_TOKENS = names.TOKEN_BUCKETS[-1]  # 67 million: no model takes so many, and one such claim would spoil every sum

# The number of open streams belongs to no single call: no exemplar, and no cost for one. The SDK would replace an empty
# context by the current one, which has the span of the run.
_NO_SPAN_CONTEXT = set_value("streamcanary.without_span", True, Context())  # noqa: FBT003 - a value of a context
_METRIC_ATTRIBUTES = (names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.SERVER_ADDRESS, names.SERVER_PORT)
