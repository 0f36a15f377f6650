"""The wire format of the Responses API: requests, and responses as JSON or as an event stream.

Source: https://platform.openai.com/docs/api-reference/responses and .../responses-streaming
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from streamcanary.simulator.api.answer import ANSWER_PIECES, Answer, count_tokens, text_answer
from streamcanary.simulator.api.base import (
    StreamedBody,
    StreamErrorKind,
    decode_request,
    encode_error_field,
    encode_event,
)
from streamcanary.simulator.api.responses_output import Event, ResponsesOutput

_STATUS_BY_FINISH_REASON: Final = {
    None: None,
    "length": "incomplete",
    "content_filter": "incomplete",
}  # all others: completed
_INCOMPLETE_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class StreamOptions(Struct):
    """The ``stream_options`` of a request."""

    include_obfuscation: bool | None = None


class ResponsesRequest(Struct):
    """The fields of a request body that the simulator reads; others are accepted and ignored."""

    model: str
    input: str | list[dict[str, Any]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    instructions: str | None = None
    background: bool | None = None


class ResponsesApiResponse(Struct, frozen=True, kw_only=True):
    """One response to one request.

    ``created`` is in seconds since the epoch; ``echoed_fields`` are repeated from the request; ``is_padded`` is whether
    deltas are padded to hide their length.
    """

    token: str
    created: int
    model: str
    is_streamed: bool
    is_padded: bool
    input_tokens: int
    echoed_fields: dict[str, Any]
    answer: Answer

    @classmethod
    def from_request(cls, body: bytes, *, token: str, now: float) -> "ResponsesApiResponse":
        """Return the complete answer to the request in ``body``; its ids contain ``token``.

        Raises:
            ValueError: if the request is invalid or not supported.
        """
        request = decode_request(body, ResponsesRequest)
        if request.background:
            raise ValueError("the simulator answers at once, so background must be false or omitted")
        options = request.stream_options
        return cls(
            token=token,
            created=int(now),
            model=request.model,
            is_streamed=bool(request.stream),
            is_padded=options is None or options.include_obfuscation is not False,
            input_tokens=count_tokens(
                [{"content": request.input}] if isinstance(request.input, str) else request.input
            ),
            echoed_fields={
                "instructions": request.instructions,
                "max_output_tokens": request.max_output_tokens,
                "store": request.store is not False,
            },
            answer=text_answer(*ANSWER_PIECES),
        )

    def with_answer(self, answer: Answer) -> "ResponsesApiResponse":
        """Return a response with another answer to the same request."""
        return msgspec.structs.replace(self, answer=answer)

    def with_model(self, model: str) -> "ResponsesApiResponse":
        """Return a response in which another model answers."""
        return msgspec.structs.replace(self, model=model)

    def streamed_body(self) -> StreamedBody:
        """Return the events: created, in progress, each item with its parts and deltas, the terminal state."""
        events = list(self._events())
        deltas = [number for number, data in enumerate(events) if data["type"].endswith(".delta")]
        first, last = (deltas[0], deltas[-1] + 1) if deltas else (2, 2)
        encoded = tuple(_encode_numbered(data, number) for number, data in enumerate(events))
        return StreamedBody(before_deltas=encoded[:first], deltas=encoded[first:last], after_deltas=encoded[last:])

    def json_body(self) -> bytes:
        """Return the answer as one JSON object."""
        return msgspec.json.encode(self._final_response())

    def empty_delta(self, sequence_number: int) -> bytes:
        """Return an event whose text is empty."""
        return _encode_numbered(self._output().empty_delta(), sequence_number)

    def error_event(self, kind: StreamErrorKind, error: dict[str, Any], sequence_number: int) -> bytes:
        """Return the event for ``error``."""
        match kind:
            case "bare":  # not sent by OpenAI, but by gateways in front of it
                return encode_event({"error": error})
            case "field":
                return encode_error_field(error)
            case "flat":
                flat = {name: error[name] for name in ("code", "message", "param")}
                return _encode_numbered({"type": "error", **flat}, sequence_number)
            case "nested":
                return _encode_numbered({"type": "error", "error": error}, sequence_number)
            case "failed" | "cancelled":
                return _encode_numbered(
                    {"type": f"response.{kind}", "response": self._aborted_response(kind, error)}, sequence_number
                )

    def json_error(self, kind: StreamErrorKind, error: dict[str, Any]) -> bytes:
        """Return the response in its terminal state, or the body with the error."""
        if kind in ("failed", "cancelled"):
            return msgspec.json.encode(self._aborted_response(kind, error))
        return msgspec.json.encode({"error": error})

    def _events(self) -> Iterator[Event]:
        created = self._response("in_progress")
        yield {"type": "response.created", "response": created}
        yield {"type": "response.in_progress", "response": created}
        yield from self._output().events()
        if self.answer.finish_reason is not None:
            final = self._final_response()
            yield {"type": f"response.{final['status']}", "response": final}

    def _final_response(self) -> dict[str, Any]:
        """Return the response as in its terminal event, or as a request without ``stream`` gets it."""
        finish_reason, status = self.answer.finish_reason, self._final_status()
        reason = _INCOMPLETE_REASONS.get(finish_reason or "")
        return {
            **self._response(status),
            "completed_at": self.created if status == "completed" else None,
            "incomplete_details": reason and {"reason": reason},
            "output": self._output().items(),
            "service_tier": "default",
            "usage": self._usage(),
        }

    def _final_status(self) -> str | None:
        """Return the terminal status; ``None`` for an answer without an end marker."""
        return _STATUS_BY_FINISH_REASON.get(self.answer.finish_reason, "completed")

    def _output(self) -> ResponsesOutput:
        status = self._final_status() or "completed"
        return ResponsesOutput(token=self.token, answer=self.answer, status=status, is_padded=self.is_padded)

    def _aborted_response(self, status: str, error: dict[str, Any]) -> dict[str, Any]:
        """Return the response as it is when the server aborts it: without output and usage."""
        error_details = {"code": error["code"], "message": error["message"]} if status == "failed" else None
        return {**self._response(status), "error": error_details}

    def _response(self, status: str | None) -> dict[str, Any]:
        return {
            "id": f"resp_{self.token}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "max_tool_calls": None,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "prompt_cache_key": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "auto",
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "user": None,
            "metadata": {},
            **self.echoed_fields,
        }

    def _usage(self) -> dict[str, Any]:
        output = self.answer.tokens
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": self.answer.reasoning_tokens},
            "total_tokens": self.input_tokens + output,
        }


def _encode_numbered(data: Event, number: int) -> bytes:
    """Return the encoded event with its name and its ``sequence_number``, which follows its type."""
    event_type = data["type"]
    return encode_event({"type": event_type, "sequence_number": number, **data}, event_type)
