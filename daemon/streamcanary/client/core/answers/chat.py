"""Reads Chat Completions: chunks of a stream, or one complete body."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.answers.content_parts import add_parts, add_reasoning_details
from streamcanary.client.core.answers.media import image_url
from streamcanary.client.core.answers.tool_calls import arguments_text
from streamcanary.client.core.decoding.lenient_json import ErrorReported, LenientDecoder, decode_untyped
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.client.core.fault_classification import ERROR_EVENTS, find_error, keep_ignored, reports_error
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.events import Delta as DeltaEvent


class Function(Struct):
    """A part of a function call: the name comes first, the arguments follow in pieces, or complete as an object."""

    name: str | None = None
    arguments: Any = None


class CustomTool(Struct):
    """A part of a call of a custom tool, whose input has any form."""

    name: str | None = None
    input: str | None = None


class ToolCallChunk(Struct):
    """A part of a tool call; how servers number the calls is in ``tool_calls``."""

    index: int | str | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: CustomTool | None = None


class Delta(Struct):
    """What a chunk adds to the message.

    Content can be text or a list of parts. Servers use three names for reasoning. ``function_call`` is the form of tool
    calls before ``tool_calls``; some servers send both.
    """

    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] | None = None
    function_call: Function | None = None
    audio: Any = None
    images: Any = None


class CompletionDetails(Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: int | None = None


class TokenUsage(Struct, gc=False):
    """Token counts of the provider."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: CompletionDetails | None = None

    @property
    def reasoning_tokens(self) -> int | None:
        """The output tokens that the model used to reason, if they are reported."""
        details = self.completion_tokens_details
        return details.reasoning_tokens if details is not None else None


