"""Executes one run of a canary: sends the request, checks the response, and returns the outcome."""

import asyncio
import logging
import random as _random
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import uuid4

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from streamcanary import __version__
from streamcanary.canary.answer_checks.reasoning_text import is_unfinished_reasoning
from streamcanary.canary.answer_checks.repetition import repeated_unit
from streamcanary.canary.drift.model_watch import ModelWatch
from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend.prices import Price
from streamcanary.canary.spend.usage import RunUsage, estimate_tokens
from streamcanary.client.async_client import AsyncStreamClient
from streamcanary.client.core.answers.finish_reasons import is_cut_at_limit
from streamcanary.client.drivers.async_stream import AsyncStream
from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.client.result import StreamFailed, StreamResult
from streamcanary.events import AttemptStarted, Event
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.faults import CALLER_FAULTS, Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from streamcanary.model.redaction.redactor import Redactor, redactor_for
from streamcanary.model.spend import Spend

_log = logging.getLogger(__name__)
_NONCES = _random.SystemRandom()
_IDENTIFIERS = frozenset({"run_id", "canary", "target", "provider", "trace_id"})  # fields of ours, never redacted


MAX_OVERTIME = 5.0
"""Seconds after the total timeout of a run; one that takes longer hangs in streamcanary itself, and is ended."""


class SpendRecorder(Protocol):
    """Records what runs use."""

    def record_retry(self) -> None:
        """Record an attempt after the first of a run."""
        ...

    def record_spend(self, name: str, spend: Spend) -> None:
        """Record what a run of the canary ``name`` used; called once for each run, with any outcome."""
        ...


