"""The Responses API on the wire: what is asked, and how an answer is spelled, whole or as an event stream.

Source: https://platform.openai.com/docs/api-reference/responses and .../responses-streaming
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from streamcanary.simulator.api.answer import TEXT, Answer, count_tokens, text_answer
from streamcanary.simulator.api.base import Break, Script, decode, event
from streamcanary.simulator.api.responses_output import Event, Output

_STATUS: Final = {None: None, "length": "incomplete", "content_filter": "incomplete"}  # all others: completed
_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class StreamOptions(Struct):
    """The ``stream_options`` of a request."""

    include_obfuscation: bool | None = None


class ResponsesAsk(Struct):
    """What the simulator reads of the body of a request; all else is accepted and left alone."""

    model: str
    input: str | list[dict[str, Any]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    instructions: str | None = None
    background: bool | None = None


class Responses(Struct, frozen=True, kw_only=True):
    """One answer to one request; ``created`` is in seconds since the epoch, ``echo`` is repeated from the request.

    ``padded`` tells whether each delta hides its length.
    """

    token: str
    created: int
    model: str
    streamed: bool
    padded: bool
    input_tokens: int
    echo: dict[str, Any]
    answer: Answer

    @classmethod
    def read(cls, body: bytes, *, token: str, now: float) -> "Responses":
        """Return the good answer to the request that ``body`` spells; ``token`` makes its ids.

        Raises:
            ValueError: if it is not a request that can be answered.
        """
        ask = decode(body, ResponsesAsk)
        if ask.background:
            raise ValueError("the simulator answers at once, so background is false or left out")
        options = ask.stream_options
        return cls(
            token=token,
            created=int(now),
            model=ask.model,
            streamed=bool(ask.stream),
            padded=options is None or options.include_obfuscation is not False,
            input_tokens=count_tokens([{"content": ask.input}] if isinstance(ask.input, str) else ask.input),
            echo={
                "instructions": ask.instructions,
                "max_output_tokens": ask.max_output_tokens,
                "store": ask.store is not False,
            },
            answer=text_answer(*TEXT),
        )

    def saying(self, answer: Answer) -> "Responses":
        """Return another answer to the same request."""
        return msgspec.structs.replace(self, answer=answer)

    def script(self) -> Script:
        """Return the events: created, in progress, each item with its parts and deltas, the terminal state."""
        events = list(self._events())
        deltas = [number for number, data in enumerate(events) if data["type"].endswith(".delta")]
        first, last = (deltas[0], deltas[-1] + 1) if deltas else (2, 2)
        spelled = tuple(_number(data, number) for number, data in enumerate(events))
        return Script(opening=spelled[:first], deltas=spelled[first:last], closing=spelled[last:])

    def whole(self) -> bytes:
        """Return the answer as one JSON object."""
        return msgspec.json.encode(self._ended())

    def empty_delta(self, sent: int) -> bytes:
        """Return an event whose text is empty."""
        return _number(self._output().empty_delta(), sent)

    def break_off(self, how: Break, error: dict[str, Any], sent: int) -> bytes:
        """Return the event that says so."""
        match how:
            case "bare":  # not OpenAI's: gateways in front of it tell their own errors like this
                return event({"error": error})
            case "flat":
                flat = {name: error[name] for name in ("code", "message", "param")}
                return _number({"type": "error", **flat}, sent)
            case "nested":
                return _number({"type": "error", "error": error}, sent)
            case "failed" | "cancelled":
                return _number({"type": f"response.{how}", "response": self._stopped(how, error)}, sent)

    def broken(self, how: Break, error: dict[str, Any]) -> bytes:
        """Return the response in its terminal state, or the error as the whole body."""
        if how in ("failed", "cancelled"):
            return msgspec.json.encode(self._stopped(how, error))
        return msgspec.json.encode({"error": error})

    def _events(self) -> Iterator[Event]:
        begun = self._response("in_progress")
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        yield from self._output().events()
        if self.answer.finish_reason is not None:
            ended = self._ended()
            yield {"type": f"response.{ended['status']}", "response": ended}

    def _ended(self) -> dict[str, Any]:
        """Return the response as its terminal event, or a request without ``stream``, has it."""
        finish_reason, status = self.answer.finish_reason, self._status()
        reason = _REASONS.get(finish_reason or "")
        return {
            **self._response(status),
            "completed_at": self.created if status == "completed" else None,
            "incomplete_details": reason and {"reason": reason},
            "output": self._output().items(),
            "service_tier": "default",
            "usage": self._usage(),
        }

    def _status(self) -> str | None:
        """Return the terminal status; ``None`` for an answer that does not say that it has ended."""
        return _STATUS.get(self.answer.finish_reason, "completed")

    def _output(self) -> Output:
        status = self._status() or "completed"
        return Output(token=self.token, answer=self.answer, status=status, padded=self.padded)

    def _stopped(self, status: str, error: dict[str, Any]) -> dict[str, Any]:
        """Return the response as it is when the server gives it up: without output, and without usage."""
        told = {"code": error["code"], "message": error["message"]} if status == "failed" else None
        return {**self._response(status), "error": told}

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
            **self.echo,
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


def _number(data: Event, number: int) -> bytes:
    """Return the event under its number, which stands after its type, and under its name."""
    kind = data["type"]
    return event({"type": kind, "sequence_number": number, **data}, kind)
