"""Recognizes reasoning that a server without a reasoning parser sends as text: ``<think>…</think>``."""

import re
from typing import Final

_START: Final = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)


def is_unfinished_reasoning(text: str) -> bool:
    """Return whether ``text`` is reasoning and nothing else: after ``<think>`` there is no end, or only the end."""
    start = _START.match(text)
    if start is None:
        return False
    _, end, answer = text.lower().rpartition(f"</{start[1].lower()}>")
    return not end or not answer.strip()