class CanaryRunner:
    """Runs one canary each time it is called.

    ``client`` has the canary's routes, timeouts and retry policy. ``prices`` are those of its primary route and its
    fallbacks, in this order. ``spend_recorder`` records what each run used. ``on_event`` is called for every event when
    it happens, and must not block. ``redactor`` returns the current redactor of the canary's secrets: every text in an
    outcome is redacted with it. ``seed`` makes the nonces repeatable in tests. ``former`` is the runner that this one
    replaces, if both ask the same model: what answered it before is remembered.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_has_logged_claim",
        "_metrics",
        "_model_watch",
        "_on_event",
        "_prices",
        "_random",
        "_redactor",
        "_spec",
        "_spend_recorder",
        "_tracer",
        "canary",
    )

    def __init__(
        self,
        canary: Canary,
        spec: CanarySpec,
        client: AsyncStreamClient,
        *,
        clock: Clock,
        metrics: CanaryMetrics,
        prices: Sequence[Price | None] = (),
        spend_recorder: SpendRecorder | None = None,
        on_event: Callable[[Canary, Event], None] | None = None,
        redactor: Callable[[], Redactor] = redactor_for,
        seed: int | None = None,
        former: "CanaryRunner | None" = None,
    ) -> None:
        self.canary = canary
        self._spec = spec
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._prices = prices
        self._spend_recorder = spend_recorder
        self._on_event = on_event
        self._redactor = redactor
        self._has_logged_claim = False
        self._model_watch: ModelWatch = ModelWatch(canary, metrics, None if former is None else former._model_watch)
        # To miss caches. All share one: the state of each takes 2.5 kB.
        self._random = _NONCES if seed is None else _random.Random(seed)  # noqa: S311
        self._tracer = trace.get_tracer(names.INSTRUMENTATION_SCOPE, __version__)

    def resume(self, answered: Outcome) -> None:
        """Compare the model that answers the next run with that of ``answered``, the last answer to an earlier process.

        An answer to a request for another model, by an earlier configuration, is ignored.
        """
        if answered.attempts and answered.attempts[0].route == self._spec.model:
            self._model_watch.resume(answered)

    def open_stream(self) -> AsyncStream:
        """Return a stream for the canary's request, which is not sent yet."""
        nonce = f"{self._random.getrandbits(48):012x}"
        prompt = self._spec.prompt.replace("{nonce}", nonce)
        arguments: dict[str, Any] = {**self._spec.request, "model": self._spec.model}
        if self._spec.api == "responses":
            arguments = {"store": False, **arguments, "input": prompt}
        else:
            arguments["messages"] = [{"role": "user", "content": prompt}]
        return self._client.stream(**arguments)

    async def __call__(self, scheduled: float) -> Outcome:
        """Run once and return the outcome; ``scheduled`` is the due time, in seconds since the epoch.

        Raises nothing except for cancellation: an error in streamcanary itself becomes an ``internal_error``.
        """
        started = self._clock.time()
        started_monotonic = self._clock.monotonic()
        outcome = Outcome(
            run_id=uuid4().hex,
            canary=self.canary.name,
            target=self.canary.target,
            provider=self.canary.provider,
            kind=OutcomeKind.INTERNAL_ERROR,
            scheduled=scheduled,
            started=started,
        )
        usage = RunUsage(estimate_tokens(self._spec.prompt, self._spec.request), self._prices, self._clock.monotonic)
        attributes: dict[str, AttributeValue] = {
            names.RUN_CANARY: self.canary.name,
            names.RUN_TARGET: self.canary.target,
            names.RUN_ID: outcome.run_id,
            names.RUN_SCHEDULE_LAG: max(0.0, started - scheduled),
            names.SYNTHETIC_TYPE: "test",
        }
        # An empty context: each run is a new root span, also if the caller has a span.
        span = self._tracer.start_span(
            names.RUN_SPAN, Context(), SpanKind.INTERNAL, attributes, start_time=int(started * 1e9)
        )
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            try:
                outcome = await self._run_to_outcome(outcome, usage)
            except asyncio.CancelledError:
                outcome = msgspec.structs.replace(outcome, kind=OutcomeKind.SKIPPED, reason="shutdown")
                raise
            finally:
                duration = self._clock.monotonic() - started_monotonic
                context = span.get_span_context()
                spend = usage.close()
                self._log_rejected_claim(usage)
                outcome = msgspec.structs.replace(
                    self._redactor().redact(outcome, keep=_IDENTIFIERS),
                    duration=duration,
                    cost=spend.usd if usage.is_priced and spend.requests else None,
                    trace_id=f"{context.trace_id:032x}" if context.is_valid else None,
                    usage=usage.charged or outcome.usage,
                )
                run_context = trace.set_span_in_context(span, Context())
                outcome = self._model_watch.observe(outcome, span, run_context)
                _end_span(span, outcome, int((started + duration) * 1e9))
                self._metrics.record_spend(self.canary, spend, run_context, is_priced=usage.is_priced)
                if self._spend_recorder is not None:
                    self._spend_recorder.record_spend(self.canary.name, spend)
        self._metrics.record_run(self.canary, outcome, run_context)
        return outcome

    def _log_rejected_claim(self, usage: RunUsage) -> None:
        """Log the first token counts that are impossible; they go on with every run until the provider is repaired."""
        claim, charged = usage.rejected_claim, usage.charged
        if claim is None or charged is None or self._has_logged_claim:
            return
        self._has_logged_claim = True
        _log.warning(
            "token counts of the provider impossible",
            extra={
                "canary": self.canary.name,
                "claimed_input": claim.input_tokens,
                "claimed_output": claim.output_tokens,
                "charged_input": charged.input_tokens,
                "charged_output": charged.output_tokens,
            },
        )

    async def _run_to_outcome(self, outcome: Outcome, usage: RunUsage) -> Outcome:
        total = self._spec.timeouts.total
        lag, started = LoopLag.of_running_loop(), asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(total + MAX_OVERTIME):
                async with self.open_stream() as stream:
                    async for event in stream:
                        usage.observe(event)
                        if isinstance(event, AttemptStarted) and event.number > 1 and self._spend_recorder is not None:
                            self._spend_recorder.record_retry()
                        if self._on_event is not None:
                            self._on_event(self.canary, event)
                    outcome = msgspec.structs.replace(outcome, lag=lag.since(started))
                    return outcome_from_result(outcome, stream.result, self._spec, self._redactor)
        except StreamFailed as failure:
            outcome = msgspec.structs.replace(outcome, lag=lag.since(started))
            return outcome_from_failure(outcome, failure, self._spec.model)
        except TimeoutError:
            _log.error("canary run hung", extra={"canary": self.canary.name, "seconds": total + MAX_OVERTIME})
            return msgspec.structs.replace(outcome, reason=f"the run did not end within {total + MAX_OVERTIME:g} s")
        except Exception as error:  # noqa: BLE001 - it becomes an internal_error outcome and is logged; the schedule continues
            _log.exception("canary run failed internally", extra={"canary": self.canary.name})
            reason = self._redactor().scrub(f"{type(error).__name__}: {error}", 200)
            return msgspec.structs.replace(outcome, reason=reason)


