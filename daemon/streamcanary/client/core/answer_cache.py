"""An LRU cache of complete answers, for the fallback ``Cached``."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from streamcanary.client.result import StreamResult

_MAX_CHARACTERS = 16 << 20  # of all answers in total


def request_fingerprint(endpoint: str, arguments: Mapping[str, Any]) -> bytes | None:
    """Return a hash that identifies a request, or ``None`` if its arguments cannot be encoded as JSON."""
    try:
        return sha256(msgspec.json.encode([endpoint, sorted(arguments.items())], enc_hook=_encode_sdk_model)).digest()
    except (TypeError, ValueError, RecursionError):
        return None


def _encode_sdk_model(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # messages can contain models of the SDK
        return value.model_dump()
    raise TypeError


class AnswerCache:
    """Complete answers by request fingerprint; safe to use from threads. Times are monotonic seconds."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, tuple[float, StreamResult]] = OrderedDict()
        self._size = 0

    def put(self, request: bytes, result: StreamResult, now: float) -> None:
        """Store an answer; evict the least recently used ones over the limits."""
        with self._lock:
            self._drop(request)
            self._answers[request] = (now, result)
            self._size += _size(result)
            while len(self._answers) > self._max_entries or self._size > _MAX_CHARACTERS:
                self._drop(next(iter(self._answers)))

    def get(self, request: bytes, max_age: float, now: float) -> StreamResult | None:
        """Return the answer to ``request`` if there is one at most ``max_age`` seconds old."""
        with self._lock:
            if request not in self._answers:
                return None
            stored_at, result = self._answers[request]
            if now - stored_at > max_age:
                self._drop(request)
                return None
            self._answers.move_to_end(request)
            return result

    def _drop(self, request: bytes) -> None:
        if (entry := self._answers.pop(request, None)) is not None:
            self._size -= _size(entry[1])


def _size(result: StreamResult) -> int:
    tools = sum(len(call.arguments) for call in result.tool_calls)
    media = sum(map(len, result.images)) + (len(result.audio.data) if result.audio else 0)
    return len(result.text) + len(result.reasoning) + len(result.refusal) + tools + media + len(result.raw or b"")
