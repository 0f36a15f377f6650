"""Chat Completions on the wire: what is asked, and how an answer is spelled, whole or as an event stream.

Source: https://platform.openai.com/docs/api-reference/chat and .../chat/streaming
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

DONE: Final = b"data: [DONE]\n\n"
TEXT: Final = ("Pong", "!", " The", " can", "ary", " sings", ".")
"""The text of every good answer, as it is cut into chunks: "Pong! The canary sings."."""
_SLICES = 8


class StreamOptions(Struct):
    """The ``stream_options`` of a request."""

    include_usage: bool | None = None


class Ask(Struct):
    """What the simulator reads of the body of a request; all else is accepted and left alone."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What the model says: the deltas after the role, why it stops, and whether the stream says ``[DONE]``."""

    deltas: tuple[dict[str, Any], ...]
    finish_reason: str | None = "stop"
    done: bool = True

    def message(self) -> dict[str, Any]:
        """Return the deltas put together, as a whole answer has them."""
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        for delta in self.deltas:
            for name, value in delta.items():
                if name == "tool_calls":
                    _join_calls(message.setdefault(name, []), value)
                else:
                    message[name] = (message.get(name) or "") + value
        return message


def text_answer(*pieces: str, finish_reason: str | None = "stop", done: bool = True) -> Answer:
    """Return an answer that says ``pieces``, one a chunk."""
    return Answer(deltas=tuple({"content": piece} for piece in pieces), finish_reason=finish_reason, done=done)


class Completion(Struct, frozen=True, kw_only=True):
    """One answer to one request; ``created`` is in seconds since the epoch."""

    id: str
    created: int
    model: str
    streamed: bool
    include_usage: bool
    prompt_tokens: int
    answer: Answer

    @classmethod
    def to(cls, ask: Ask, *, id: str, created: int) -> "Completion":  # noqa: A002 - the name it has on the wire
        """Return the good answer to ``ask``."""
        return cls(
            id=id,
            created=created,
            model=ask.model,
            streamed=bool(ask.stream),
            include_usage=bool(ask.stream_options and ask.stream_options.include_usage),
            prompt_tokens=_count_tokens(ask.messages),
            answer=text_answer(*TEXT),
        )

    def parts(self) -> list[bytes]:
        """Return the body in the pieces in which it is sent: events if streamed, else slices of the JSON."""
        if self.streamed:
            return self.events()
        whole = self.whole()
        size = -(-len(whole) // _SLICES)
        return [whole[start : start + size] for start in range(0, len(whole), size)]

    def events(self) -> list[bytes]:
        """Return the events of the stream: the role, each delta, the end, the usage if asked for, ``[DONE]``."""
        answer = self.answer
        events = [self.delta({"role": "assistant", "content": "", "refusal": None})]
        events += [self.delta(delta) for delta in answer.deltas]
        events.append(self.delta({}, finish_reason=answer.finish_reason))
        if self.include_usage:
            events.append(_event({**self._frame(), "choices": [], "usage": self.usage()}))
        if answer.done:
            events.append(DONE)
        return events

    def delta(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        """Return the event of one delta. Asked for usage, every event has the field, and all but the last have null."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.include_usage else {}
        return _event({**self._frame(), "choices": [choice], **usage})

    def whole(self) -> bytes:
        """Return the answer as one JSON object, as a request without ``stream`` gets it."""
        answer = self.answer
        choice = {"index": 0, "message": answer.message(), "logprobs": None, "finish_reason": answer.finish_reason}
        frame = {**self._frame(), "object": "chat.completion"}
        return msgspec.json.encode({**frame, "choices": [choice], "usage": self.usage()})

    def usage(self) -> dict[str, Any]:
        """Return the tokens used: a delta counts as one."""
        output = len(self.answer.deltas)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self.prompt_tokens + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _frame(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _join_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> None:
    """Add the pieces of tool calls to the calls they belong to, by index."""
    for piece in pieces:
        if piece["index"] == len(calls):
            calls.append({"id": piece["id"], "type": piece["type"], "function": {**piece["function"]}})
        else:
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


def _count_tokens(messages: list[dict[str, Any]]) -> int:
    """Estimate the tokens of a prompt as its tokenizer would: about four characters each, and a few a message."""
    texts = (message.get("content") for message in messages)
    return 3 + sum(4 + (len(text) // 4 if isinstance(text, str) else 0) for text in texts)