def outcome_from_result(
    outcome: Outcome, result: StreamResult, spec: CanarySpec, redactor: Callable[[], Redactor] = redactor_for
) -> Outcome:
    """Return ``outcome`` for a complete response: its kind follows from the expectation, the route and the ``slo``.

    The text of the response is redacted with ``redactor()`` before it is cut to the length of a message.
    """
    fault = primary_fault(result.attempts, spec.model)
    kind = OutcomeKind.OK
    if mismatch := _mismatch(result, spec):
        kind, fault = OutcomeKind.FAILED, _expectation_fault(mismatch, result, spec, redactor())
    elif result.degraded == "non_streaming" and result.attempts[-1].route == spec.model:
        kind = OutcomeKind.FAILED_OVER
        message = "the server sent one JSON body instead of a stream"
        fault = make_fault(FaultKind.NOT_A_STREAM, Phase.HEADERS, message)
    elif result.degraded is not None:
        kind = OutcomeKind.FAILED_OVER
    else:
        fault = None
        if missed := missed_slo(result, spec, lag=outcome.lag):
            kind = OutcomeKind.SLOW
            outcome = msgspec.structs.replace(outcome, reason=missed)
        elif missed := missed_slo(result, spec):
            kind = OutcomeKind.INTERNAL_ERROR
            reason = f"{missed}, but the event loop of the daemon was late by {outcome.lag:.2f} s"
            outcome = msgspec.structs.replace(outcome, reason=reason)
    return _without_caller_fault(
        outcome,
        kind=kind,
        fault=fault,
        attempts=result.attempts,
        time_to_first_token=result.time_to_first_token,
        max_gap=result.max_gap,
        median_gap=result.median_gap,
        output_speed=result.output_speed,
        degraded=result.degraded,
        model=result.model,
        system_fingerprint=result.system_fingerprint,
        service_tier=result.service_tier,
        finish_reason=result.finish_reason,
        usage=result.usage,
        certificate_expiry=primary_certificate_expiry(result.attempts, spec.model),
    )


def _mismatch(result: StreamResult, spec: CanarySpec) -> str | None:
    """Return how a response violates the expectation, or ``None`` if it does not."""
    has_other_output = bool(result.tool_calls) or result.has_media
    if mismatch := spec.expect.mismatch(result.text, has_other_output=has_other_output):
        return mismatch
    if not spec.expect.not_empty or has_other_output or not is_cut_at_limit(result.finish_reason):
        return None
    return "is only reasoning" if is_unfinished_reasoning(result.text) else None


