"""The wire format of Chat Completions: requests, and responses as JSON or as an event stream.

Source: https://platform.openai.com/docs/api-reference/chat and .../chat/streaming
"""

from collections.abc import Iterator
from typing import Any, Final, Self

import msgspec
from msgspec import Struct

from streamcanary.simulator.api.answer import (
    ANSWER_PIECES,
    TOOL_CALL_ID_PREFIX,
    Answer,
    Part,
    PartKind,
    count_tokens,
    text_answer,
)
from streamcanary.simulator.api.base import (
    StreamedBody,
    StreamErrorKind,
    decode_request,
    encode_error_field,
    encode_event,
)

DONE_EVENT: Final = b"data: [DONE]\n\n"
_FIELD_BY_KIND: Final = {
    PartKind.TEXT: "content",
    PartKind.REFUSAL: "refusal",
    PartKind.REASONING_SUMMARY: "reasoning_content",
    PartKind.REASONING: "reasoning",
}


class StreamOptions(Struct):
    """The ``stream_options`` of a request."""

    include_usage: bool | None = None


class ChatRequest(Struct):
    """The fields of a request body that the simulator reads; others are accepted and ignored."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None


class ChatApiResponse(Struct, frozen=True, kw_only=True):
    """One response to one request; ``created`` is in seconds since the epoch."""

    id: str
    created: int
    model: str
    is_streamed: bool
    include_usage: bool
    prompt_tokens: int
    answer: Answer

    @classmethod
    def from_request(cls, body: bytes, *, token: str, now: float) -> Self:
        """Return the complete answer to the request in ``body``; its id contains ``token``.

        Raises:
            ValueError: if the request is invalid or not supported.
        """
        request = decode_request(body, ChatRequest)
        if request.n not in (None, 1):
            raise ValueError("the simulator returns one choice, so n must be 1 or omitted")
        return cls(
            id=f"chatcmpl-{token}",
            created=int(now),
            model=request.model,
            is_streamed=bool(request.stream),
            include_usage=bool(request.stream_options and request.stream_options.include_usage),
            prompt_tokens=count_tokens(request.messages),
            answer=text_answer(*ANSWER_PIECES),
        )

    def with_answer(self, answer: Answer) -> Self:
        """Return a response with another answer to the same request."""
        return msgspec.structs.replace(self, answer=answer)

    def with_model(self, model: str) -> Self:
        """Return a response in which another model answers."""
        return msgspec.structs.replace(self, model=model)

    def streamed_body(self) -> StreamedBody:
        """Return the events: the role, each delta, the end, the usage if requested, ``[DONE]``."""
        answer = self.answer
        after_deltas = [self._chunk_event({}, finish_reason=answer.finish_reason)]
        if self.include_usage:
            after_deltas.append(encode_event({**self._envelope(), "choices": [], "usage": self._usage()}))
        if answer.has_done_marker:
            after_deltas.append(DONE_EVENT)
        return StreamedBody(
            before_deltas=(self._chunk_event({"role": "assistant", "content": "", "refusal": None}),),
            deltas=tuple(self._chunk_event(delta) for delta in _deltas(answer)),
            after_deltas=tuple(after_deltas),
        )

    def json_body(self) -> bytes:
        """Return the answer as one JSON object."""
        answer = self.answer
        choice = {"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": answer.finish_reason}
        frame = {**self._envelope(), "object": "chat.completion"}
        return msgspec.json.encode({**frame, "choices": [choice], "usage": self._usage()})

    def empty_delta(self, sequence_number: int) -> bytes:
        """Return an event whose text is empty."""
        return self._chunk_event({"content": ""})

    def error_event(self, kind: StreamErrorKind, error: dict[str, Any], sequence_number: int) -> bytes | None:
        """Return the event for ``error``; ``failed`` is sent as ``bare``, ``cancelled`` does not exist here."""
        match kind:
            case "bare" | "failed":
                return encode_event({"error": error}) + DONE_EVENT
            case "field":
                return encode_error_field(error) + DONE_EVENT
            case "flat":
                flat = {name: error[name] for name in ("code", "message", "param")}
                return encode_event({"type": "error", **flat}, "error")
            case "nested":
                return encode_event({"type": "error", "error": error}, "error")
            case "cancelled":
                return None

    def json_error(self, kind: StreamErrorKind, error: dict[str, Any]) -> bytes | None:
        """Return the body with ``error``, in the same format for every ``kind``."""
        return None if kind == "cancelled" else msgspec.json.encode({"error": error})

    def _chunk_event(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        """Return the event of one delta. If usage is requested, all events have the field; it is null in deltas."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.include_usage else {}
        return encode_event({**self._envelope(), "choices": [choice], **usage})

    def _usage(self) -> dict[str, Any]:
        output = self.answer.tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self.prompt_tokens + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.answer.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the delta of each event; a tool call begins with its name, and its pieces have its index."""
    calls = 0
    for part in answer.parts:
        if part.kind is not PartKind.TOOL_CALL:
            yield from ({_FIELD_BY_KIND[part.kind]: piece} for piece in part.pieces)
            continue
        yield {"tool_calls": [{"index": calls, **_tool_call(calls, part.name, "")}]}
        for piece in part.pieces:
            yield {"tool_calls": [{"index": calls, "function": {"arguments": piece}}]}
        calls += 1


def _message(answer: Answer) -> dict[str, Any]:
    """Return the joined deltas as the message of a response without ``stream``."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: list[Part] = []
    for part in answer.parts:
        if part.kind is PartKind.TOOL_CALL:
            calls.append(part)
        elif part.pieces:
            message[_FIELD_BY_KIND[part.kind]] = part.text
    if calls:
        message["tool_calls"] = [_tool_call(index, call.name, call.text) for index, call in enumerate(calls)]
    return message


def _tool_call(index: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"{TOOL_CALL_ID_PREFIX}{index + 1}", "type": "function", "function": function}
