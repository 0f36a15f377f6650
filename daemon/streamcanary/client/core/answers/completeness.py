"""Decides whether an answer that has ended is complete, and if not, which fault it is."""

from typing import Final, NamedTuple

from msgspec import Struct

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.answers.finish_reasons import FinishMeaning, meaning_of
from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind, Phase

_TOOL_CALL_MAY_BE_CUT = frozenset({FinishMeaning.TOKEN_LIMIT, FinishMeaning.CONTEXT_LIMIT, FinishMeaning.FILTERED})


class TokenLimit(Struct, frozen=True):
    """The limit of output tokens in a request: its parameter, and its value; ``None`` if the request has none."""

    parameter: str
    tokens: int | None = None


DEFAULT_TOKEN_LIMITS: Final = {
    "chat": TokenLimit("max_completion_tokens"),
    "responses": TokenLimit("max_output_tokens"),
}
"""For each API, what raises the limit of a request that has none: the default limit of the server applies."""


class Incompleteness(NamedTuple):
    """Why an answer is not complete: the kind, phase and message of its fault."""

    kind: FaultKind
    phase: Phase
    message: str


def incompleteness_of(
    answer: Answer, *, token_limit: TokenLimit, accepts_missing_reason: bool = False, is_event_stream: bool = True
) -> Incompleteness | None:
    """Return why ``answer``, which has ended, is not complete; ``None`` if it is.

    ``accepts_missing_reason``: it has ended in another terminal state, so a ``finish_reason`` is not required.
    ``is_event_stream``: whether the body was one, as its content type says. Without events, the server of an event
    stream failed; a body of anything else comes from a wrong address.
    """
    if answer.chunks == 0:
        if not is_event_stream:
            return Incompleteness(
                FaultKind.NOT_A_STREAM, Phase.END, "the body is not an event stream, as its type says"
            )
        message = "the event stream ended before its first event; without streaming, the server may say why"
        return Incompleteness(FaultKind.STREAM_TRUNCATED, Phase.END, message)
    if answer.finish_reason is None or meaning_of(answer.finish_reason) is FinishMeaning.UNFINISHED:
        if not accepts_missing_reason:
            message = "the stream ended without a finish_reason: the answer may be cut short"
            return Incompleteness(FaultKind.STREAM_TRUNCATED, Phase.END, message)
    elif fault := fault_of_finish_reason(answer.finish_reason):
        return fault
    return _malformed_tool_call(answer) if answer.has_output else _empty_answer(answer, token_limit)


def fault_of_finish_reason(reason: str) -> Incompleteness | None:
    """Return the fault that ``reason`` reports, with or without text before it; ``None`` if it reports none."""
    kind = meaning_of(reason)
    if not isinstance(kind, FaultKind):
        return None
    message = {
        FaultKind.CONTENT_POLICY: "the provider's content filter removed or cut the answer",
        FaultKind.MALFORMED_TOOL_CALL: "the model wrote a tool call that the provider cannot parse",
    }.get(kind, "the provider ended the answer with an error")
    phase = Phase.END if Phase.END in FAULT_PROPERTIES[kind].phases else Phase.STREAM
    return Incompleteness(kind, phase, f"{message} (finish_reason {reason})")


def _malformed_tool_call(answer: Answer) -> Incompleteness | None:
    if answer.finish_reason is not None and meaning_of(answer.finish_reason) in _TOOL_CALL_MAY_BE_CUT:
        return None
    message = answer.malformed_tool_call()
    return None if message is None else Incompleteness(FaultKind.MALFORMED_TOOL_CALL, Phase.END, message)


def _empty_answer(answer: Answer, token_limit: TokenLimit) -> Incompleteness:
    meaning = FinishMeaning.UNKNOWN if answer.finish_reason is None else meaning_of(answer.finish_reason)
    if meaning is FinishMeaning.FILTERED:
        message = "the provider's content filter removed the whole answer"
        return Incompleteness(FaultKind.CONTENT_POLICY, Phase.END, message)
    if meaning is FinishMeaning.CONTEXT_LIMIT:
        message = "the context window of the model is full before the answer begins; send a shorter prompt"
        return Incompleteness(FaultKind.CONTEXT_LENGTH_EXCEEDED, Phase.STREAM, message)
    if meaning is FinishMeaning.TOKEN_LIMIT:
        limit = "" if token_limit.tokens is None else f" ({token_limit.tokens})"
        used_for = "on reasoning" if answer.reasoning else "without writing an answer, as reasoning models can"
        message = f"the model used its whole token limit{limit} {used_for}; raise {token_limit.parameter}"
        return Incompleteness(FaultKind.TOKEN_LIMIT_REACHED, Phase.END, message)
    message = f"the answer has no text, refusal or tool call (finish_reason {answer.finish_reason or 'null'})"
    return Incompleteness(FaultKind.EMPTY_ANSWER, Phase.END, message)