def _expectation_fault(mismatch: str, result: StreamResult, spec: CanarySpec, redactor: Redactor) -> Fault:
    """Return the fault of an answer that does not meet ``expect``.

    An answer that was cut at the token limit of the request shows that the limit is too low, not that the model is
    wrong; one that repeats itself would not end at any limit.
    """
    mismatch, answer = redactor.scrub(mismatch, 200), redactor.scrub(result.text or result.refusal, 200)
    if is_cut_at_limit(result.finish_reason) and repeated_unit(result.text) is None:
        parameter, limit = spec.token_limit
        shown_limit = "" if limit is None else f" ({limit})"
        message = f"the response {mismatch} within the token limit{shown_limit}; raise {parameter}: {answer!r}"
        return make_fault(FaultKind.TOKEN_LIMIT_REACHED, Phase.END, message)
    return make_fault(FaultKind.UNEXPECTED_ANSWER, Phase.END, f"the response {mismatch}: {answer!r}")


def outcome_from_failure(outcome: Outcome, failure: StreamFailed, primary_route: str) -> Outcome:
    """Return ``outcome`` for a call that failed on all routes."""
    fault = primary_fault(failure.attempts, primary_route) or failure.fault
    expiry = primary_certificate_expiry(failure.attempts, primary_route)
    return _without_caller_fault(
        outcome, kind=OutcomeKind.FAILED, fault=fault, attempts=failure.attempts, certificate_expiry=expiry
    )


def _without_caller_fault(outcome: Outcome, *, kind: OutcomeKind, fault: Fault | None, **changes: Any) -> Outcome:
    """Return ``outcome`` with the changes; what the daemon itself causes is an ``internal_error``, not a fault."""
    if fault is not None and fault.kind in CALLER_FAULTS:
        changes["reason"] = fault.message
        kind, fault = OutcomeKind.INTERNAL_ERROR, None
    return msgspec.structs.replace(outcome, kind=kind, fault=fault, **changes)


def primary_fault(attempts: tuple[Attempt, ...], primary_route: str) -> Fault | None:
    """Return the last fault on the primary route, or ``None``."""
    return next(
        (attempt.fault for attempt in reversed(attempts) if attempt.fault and attempt.route == primary_route), None
    )


def primary_certificate_expiry(attempts: tuple[Attempt, ...], primary_route: str) -> float | None:
    """Return when the first certificate that the primary route showed last expires, in seconds since the epoch."""
    expiries = (attempt.certificate_expiry for attempt in reversed(attempts) if attempt.route == primary_route)
    return next((expiry for expiry in expiries if expiry is not None), None)


def missed_slo(result: StreamResult, spec: CanarySpec, *, lag: float = 0.0) -> str | None:
    """Return the objective that a response missed, with its value and limit, or ``None``.

    One that it missed by at most the ``lag`` of the event loop, in seconds, counts as met.
    """
    slo = spec.slo
    measured = (
        ("first token", result.time_to_first_token, slo.first_token),
        ("longest gap", result.max_gap, slo.max_gap),
        ("duration", result.duration, slo.duration),
    )
    for label, actual, limit in measured:
        if actual is not None and limit is not None and actual - lag > limit:
            return f"{label} {actual:.2f} s, over the objective of {limit:g} s"
    return None


def _end_span(span: Span, outcome: Outcome, end: int) -> None:
    span.set_attribute(names.RUN_OUTCOME, outcome.kind.value)
    reason = str(outcome.fault) if outcome.kind is OutcomeKind.FAILED_OVER and outcome.fault else outcome.reason
    if reason:
        span.set_attribute(names.RUN_REASON, reason)
    if outcome.kind in (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER) and outcome.fault is not None:
        span.set_attribute(names.ERROR_TYPE, outcome.fault.kind.value)
    if outcome.kind is OutcomeKind.FAILED:
        span.set_status(Status(StatusCode.ERROR, str(outcome.fault)))
    elif outcome.kind is OutcomeKind.INTERNAL_ERROR:
        span.set_status(Status(StatusCode.ERROR, outcome.reason or "internal error"))
    span.end(end)
