"""A provider that plants its client's key in every field of its responses, and a search for the key in any output."""

import asyncio
import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

import re2

from support.servers.tcp import TcpServer

KEY: Final = "sk-proj-qX7wZk93LmVb2TnRdc8Hy4JfGs5PuE1oA6iCwQ"
"""The API key; any eight characters after its prefix are secret."""

Api = Literal["chat", "responses"]
Encoder = Callable[[str], str]

FORMS: Final[dict[str, Encoder]] = {
    "whole": str,
    "eight characters": lambda key: key[21:29],
    "the end": lambda key: key[-12:],
    "upper case": str.upper,
    "base64": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "URL-safe base64": lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
    "percent-encoded": lambda key: "".join(f"%{ord(character):02X}" for character in key),
    "escaped for JSON": lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
    "hexadecimal": lambda key: key.encode().hex(),
    "in quotation marks": lambda key: f'"{key}" <{quote(key)}>',
}
"""What of the key a provider repeats, and how."""

_STRUCTURE = frozenset({"type", "object", "role"})  # without these no client would understand a response


def leaked_slices(text: str, key: str = KEY) -> set[str]:
    """Return the slices of ``key`` of eight characters that ``text`` has: as they are, escaped, in base64 or as hex."""
    in_any_case, in_base64 = _patterns(key.removeprefix("sk-proj-"))
    found: set[bytes] = set()
    for decoded in _decoded(text):
        found |= set(in_any_case.findall(decoded.lower().encode()))
        found |= set(in_base64.findall(decoded.replace("-", "+").replace("_", "/").encode()))
    return {slice_.decode() for slice_ in found}


@cache
def _patterns(secret: str) -> tuple[Any, Any]:
    """Return expressions for the slices of ``secret``, plain or as hex, and in base64: RE2 finds all in one pass."""
    plain = [*_slices(secret.lower(), 8), *_slices(secret.encode().hex(), 16)]
    encoded = [base64.b64encode(b"." * shift + secret.encode()).decode()[4:-4] for shift in range(3)]
    in_base64 = [piece for inner in encoded for piece in _slices(inner, 11)]
    return tuple(re2.compile("|".join(map(re2.escape, pieces)).encode()) for pieces in (plain, in_base64))  # type: ignore[return-value]


def _slices(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(len(text) - size + 1))


def _decoded(text: str) -> Iterator[str]:
    for _ in range(3):
        yield text
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), html.unescape(unquote(text)))
        text = text.replace("\\\\", "\\")


def plant(template: Any, text: str, keep: frozenset[str] = _STRUCTURE) -> Any:
    """Return ``template`` with ``text`` in place of every string, except for the values of the keys ``keep``."""
    if isinstance(template, dict):
        return {key: value if key in keep else plant(value, text, keep) for key, value in template.items()}
    if isinstance(template, list):
        return [plant(item, text, keep) for item in template]
    return text if isinstance(template, str) else template


_CHAT_CHUNK = {"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "f"}
_ERROR: dict[str, Any] = {"message": "m", "type": "server_error", "code": "c", "param": "p", "detail": "d"}


def _chat_events(delta: dict[str, Any], finish_reason: str) -> list[dict[str, Any]]:
    return [
        {**_CHAT_CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}]},
        {**_CHAT_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]},
    ]


