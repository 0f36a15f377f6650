"""Creates the results of a call from the state machine of its last attempt, or from a cached result."""

from collections.abc import Iterator

import msgspec

from streamcanary.client.core.answers.finish_reasons import is_known
from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.result import StreamResult
from streamcanary.events import ContentDelta, Delta, ReasoningDelta, RefusalDelta, ToolCallDelta
from streamcanary.model.outcome import Attempt


def attempt_of(
    machine: AttemptMachine, *, number: int, route: str, delay: float, started: float, ended: float
) -> Attempt:
    """Return the attempt of ``machine``, which is finished.

    ``started`` is in seconds since the epoch, ``ended`` in monotonic seconds.
    """
    clock = machine.clock
    return Attempt(
        number=number,
        route=route,
        started=started,
        duration=ended - clock.started,
        fault=machine.fault,
        time_to_first_token=None if clock.first_token is None else clock.first_token - clock.started,
        chunks=machine.answer.chunks,
        request_id=machine.request_id,
        delay=delay,
        phases=machine.trace.phases(clock, ended),
        connection=machine.trace.connection,
        certificate_expiry=machine.trace.certificate_expiry,
        max_gap=clock.max_gap,
        median_gap=clock.gaps.median(),
        output_speed=machine.output_speed,
        rate_limits=machine.rate_limits,
        retirement=machine.retirement,
    )


def result_of(
    machine: AttemptMachine, *, api: Api, attempts: tuple[Attempt, ...], degraded: str | None, duration: float
) -> StreamResult:
    """Return the result of a call whose last attempt, that of ``machine``, has succeeded."""
    answer = machine.answer
    return StreamResult(
        text="".join(answer.text),
        reasoning="".join(answer.reasoning),
        refusal="".join(answer.refusal),
        tool_calls=answer.tool_calls,
        images=tuple(answer.images),
        audio=answer.audio,
        has_media=answer.has_media,
        finish_reason=answer.finish_reason,
        unknown_finish_reason=not is_known(answer.finish_reason),
        usage=answer.usage,
        model=answer.model,
        system_fingerprint=answer.system_fingerprint,
        service_tier=answer.service_tier,
        request_id=attempts[-1].request_id,
        response_id=answer.response_id,
        created=answer.created,
        api=api,
        raw=answer.raw,
        attempts=attempts,
        degraded=degraded,
        time_to_first_token=attempts[-1].time_to_first_token,
        max_gap=attempts[-1].max_gap,
        median_gap=attempts[-1].median_gap,
        output_speed=attempts[-1].output_speed,
        duration=duration,
    )


def deltas_of(result: StreamResult) -> Iterator[Delta]:
    """Yield the whole answer of ``result`` as deltas, each in one piece."""
    if result.reasoning:
        yield ReasoningDelta(result.reasoning)
    if result.text:
        yield ContentDelta(result.text)
    if result.refusal:
        yield RefusalDelta(result.refusal)
    for index, call in enumerate(result.tool_calls):
        yield ToolCallDelta(index, call.name, call.arguments)


def from_cache(cached: StreamResult, *, attempts: tuple[Attempt, ...], duration: float) -> StreamResult:
    """Return the result of a call that ``cached`` answers after ``attempts``: it has no usage and no measured times."""
    return msgspec.structs.replace(
        cached,
        attempts=attempts,
        degraded="cache",
        usage=None,
        time_to_first_token=None,
        max_gap=None,
        median_gap=None,
        output_speed=None,
        duration=duration,
    )
