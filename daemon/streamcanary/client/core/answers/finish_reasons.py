"""Classifies finish reasons, which providers spell in many ways, by what they say about the answer.

Case, separators and the enumeration name that some servers put in front do not matter: ``MAX_TOKENS``, ``max-tokens``
and ``FinishReason.MAX_TOKENS`` are the same. A detail after a colon refines the reason: ``content_filter: RECITATION``.

| meaning | the answer |
|---|---|
| ``WHOLE`` | complete, or complete up to a tool call |
| ``TOKEN_LIMIT`` | cut at the token limit of the request |
| ``CONTEXT_LIMIT`` | cut because the context window of the model is full |
| ``FILTERED`` | cut by the content filter, in the spelling of Chat Completions |
| ``UNFINISHED`` | not finished: servers send these words where others send ``null`` |
| ``UNKNOWN`` | whatever the server means: the result is an answer with ``unknown_finish_reason`` |
| a fault kind | not usable: the server failed, or removed or cut the answer for its content |

``content_filter`` with text is an answer, because applications know that reason and find it in ``finish_reason``. They
do not know ``SAFETY`` or ``sensitive``, and would take the cut text for the whole: these are ``content_policy``.

Sources: API references of OpenAI, Azure, Anthropic, Gemini and Vertex, Mistral, Cohere, Bedrock (Converse), watsonx,
DeepSeek, Zhipu, Fireworks, Together, OpenRouter; the code of vLLM, SGLang, TGI and llama.cpp.
"""

import re
from enum import StrEnum
from functools import lru_cache

from streamcanary.model.faults import FaultKind

_MAX_LENGTH = 64  # characters that are looked at


class FinishMeaning(StrEnum):
    """What a finish reason says about the answer, if it is no fault."""

    WHOLE = "whole"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - no password
    CONTEXT_LIMIT = "context_limit"
    FILTERED = "filtered"
    UNFINISHED = "unfinished"
    UNKNOWN = "unknown"


_REASONS: dict[FinishMeaning | FaultKind, str] = {
    FinishMeaning.WHOLE: """
        stop eos eos_token eos_found end end_turn end_of_turn stop_sequence stop_token stop_string complete completed
        finished done tool_calls tool_call tool_use function_call function_calls
    """,
    FinishMeaning.TOKEN_LIMIT: "length max_tokens max_output_tokens max_new_tokens max_length token_limit",
    FinishMeaning.CONTEXT_LIMIT: "model_length model_context_window_exceeded context_length_exceeded error_limit",
    FinishMeaning.FILTERED: "content_filter",
    FinishMeaning.UNFINISHED: "null none not_finished unspecified finish_reason_unspecified in_progress",
    FaultKind.CONTENT_POLICY: """
        content_filtered filtered filter safety sensitive recitation blocklist prohibited_content spii language refusal
        image_safety image_prohibited_content image_recitation guardrail guardrails guardrail_intervened moderation
        error_toxic model_armor content_policy content_policy_violation
    """,
    FaultKind.MALFORMED_TOOL_CALL: """
        malformed_function_call malformed_tool_call malformed_tool_use unexpected_tool_call
    """,
    FaultKind.OVERLOADED: "insufficient_system_resource overloaded engine_overloaded",
    FaultKind.STREAM_ERROR: """
        error network_error server_error internal_error engine_error abort aborted cancel cancelled canceled user_cancel
        failed failure timeout time_limit malformed_response malformed_model_output too_many_tool_calls
    """,
    FaultKind.BAD_REQUEST: "missing_thought_signature",
}
_MEANINGS = {reason: meaning for meaning, reasons in _REASONS.items() for reason in reasons.split()}
_SEPARATORS = re.compile(r"[\s._-]+")
_ENUMERATION = re.compile(r"^finish_?reason_(?!unspecified)")


@lru_cache(maxsize=256)
def meaning_of(reason: str) -> FinishMeaning | FaultKind:
    """Return what ``reason`` says about the answer; a :class:`FaultKind` if it says that there is none to use."""
    text = reason[:_MAX_LENGTH].casefold()
    if meaning := _MEANINGS.get(_normalize(text)):
        return meaning
    head, colon, detail = text.partition(":")
    meaning = _MEANINGS.get(_normalize(head), FinishMeaning.UNKNOWN) if colon else FinishMeaning.UNKNOWN
    if meaning is FinishMeaning.FILTERED and detail.strip():
        return FaultKind.CONTENT_POLICY
    return meaning


def explains_empty_answer(reason: str) -> bool:
    """Return whether ``reason`` says why an answer without output ends: a limit, or the content filter."""
    return meaning_of(reason) in (FinishMeaning.TOKEN_LIMIT, FinishMeaning.CONTEXT_LIMIT, FinishMeaning.FILTERED)


def is_known(reason: str | None) -> bool:
    """Return whether ``reason`` is a known one; ``None``, of an answer that ends without one, counts as known."""
    return reason is None or meaning_of(reason) is not FinishMeaning.UNKNOWN


def is_cut_at_limit(reason: str | None) -> bool:
    """Return whether ``reason`` says that the answer was cut at the token limit of the request."""
    return reason is not None and meaning_of(reason) is FinishMeaning.TOKEN_LIMIT


def _normalize(text: str) -> str:
    return _ENUMERATION.sub("", _SEPARATORS.sub("_", text).strip("_"))