def _response(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": "i", "object": "response", "created_at": 1, "status": status, "model": "m", "output": [], **fields}


def _responses_events(kind: str, status: str, **fields: Any) -> list[dict[str, Any]]:
    delta = {"item_id": "i", "output_index": 0, "content_index": 0, "delta": "d"}
    return [
        {"type": "response.created", "response": _response("in_progress")},
        {"type": "response.output_text.delta", **delta},
        {"type": kind, "response": _response(status, **fields)},
    ]


_TOOL_CALL = {"index": 0, "id": "i", "type": "function", "function": {"name": "n", "arguments": "a"}}
_KEEP_STATUS = _STRUCTURE | {"status"}
_STREAMS: Final[dict[Api, dict[str, tuple[list[dict[str, Any]], frozenset[str]]]]] = {
    "chat": {
        "an answer": (_chat_events({"content": "c"}, "stop"), _STRUCTURE | {"finish_reason"}),
        "an unknown finish reason": (_chat_events({"content": "c"}, "f"), _STRUCTURE),
        "no content": (_chat_events({}, "f"), _STRUCTURE),
        "a cut answer": (_chat_events({"content": "c"}, "length"), _STRUCTURE | {"finish_reason"}),
        "a refusal": (_chat_events({"refusal": "r"}, "stop"), _STRUCTURE | {"finish_reason"}),
        "reasoning": (_chat_events({"reasoning_content": "r"}, "stop"), _STRUCTURE | {"finish_reason"}),
        "a tool call": (_chat_events({"tool_calls": [_TOOL_CALL]}, "tool_calls"), _STRUCTURE | {"finish_reason"}),
        "an error in a chunk": ([{**_CHAT_CHUNK, "choices": [], "x_groq": {"error": "e"}}], _STRUCTURE),
        "an error": ([{"error": _ERROR}], _STRUCTURE),
        "an error of any type": ([{"error": _ERROR}], frozenset()),
        "an error as text": ([{"error": "e"}], _STRUCTURE),
        "a list of errors": ([{"errors": [_ERROR], "error": {"details": [_ERROR]}}], _STRUCTURE),
        "no structure": (_chat_events({"content": "c"}, "stop"), frozenset()),
    },
    "responses": {
        "an answer": (_responses_events("response.completed", "completed"), _KEEP_STATUS),
        "an incomplete answer": (
            _responses_events("response.incomplete", "incomplete", incomplete_details={"reason": "r"}),
            _KEEP_STATUS,
        ),
        "a failure": (_responses_events("response.failed", "failed", error=_ERROR), _KEEP_STATUS),
        "an unknown status": (_responses_events("response.completed", "s", error=_ERROR), _STRUCTURE),
        "an error": ([{"type": "error", **_ERROR, "type": "error"}], _STRUCTURE),  # noqa: F601
        "no structure": (_responses_events("response.completed", "completed"), frozenset()),
    },
}
_STATUSES: Final = (302, 400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 529)
_ERROR_BODIES: Final[dict[str, Any]] = {
    "an object": {"error": _ERROR},
    "a list": [{"error": {**_ERROR, "details": [{"reason": "r"}]}}],
    "text in an object": {"error": "e", "message": "m"},
    "fields of a validation": {"detail": [{"loc": ["body", "l"], "msg": "m", "type": "t"}]},
    "metadata": {"error": {"message": "m", "metadata": {"raw": "r", "provider_name": "n"}}},
}


def planted_responses(text: str, api: Api) -> dict[str, bytes]:
    """Return complete HTTP responses with ``text`` in every field, by what they are."""
    responses: dict[str, bytes] = {}
    for name, (events, keep) in _STREAMS[api].items():
        data = "".join(f"data: {json.dumps(plant(event, text, keep))}\n\n" for event in events)
        responses[name] = http_response(200, data + "data: [DONE]\n\n", text)
        responses[f"{name} without an end"] = http_response(200, data, text)
    for name, body in _ERROR_BODIES.items():
        encoded = json.dumps(plant(body, text))
        responses[f"{name} as JSON"] = http_response(200, encoded, text, "application/json")
        responses[f"{name} as an error event"] = http_response(200, f"event: error\ndata: {encoded}\n\n", text)
        responses[f"{name} as a field"] = http_response(200, f"error: {encoded}\n\n", text)
        responses[f"{name} with status 400"] = http_response(400, encoded, text, "application/json")
    for status in _STATUSES:
        encoded = json.dumps(plant({"error": _ERROR}, text))
        responses[f"status {status}"] = http_response(status, encoded, text, "application/json")
        responses[f"status {status} with text"] = http_response(status, f"no: {text}", text, "text/plain")
    chunk = json.dumps(plant(_CHAT_CHUNK, text))
    answer = json.dumps(plant({**_CHAT_CHUNK, "choices": []}, "x") | {text: text})
    responses["keys of an object"] = http_response(200, f"data: {answer}\n\n", text)
    error = json.dumps({"error": {text: text, "message": {text: text}}, text: {text: text}})
    responses["keys of an error"] = http_response(400, error, text, "application/json")
    whole = http_response(503, error, text, "application/json")
    responses["an informational response"] = f"HTTP/1.1 103 {text}\r\nLink: {text}\r\n\r\n".encode() + whole
    head, _, body = whole.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    extension, trailer = b"%x;x=%s" % (len(body), text.encode()), f"X-Trailer: {text}".encode()
    responses["chunks"] = b"\r\n".join([head, b"", extension, body, b"0", trailer, b"", b""])
    responses["broken JSON"] = http_response(200, f"data: {chunk[:-1]}{text}\n\n", text)
    responses["an unknown field"] = http_response(200, f"{text}: {text}\nevent: {text}\ndata: {text}\n\n", text)
    responses["a page"] = http_response(200, f"<html>{text}</html>", text, "text/html")
    responses["an unknown type"] = http_response(200, text, text, f"text/{text}")
    responses["an unknown encoding"] = http_response(200, text, text).replace(
        b"\r\n\r\n", f"\r\nContent-Encoding: {text}\r\n\r\n".encode(), 1
    )
    responses["an invalid header"] = f"HTTP/1.1 200 OK\r\n{text}\r\n\r\n".encode()
    responses["an invalid status line"] = f"HTTP/1.1 {text} {text}\r\n\r\n".encode()
    return responses


def http_response(status: int, body: str, text: str, content_type: str = "text/event-stream") -> bytes:
    """Return a response with ``text`` in its reason phrase, its headers and ``body``."""
    encoded = body.encode()
    headers = {
        "Content-Type": content_type,
        "Content-Length": len(encoded),
        "Connection": "close",
        "Location": f"/v1/{text}?key={text}",
        f"X-{re.sub('[^A-Za-z0-9]', '', text)}": text,
        **dict.fromkeys(("Retry-After", "Retry-After-Ms", "X-Ratelimit-Remaining-Tokens"), text),
        **dict.fromkeys(("X-Request-Id", "Server", "Via", "Set-Cookie", "Www-Authenticate", "Openai-Version"), text),
    }
    head = "\r\n".join([f"HTTP/1.1 {status} {text}", *(f"{name}: {value}" for name, value in headers.items())])
    return f"{head}\r\n\r\n".encode() + encoded


class PlantingServer(TcpServer):
    """Answers each request for a model with the response of that name in ``responses``.

    ``GET`` is answered with a list of models, and with an error for a single model.
    """

    def __init__(self, responses: dict[str, bytes], text: str) -> None:
        self._responses = responses
        self._text = text
        self.served: list[str] = []
        super().__init__(self._answer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if length := re.search(r"content-length: (\d+)", head, re.IGNORECASE):
            model = json.loads(await reader.readexactly(int(length[1])))["model"]
            self.served.append(model)
            writer.write(self._responses[model])
        elif head.startswith("GET /v1/models "):
            models = {"object": "list", "data": [{"id": self._text, "object": "model", "owned_by": self._text}]}
            writer.write(http_response(200, json.dumps(models), self._text, "application/json"))
        else:
            body = json.dumps({"error": plant(_ERROR, self._text)})
            writer.write(http_response(404, body, self._text, "application/json"))
        await writer.drain()
