"""Accumulates one answer while it streams: its pieces, metadata, usage and finish reason."""

from typing import Any, TypeGuard

from streamcanary.client.core.answers.media import PartialAudio, text_field
from streamcanary.client.core.answers.tool_calls import PartialToolCall, ToolCalls, TooManyToolCalls
from streamcanary.client.core.decoding.surrogates import SurrogateJoiner, replace_halves
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.result import AudioOutput, StreamResult, ToolCall, ToolCallType
from streamcanary.events import ContentDelta, Delta, ReasoningDelta, RefusalDelta, ToolCallDelta
from streamcanary.model.outcome import Usage
from streamcanary.model.redaction.redactor import redactor_for

_MAX_NAME_LENGTH = 256
_MAX_DEPLOYMENT_LENGTH = 128
_MAX_COUNT = 2**53  # the largest integer that counters and spans hold exactly; a larger count is invalid

_MEDIA_FACTOR = 4  # images and audio can have so many times the characters of the answer's text


class AnswerTooLong(Exception):
    """The answer exceeds the limits of the client."""


class Answer:
    """The pieces of one answer, of either API. The ``add_`` methods add to ``deltas``, the events for the caller.

    ``finish_reason`` has the values of Chat Completions for both APIs; it is ``None`` until a terminal state arrives.
    Every ``add_`` method raises :class:`AnswerTooLong` when the answer exceeds the limits.
    """

    __slots__ = (
        "_audio",
        "_has_transcript_text",
        "_limits",
        "_max_characters",
        "_media_size",
        "_raw_fingerprint",
        "_raw_model",
        "_raw_tier",
        "_reasoning_joiner",
        "_refusal_joiner",
        "_size",
        "_text_joiner",
        "_tool_calls",
        "chunks",
        "created",
        "deltas",
        "finish_reason",
        "has_media",
        "has_other_output",
        "images",
        "model",
        "raw",
        "reasoning",
        "redactor",
        "refusal",
        "response_id",
        "service_tier",
        "system_fingerprint",
        "text",
        "usage",
    )

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._max_characters = limits.max_answer_characters
        self._raw_model: str | None = None  # this and the next two as the server sent them
        self._raw_fingerprint: str | None = None
        self._raw_tier: str | None = None
        self.redactor = redactor_for()  # for everything that is not content; the machine sets that of the request
        self._size = 0
        self._media_size = 0
        self._tool_calls = ToolCalls()
        self._text_joiner = SurrogateJoiner()
        self._reasoning_joiner = SurrogateJoiner()
        self._refusal_joiner = SurrogateJoiner()
        self._audio: PartialAudio | None = None
        self._has_transcript_text = False
        self.deltas: list[Delta] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.images: list[str] = []
        self.has_media = False  # images and audio, also such as are not kept
        self.has_other_output = False  # images, audio, and output of the provider's built-in tools, such as a search
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.system_fingerprint: str | None = None
        self.service_tier: str | None = None
        self.response_id: str | None = None
        self.created: int | None = None
        self.raw: bytes | None = None
        self.chunks = 0

    @property
    def size(self) -> int:
        """The number of characters of text, reasoning, refusal and tool arguments."""
        return self._size

    @property
    def has_output(self) -> bool:
        """Whether there is text, a refusal, a tool call or other output; reasoning alone is no answer."""
        return bool(
            self.text
            or self.refusal
            or self._tool_calls
            or self.has_other_output
            or self._text_joiner.held
            or self._refusal_joiner.held
        )

    def partial_result(self) -> StreamResult:
        """Return what has arrived of the answer."""
        return StreamResult(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            refusal="".join(self.refusal),
            tool_calls=self.tool_calls,
        )

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in the order in which they started."""
        return self._tool_calls.complete()

    @property
    def audio(self) -> AudioOutput | None:
        """The audio, if there is any."""
        return self._audio.complete() if self._audio else None

    def malformed_tool_call(self) -> str | None:
        """Return a message about the first function call whose arguments are not complete JSON, if there is one."""
        return self._tool_calls.malformed()

    def take_deltas(self) -> list[Delta]:
        """Return the deltas since the last call of this method."""
        deltas, self.deltas = self.deltas, []
        return deltas

    def flush(self) -> list[Delta]:
        """Return the last deltas, after the end of the answer: U+FFFD for half a surrogate pair without the other."""
        for joiner, add in (
            (self._reasoning_joiner, self.add_reasoning),
            (self._text_joiner, self.add_text),
            (self._refusal_joiner, self.add_refusal),
        ):
            if half := joiner.flush():
                add(half)
        for call in self._tool_calls:
            if half := call.joiner.flush():
                self._add_arguments(call, half)
        return self.take_deltas()

    def set_metadata(self, response_id: str | None, model: str | None, created: float | None) -> None:
        """Set id, model and creation time; the first id and the last model are kept."""
        if model and model is not self._raw_model and model != self._raw_model:
            self._raw_model, self.model = model, self.redactor.scrub_name(model, _MAX_NAME_LENGTH)
        if response_id and self.response_id is None:
            self.response_id = self.redactor.scrub(response_id, _MAX_NAME_LENGTH)
        if created is not None and 0 <= created <= _MAX_COUNT:
            self.created = int(created)

    def set_deployment(self, system_fingerprint: str | None, service_tier: str | None) -> None:
        """Set what the provider reports of how it serves the model; the last values are kept."""
        if system_fingerprint and system_fingerprint != self._raw_fingerprint:
            self._raw_fingerprint = system_fingerprint
            self.system_fingerprint = self.redactor.scrub_name(system_fingerprint, _MAX_DEPLOYMENT_LENGTH) or None
        if service_tier and service_tier != self._raw_tier:
            self._raw_tier = service_tier
            self.service_tier = self.redactor.scrub_name(service_tier, _MAX_DEPLOYMENT_LENGTH) or None

    def set_usage(
        self, input_tokens: int | None, output_tokens: int | None, reasoning_tokens: int | None = None
    ) -> None:
        """Set the token usage; if a count is missing or invalid, the usage so far is kept."""
        if _is_count(input_tokens) and _is_count(output_tokens):
            if not _is_count(reasoning_tokens) or reasoning_tokens > output_tokens:
                reasoning_tokens = 0
            self.usage = Usage(
                input_tokens=input_tokens, output_tokens=output_tokens, reasoning_tokens=reasoning_tokens
            )

    def set_finish_reason(self, reason: str) -> None:
        """Set the finish reason."""
        self.finish_reason = self.redactor.scrub_name(reason, 64) or None

    def add_text(self, piece: str) -> None:
        """Add a piece of the text."""
        if self._text_joiner.held or not piece.isascii():
            piece = self._text_joiner.join(piece)
        if piece:
            self._size += len(piece)
            if self._size > self._max_characters:
                raise self._too_long()
            self.text.append(piece)
            self.deltas.append(ContentDelta(piece))

    def add_reasoning(self, piece: str) -> None:
        """Add a piece of the reasoning."""
        if self._reasoning_joiner.held or not piece.isascii():
            piece = self._reasoning_joiner.join(piece)
        if piece:
            self._check_size(piece)
            self.reasoning.append(piece)
            self.deltas.append(ReasoningDelta(piece))

    def add_refusal(self, piece: str) -> None:
        """Add a piece of a refusal."""
        if self._refusal_joiner.held or not piece.isascii():
            piece = self._refusal_joiner.join(piece)
        if piece:
            self._check_size(piece)
            self.refusal.append(piece)
            self.deltas.append(RefusalDelta(piece))

    def add_tool_call(
        self,
        index: int | str | None,
        call_id: str | None,
        name: str | None,
        arguments: str | None,
        call_type: ToolCallType = "function",
        *,
        place: int | None = None,
        is_start: bool = False,
    ) -> PartialToolCall:
        """Add a piece of the tool call at ``index``, or start another one (see :meth:`ToolCalls.add`)."""
        try:
            call = self._tool_calls.add(index, call_id, name, arguments, call_type, place=place, is_start=is_start)
        except TooManyToolCalls as error:
            raise AnswerTooLong(str(error)) from None
        self._add_arguments(call, arguments or "")
        return call

    def add_whole_tool_call(
        self, index: int | str, call_id: str | None, name: str | None, arguments: str, call_type: ToolCallType
    ) -> None:
        """Add a tool call that arrives whole, or what is missing of one at ``index`` that arrived in pieces."""
        call = self._tool_calls.find(index)
        if call is None or call.has_other_id(call_id):
            self.add_tool_call(index, call_id, name, arguments, call_type)
        else:
            self._complete_call(call, call_id, name, arguments)

    def complete_tool_call(
        self, position: int, call_id: str | None, name: str | None, arguments: str, call_type: ToolCallType
    ) -> None:
        """Add what is missing of a tool call of the complete answer; ``position`` is its place among the calls."""
        call = self._tool_calls.find_whole(position, call_id)
        if call is None:
            self.add_tool_call(f"complete {position}", call_id, name, arguments, call_type)
        else:
            self._complete_call(call, call_id, name, arguments)

    def complete(self, whole: "Answer") -> None:
        """Add what is missing of the complete answer ``whole``; media only if there are none."""
        self.complete_reasoning("".join(whole.reasoning))
        self.complete_text("".join(whole.text))
        self.complete_refusal("".join(whole.refusal))
        for position, call in enumerate(whole.tool_calls):
            self.complete_tool_call(position, call.id, call.name, call.arguments, call.type)
        if not self.has_other_output:
            self.has_media, self.has_other_output = whole.has_media, whole.has_other_output
            self.images, self._audio = whole.images, whole._audio

    def complete_text(self, whole: str) -> None:
        """Add what is missing of the complete text, if the text so far is its start."""
        if missing := _missing(self.text, whole):
            self._text_joiner.held = ""
            self.add_text(missing)

    def complete_reasoning(self, whole: str) -> None:
        """Add what is missing of the complete reasoning, if the reasoning so far is its start."""
        if missing := _missing(self.reasoning, whole):
            self._reasoning_joiner.held = ""
            self.add_reasoning(missing)

    def complete_refusal(self, whole: str) -> None:
        """Add what is missing of the complete refusal, if the refusal so far is its start."""
        if missing := _missing(self.refusal, whole):
            self._refusal_joiner.held = ""
            self.add_refusal(missing)

    def add_audio(self, audio: dict[str, Any]) -> None:
        """Add a piece of audio. Its transcript is text of the answer, unless the answer has other text."""
        self._check_media_size(text_field(audio, "data"))
        transcript = text_field(audio, "transcript")
        if transcript and (self._has_transcript_text or not self.text):
            self._has_transcript_text = True
            self.add_text(transcript)
        else:
            self._check_size(transcript)
        self._audio = self._audio or PartialAudio()
        self._audio.add(audio)
        self.has_media = self.has_other_output = True

    def add_image(self, url: str) -> None:
        """Add an image; ``url`` can be a ``data:`` URL with the image in it, or empty if it is not known."""
        self._check_media_size(url)
        if url:
            self.images.append(replace_halves(url))
        self.has_media = self.has_other_output = True

    def _complete_call(self, call: PartialToolCall, call_id: str | None, name: str | None, arguments: str) -> None:
        had_name = bool(call.name)
        call.identify(call_id, name)
        missing = _missing(call.arguments, arguments)
        if missing:
            call.joiner.held = ""
        if missing or (call.name and not had_name):
            self._add_arguments(call, missing)

    def _add_arguments(self, call: PartialToolCall, piece: str) -> None:
        if call.joiner.held or not piece.isascii():
            piece = call.joiner.join(piece)
        if piece:
            self._check_size(piece)
            call.arguments.append(piece)
        self.deltas.append(ToolCallDelta(call.position, call.name, piece))

    def _check_size(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > self._max_characters:
            raise self._too_long()

    def _too_long(self) -> AnswerTooLong:
        return AnswerTooLong(self._limits.excess("max_answer_characters", "the answer"))

    def _check_media_size(self, piece: str) -> None:
        self._media_size += len(piece)
        if self._media_size > _MEDIA_FACTOR * self._limits.max_answer_characters:
            limit = _MEDIA_FACTOR * self._limits.max_answer_characters
            raise AnswerTooLong(
                f"images and audio of the answer have more than {limit} characters of base64, {_MEDIA_FACTOR} times "
                "max_answer_characters; if it is expected, raise max_answer_characters in limits"
            )


def _missing(pieces: list[str], whole: str) -> str:
    """Return what follows ``pieces`` in ``whole``; nothing if ``whole`` starts in another way."""
    if not whole:
        return ""
    received, whole = "".join(pieces), replace_halves(whole)
    return whole[len(received) :] if whole.startswith(received) else ""


def _is_count(tokens: int | None) -> TypeGuard[int]:
    return tokens is not None and 0 <= tokens <= _MAX_COUNT
