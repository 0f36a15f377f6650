"""The result of a stream: a complete answer, or the exception with its faults and attempts."""

import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct
from openai import OpenAIError

from streamcanary.client.core.decoding.surrogates import replace_escaped_halves
from streamcanary.model.faults import Fault
from streamcanary.model.outcome import Attempt, OutputSpeed, Usage

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

_MAX_INTEGER_DIGITS = 4300  # Python refuses to convert more digits into an integer


ToolCallType = Literal["function", "custom"]


class ToolCall(Struct, frozen=True, kw_only=True):
    """A complete tool call that the model requests.

    ``arguments`` is JSON as the model wrote it; of a custom tool it is the input, in any form. ``id`` is ``""`` for the
    ``function_call`` of older servers.
    """

    id: str
    name: str
    arguments: str
    type: ToolCallType = "function"


class AudioOutput(Struct, frozen=True, kw_only=True):
    """Audio of an answer: ``data`` in base64. ``expires_at``: until when the provider keeps it, Unix time."""

    id: str = ""
    data: str = ""
    transcript: str = ""
    expires_at: int | None = None


class StreamResult(Struct, frozen=True, kw_only=True):
    """A complete answer.

    ``model`` is the model that answered. ``degraded`` is ``None`` for a streamed answer of the primary route, else
    ``"fallback"``, ``"non_streaming"`` or ``"cache"``. Times are seconds: ``time_to_first_token`` of the attempt that
    answered, ``max_gap`` and ``median_gap``, the longest and the median time between two of its tokens, and
    ``duration`` of the whole call. ``output_speed`` is its speed after the first token, ``None`` if it is too short to
    measure, or arrived at once. ``system_fingerprint`` and ``service_tier`` are what the provider reports.
    ``unknown_finish_reason``: ``finish_reason`` is none of the known ones, so the answer may be incomplete.
    ``images``: URLs, also ``data:`` URLs. ``text`` is the transcript of the audio if there is no other text.
    ``has_media``: there are images or audio, also such as only ``response`` has.
    """

    text: str
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    request_id: str | None = None
    response_id: str | None = None
    created: int | None = None
    api: Literal["chat", "responses"] = "chat"
    raw: bytes | None = None
    attempts: tuple[Attempt, ...] = ()
    degraded: str | None = None
    time_to_first_token: float | None = None
    max_gap: float | None = None
    median_gap: float | None = None
    output_speed: OutputSpeed | None = None
    duration: float = 0.0
    unknown_finish_reason: bool = False
    images: tuple[str, ...] = ()
    audio: AudioOutput | None = None
    has_media: bool = False

    @property
    def response(self) -> "ChatCompletion | Response":
        """The answer as an object of the SDK, built at each access: a ``ChatCompletion`` or a ``Response``."""
        from openai.types.chat import ChatCompletion
        from openai.types.responses import Response

        if self.raw is not None:
            decoded = decode_raw(self.raw)
            return ChatCompletion.construct(**decoded) if self.api == "chat" else Response.construct(**decoded)
        return ChatCompletion.construct(**self._chat_completion())

    def _chat_completion(self) -> dict[str, Any]:
        """Return a streamed chat answer as the fields of a ``ChatCompletion``."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": self.refusal or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.finish_reason == "function_call" and self.tool_calls:
            message["function_call"] = _function(self.tool_calls[0])
        elif self.tool_calls:
            message["tool_calls"] = [_tool_call(call) for call in self.tool_calls]
        if self.images:
            message["images"] = [{"type": "image_url", "image_url": {"url": url}} for url in self.images]
        if self.audio is not None:
            message["audio"] = msgspec.to_builtins(self.audio)
            if self.text == self.audio.transcript:
                message["content"] = None
        completion: dict[str, Any] = {
            "id": self.response_id or "",
            "object": "chat.completion",
            "created": self.created or 0,
            "model": self.model or "",
            "choices": [{"index": 0, "finish_reason": self.finish_reason or "stop", "message": message}],
        }
        if self.usage:
            prompt, completed = self.usage.input_tokens, self.usage.output_tokens
            completion["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completed,
                "total_tokens": prompt + completed,
            }
        return completion


def _tool_call(call: ToolCall) -> dict[str, Any]:
    if call.type == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": _function(call)}


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}


def decode_raw(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in ``raw``; accepts invalid UTF-8, half surrogate pairs and integers of any length."""
    decoded: dict[str, Any] = json.loads(
        replace_escaped_halves(raw.decode("utf-8", "replace")),
        parse_int=lambda digits: int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits),
    )
    return decoded


class StreamFailed(OpenAIError):
    """The call failed: no attempt gave a complete answer, and no attempt is left.

    ``fault`` is the last fault, ``attempts`` are all attempts of the call. ``partial_text`` is the text that the last
    attempt had received when it failed; it is for diagnosis only.
    """

    def __init__(self, fault: Fault, attempts: tuple[Attempt, ...] = (), partial_text: str = "") -> None:
        count = len(attempts)
        super().__init__(f"{fault} (after {count} attempt{'' if count == 1 else 's'})")
        self.fault = fault
        self.attempts = attempts
        self.partial_text = partial_text
