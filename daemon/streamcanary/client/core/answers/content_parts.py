"""Reads content of Chat Completions that is a list of typed parts, and reasoning in parts.

Text is in parts of type ``text`` (OpenAI, Mistral) or ``output_text``, reasoning in ``thinking`` (Mistral) or
``reasoning``. Images, audio and files are other output. All other parts, such as ``reference``, are skipped.
"""

from typing import Any, Final

import msgspec

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.answers.media import image_url, text_field

_TEXT_TYPES: Final = frozenset({"text", "output_text", "input_text", ""})
_REASONING_FIELDS: Final = ("thinking", "reasoning", "text", "summary")
_MEDIA: Final = ("image", "audio", "video", "file", "document")  # in names of types: image_url, output_audio


def add_parts(answer: Answer, content: object) -> bool:
    """Add content in parts to the answer; return whether there were parts without text.

    Raises:
        msgspec.DecodeError: if a part is unreadable and without a type, because skipping it would lose text.
        AnswerTooLong: if the answer exceeds the limits.
    """
    has_others = False
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            answer.add_text(part)
        elif isinstance(part, dict):
            has_others |= _add_part(answer, part)
        else:
            raise msgspec.DecodeError("the content of a chunk is neither text nor parts with text")
    return has_others


def _add_part(answer: Answer, part: dict[str, Any]) -> bool:
    part_type = text_field(part, "type")
    if part_type in _TEXT_TYPES:
        text = part.get("text")
        if isinstance(text, str):
            answer.add_text(text)
        elif text is not None or not part_type:
            raise msgspec.DecodeError("the content of a chunk has a part of text without text")
        return False
    if part_type in ("thinking", "reasoning"):
        return not _add_reasoning(answer, part)
    if part_type == "refusal":
        answer.add_refusal(text_field(part, "refusal"))
        return False
    if any(word in part_type for word in _MEDIA):
        answer.add_image(image_url(part))
    return True


def add_reasoning_details(answer: Answer, details: object) -> bool:
    """Add ``reasoning_details`` (OpenRouter); return whether there were some without text, such as encrypted ones."""
    has_others = False
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            has_others |= not _add_reasoning(answer, detail)
    return has_others


def _add_reasoning(answer: Answer, part: dict[str, Any]) -> bool:
    """Add the text of a part of reasoning, which can be a list of parts itself; return whether there is any."""
    for field in _REASONING_FIELDS:
        value = part.get(field)
        texts = [
            inner if isinstance(inner, str) else text_field(inner, "text")
            for inner in (value if isinstance(value, list) else [value])
            if isinstance(inner, (str, dict))
        ]
        if text := "".join(texts):
            answer.add_reasoning(text)
            return True
    return False
