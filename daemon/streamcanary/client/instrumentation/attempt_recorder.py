"""The span and the metrics of one attempt."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import httpx2
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from streamcanary.client.instrumentation.attributes import host_and_port, set_fault_attributes
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.model import names
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Attempt
from streamcanary.model.rate_limit import QuotaType
from streamcanary.model.redaction.redactor import redactor_for

if TYPE_CHECKING:
    from streamcanary.client.core.attempt import AttemptMachine
    from streamcanary.client.core.response_head import ResponseHead

_PHASE_ATTRIBUTES = {
    "dns": names.PHASE_DNS,
    "connect": names.PHASE_CONNECT,
    "tls": names.PHASE_TLS,
    "headers": names.PHASE_HEADERS,
    "first_token": names.PHASE_FIRST_TOKEN,
    "streaming": names.PHASE_STREAMING,
}


class AttemptRecorder:
    """Records one attempt: starts its span, a child of that of the call in ``context``.

    ``url`` is the address of the primary route, and ``server`` its attributes. ``labels`` are attributes of every
    metric. ``now`` is monotonic time, which ``to_nanoseconds`` converts to the time of a span.
    """

    def __init__(
        self,
        instruments: Instruments,
        context: Context,
        *,
        number: int,
        route: str,
        delay: float,
        now: float,
        url: str,
        server: Mapping[str, AttributeValue],
        labels: Mapping[str, str],
        to_nanoseconds: Callable[[float], int],
    ) -> None:
        self._instruments = instruments
        self._context = context
        self._url = url
        self._labels = labels
        self._metric_attributes = {**labels, names.ROUTE: route}
        self._to_nanoseconds = to_nanoseconds
        self.redactor = redactor_for()  # of the secrets of the request; that of the attempt once it has ended
        # Set on the span together at its end, because setting a single one takes a lock.
        self._attributes: dict[str, AttributeValue] = {}
        attributes: dict[str, AttributeValue] = {
            names.HTTP_METHOD: "POST",
            names.URL_FULL: url,
            names.ATTEMPT_ROUTE: route,
            **server,
        }
        if number > 1:
            attributes[names.HTTP_RESEND_COUNT] = number - 1
            attributes[names.ATTEMPT_DELAY] = delay
            instruments.retry_delay.record(delay, self._metric_attributes, context=context)
        self._span = instruments.tracer.start_span(
            names.ATTEMPT_SPAN, context, SpanKind.CLIENT, attributes, start_time=to_nanoseconds(now)
        )

    def headers_received(self, head: "ResponseHead") -> None:
        """Record the HTTP status, and the address that answered."""
        self._attributes[names.HTTP_STATUS] = head.status
        self.set_server(head.url)

    def set_server(self, url: str) -> None:
        """Record the address of this attempt's request, if it differs from that of the primary route."""
        if url and url != self._url:
            self._attributes[names.URL_FULL] = url
            self._attributes[names.SERVER_ADDRESS], self._attributes[names.SERVER_PORT] = host_and_port(httpx2.URL(url))

    def first_token_received(self, now: float) -> None:
        """Record when the first token arrived."""
        self._span.add_event(names.FIRST_TOKEN_EVENT, timestamp=self._to_nanoseconds(now))

    def ended(self, attempt: Attempt, machine: "AttemptMachine", now: float) -> None:
        """End the span, and record the metrics of the attempt.

        A cancelled attempt has the outcome ``cancelled``. It is no error, and its duration is not recorded, because the
        caller ended it: the duration says nothing about the endpoint.
        """
        self.redactor = machine.redactor
        self._end_span(attempt, now)
        fault = attempt.fault
        context, instruments, by_route = self._context, self._instruments, self._metric_attributes
        if attempt.connection is not None:
            instruments.connections.add(1, {**self._labels, names.CONNECTION: attempt.connection}, context)
        if fault is not None and fault.kind is FaultKind.CANCELLED:
            instruments.attempts.add(1, {**by_route, names.OUTCOME: fault.kind.value}, context)
            return
        outcome = {**by_route, names.OUTCOME: "ok" if fault is None else "fault"}
        if fault is not None:
            outcome |= {names.ERROR_TYPE: fault.kind.value, names.BLAME: fault.blame.value}
        instruments.attempts.add(1, outcome, context)
        instruments.attempt_duration.record(attempt.duration, by_route, context)
        for phase, seconds in attempt.phases.items():
            instruments.phase_duration.record(seconds, {**by_route, names.PHASE: phase}, context)
        if attempt.time_to_first_token is not None:
            instruments.first_token.record(attempt.time_to_first_token, by_route, context)
        if attempt.max_gap is not None and attempt.median_gap is not None:
            instruments.max_gap.record(attempt.max_gap, by_route, context)
            instruments.median_gap.record(attempt.median_gap, by_route, context)
        if attempt.output_speed is not None:
            instruments.output_speed.record(attempt.output_speed.tokens_per_second, by_route, context)

    def _end_span(self, attempt: Attempt, now: float) -> None:
        span, fault = self._span, attempt.fault
        if span.is_recording():
            if attempt.request_id:
                self._attributes[names.HTTP_REQUEST_ID] = (attempt.request_id,)
            if fault is not None and fault.status is not None:  # raised by the SDK, headers_received() was not called
                self._attributes[names.HTTP_STATUS] = fault.status
            self._attributes |= {_PHASE_ATTRIBUTES[phase]: seconds for phase, seconds in attempt.phases.items()}
            if attempt.connection is not None:
                self._attributes[names.ATTEMPT_CONNECTION] = attempt.connection
            if attempt.certificate_expiry is not None:
                self._attributes[names.CERTIFICATE_EXPIRY_TIME] = attempt.certificate_expiry
            self._attributes |= _response_attributes(attempt)
            span.set_attributes(self._attributes)
            if fault is not None:
                set_fault_attributes(span, fault)
        span.end(self._to_nanoseconds(now))


def _response_attributes(attempt: Attempt) -> dict[str, AttributeValue]:
    """Return the attributes of what the response reports and shows besides the answer."""
    found: dict[str, AttributeValue | None] = {}
    if attempt.max_gap is not None:  # also of an answer that was cut or stalled
        found |= {names.CALL_MAX_GAP: attempt.max_gap, names.CALL_MEDIAN_GAP: attempt.median_gap}
    if (speed := attempt.output_speed) is not None:
        found[names.ATTEMPT_OUTPUT_SPEED] = speed.tokens_per_second
        found[names.ATTEMPT_OUTPUT_ESTIMATED] = speed.is_estimated
    if (limits := attempt.rate_limits) is not None:
        for kind, quota in limits.by_type():
            remaining, limit, reset = _QUOTA_ATTRIBUTES[kind]
            found |= {remaining: quota.remaining, limit: quota.limit, reset: quota.reset_after}
    if (retirement := attempt.retirement) is not None:
        found[names.DEPRECATED] = retirement.is_deprecated or None
        found |= {names.DEPRECATION_TIME: retirement.deprecation, names.SUNSET_TIME: retirement.sunset}
    return {name: value for name, value in found.items() if value is not None}


_QUOTA_ATTRIBUTES: Final[dict[QuotaType, tuple[str, str, str]]] = {
    "requests": (names.REQUESTS_REMAINING, names.REQUESTS_LIMIT, names.REQUESTS_RESET),
    "tokens": (names.TOKENS_REMAINING, names.TOKENS_LIMIT, names.TOKENS_RESET),
}