class Choice(Struct):
    """One choice: with a ``delta`` in a stream, with a ``message`` in a complete body."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    error: Any = None
    usage: TokenUsage | None = None


class GroqMetadata(Struct):
    """What Groq adds to a chunk: an error in the middle of a stream, and the usage in the last chunk."""

    error: Any = None
    usage: TokenUsage | None = None


class ChatPayload(Struct):
    """A chunk of a stream, a complete body, or an error: they share their outer shape.

    ``base_resp`` is MiniMax's, with a ``status_code`` that is 0 unless there is an error.
    """

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[Choice] | None = None
    usage: TokenUsage | None = None
    error: Any = None
    object: str | None = None
    type: str | None = None
    x_groq: GroqMetadata | None = None
    base_resp: Any = None
    system_fingerprint: str | None = None
    service_tier: str | None = None

    @property
    def is_error(self) -> bool:
        """Whether this is an error, in any of the forms that servers use.

        An empty ``error`` is none, as for the SDK: servers send it beside usage, beside Azure's prompt filter results,
        and in a heartbeat. Only ``{"error": {}}`` without an answer is an error that does not say which.
        """
        if self.error or "error" in (self.object, self.type):
            return True
        return self.error == {} and self.choices is None and self.id is None and self.usage is None


_LEGACY_CALL = "function_call"  # in place of an index
_MAX_INDEX_LENGTH: Final = 64  # of an index that is text
_NO_INDEX: Final = -1  # before the first choice
_MAX_REPETITIONS: Final = 16  # of the whole answer; each is compared with all of it
_decode = LenientDecoder(ChatPayload).decode


class ChatReader:
    """Reads one answer of Chat Completions. ``is_done``: ``[DONE]`` has arrived.

    More than one choice is never requested. If a server sends several, the one with index 0 is the answer, or the first
    one of the first chunk that has choices, if that has none with index 0.
    """

    __slots__ = (
        "_choice_index",
        "_is_in_messages",
        "_limits",
        "_metadata",
        "_repetitions",
        "answer",
        "ignored",
        "is_done",
        "progressed",
    )

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._choice_index: int | None = _NO_INDEX
        self._is_in_messages = False  # the answer arrives in messages without deltas
        self._repetitions = 0
        self._metadata: tuple[object, ...] | None = None  # of the last message
        self.answer = Answer(limits)
        self.is_done = False
        self.ignored: list[bytes] = []
        self.progressed = False

    def read_event(self, event: ServerSentEvent) -> list[DeltaEvent]:
        """Return the deltas that an event adds to the answer.

        Raises:
            ErrorReported: if the event is an error.
            msgspec.DecodeError: if it is not JSON.
            AnswerTooLong: if the answer exceeds the limits.
        """
        self.progressed = False
        data = event.data
        if data.startswith(b"[DONE]"):
            self.is_done = True
            return []
        if not data or data.isspace():
            if event.event in ERROR_EVENTS:
                raise ErrorReported(None)
            return []
        message = _decode(data)
        if message.error or (event.event != "message" and event.event in ERROR_EVENTS):
            raise ErrorReported(decode_untyped(data))
        if message.x_groq is not None and message.x_groq.error:
            raise ErrorReported(message.x_groq.error)
        if not message.choices and self._is_ignored(message, data):
            return []
        self._add(message)
        return self.answer.take_deltas()

    def read_body(self, body: bytes) -> list[DeltaEvent] | None:
        """Return the deltas of a complete JSON body, ``None`` if it is no completion; raises as :meth:`read_event`."""
        message = _decode(body)
        if message.is_error:
            raise ErrorReported(decode_untyped(body))
        if not message.choices:
            if (error := find_error(body)) is not None:
                raise ErrorReported(error)
            return None
        self.is_done = True
        self.answer.raw = body
        self._add(message)
        return self.answer.take_deltas()

    def _is_ignored(self, message: ChatPayload, data: bytes) -> bool:
        """Return whether a message without choices is not of this API, and keep it.

        Raises:
            ErrorReported: if it is an error.
        """
        if message.is_error:
            raise ErrorReported(decode_untyped(data))
        is_part = message.choices is not None or message.usage is not None or message.x_groq is not None
        if is_part and not message.base_resp:
            return False
        value = {"base_resp": message.base_resp} if is_part else decode_untyped(data)
        if reports_error(value):
            raise ErrorReported(decode_untyped(data))
        if is_part or message.id is not None:
            return False
        keep_ignored(self.ignored, data)
        return True

    def _add(self, message: ChatPayload) -> None:
        answer = self.answer
        answer.chunks += 1
        metadata = (message.model, message.created, message.system_fingerprint, message.service_tier)
        if metadata != self._metadata or answer.response_id is None:  # else as in the last message
            self._metadata = metadata
            answer.set_metadata(message.id, message.model, message.created)
            answer.set_deployment(message.system_fingerprint, message.service_tier)
        choice = message.choices[0] if message.choices else None
        usage = message.usage or (choice and choice.usage) or (message.x_groq and message.x_groq.usage)
        if usage:
            answer.set_usage(usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens)
        if choice is not None and choice.index != self._choice_index:
            choice = self._select_choice(message.choices or ())
        if choice is None:
            return
        if choice.error:
            raise ErrorReported(choice.error)
        if choice.finish_reason:
            answer.set_finish_reason(choice.finish_reason)
        delta = choice.delta
        if delta is None:
            if choice.message is not None:
                self._add_message(choice.message)
            return
        if content := delta.content:
            if isinstance(content, str):
                answer.add_text(content)
            else:
                self.progressed |= add_parts(answer, content)
        if (
            delta.reasoning_content
            or delta.reasoning
            or delta.tool_calls
            or delta.refusal
            or delta.reasoning_details
            or delta.function_call
            or delta.audio
            or delta.images
        ):
            self._add_uncommon(delta)

    def _select_choice(self, choices: Sequence[Choice]) -> Choice | None:
        """Return the choice that belongs to the answer; without an index, its index is 0."""
        if self._choice_index == _NO_INDEX:
            self._choice_index = next((choice.index for choice in choices if not choice.index), choices[0].index)
        index = self._choice_index or 0
        return next((choice for choice in choices if (choice.index or 0) == index), None)

    def _add_message(self, message: Delta) -> None:
        """Add a message in place of a delta: all of the answer, or, after deltas, all of it once more."""
        answer = self.answer
        if self._is_in_messages or not (answer.has_output or answer.reasoning):
            self._add_whole(message)
            self._is_in_messages = bool(answer.has_output or answer.reasoning)
        elif self._repetitions < _MAX_REPETITIONS:
            self._repetitions += 1
            whole = ChatReader(self._limits)
            whole._add_whole(message)
            self.progressed = whole.progressed
            answer.complete(whole.answer)

    def _add_whole(self, message: Delta) -> None:
        if message.content:
            self.progressed |= add_parts(self.answer, message.content)
        self._add_uncommon(message, is_whole=True)

    def _add_uncommon(self, delta: Delta, *, is_whole: bool = False) -> None:
        answer = self.answer
        if reasoning := delta.reasoning_content or delta.reasoning:
            answer.add_reasoning(reasoning)
        elif delta.reasoning_details:
            self.progressed |= add_reasoning_details(answer, delta.reasoning_details)
        if delta.refusal:
            answer.add_refusal(delta.refusal)
        if delta.tool_calls:
            self._add_tool_calls(delta.tool_calls, is_whole=is_whole)
        elif (call := delta.function_call) is not None and (call.name or call.arguments):
            answer.add_tool_call(_LEGACY_CALL, None, call.name, arguments_text(call.arguments))
        if isinstance(delta.audio, dict):
            answer.add_audio(delta.audio)
            self.progressed = True
        for image in delta.images if isinstance(delta.images, list) else ():
            answer.add_image(image_url(image))
            self.progressed = True

    def _add_tool_calls(self, calls: list[ToolCallChunk], *, is_whole: bool) -> None:
        """Add the pieces of tool calls. Without index, several in one chunk are numbered by their position."""
        for position, call in enumerate(calls):
            index, place = call.index, None
            if isinstance(index, str):
                index = int(index) if index.isdecimal() and len(index) < 10 else index[:_MAX_INDEX_LENGTH] or None
            if index is None and is_whole:
                index = position
            elif index is None and len(calls) > 1:
                place = position
            if call.type == "custom" or call.custom is not None:
                custom = call.custom or CustomTool()
                self.answer.add_tool_call(index, call.id, custom.name, custom.input, "custom", place=place)
            else:
                function = call.function or Function()
                arguments = arguments_text(function.arguments)
                self.answer.add_tool_call(index, call.id, function.name, arguments, place=place)
