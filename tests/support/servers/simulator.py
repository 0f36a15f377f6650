"""Simulator timings for tests, and a plain HTTP client that returns the raw response."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import httpx2

from streamcanary.simulator import Simulator, Timings
from support.http_client import NO_CA_CONTEXT

FAST_TIMINGS = Timings(
    first_token=0.0,
    chunk_gap=0.0,
    slow_first_token=0.1,
    slow_gap=0.02,
    keepalive_gap=0.01,
    retry_after=0.2,
    hang=0.2,
)
"""Slow faults take a fifth of a second, everything else no time."""

HANGING_TIMINGS = Timings(first_token=0.0, chunk_gap=0.0, hang=900.0)
"""Hanging faults outlast every test: the client has to disconnect."""

_EVENT = re.compile(rb"\Aevent: [^\n]*\n")
_PEM = Path(__file__).with_name("loopback.pem")  # self-signed, for 127.0.0.1, ::1 and localhost; for tests only


Api = Literal["chat", "responses"]
APIS: Final[dict[Api, str]] = {"chat": "/chat/completions", "responses": "/responses"}
"""The APIs that support every fault, and their paths below the base URL."""


class RawAnswer(NamedTuple):
    """A response as received; ``ending`` is ``whole``, or the name of the client's exception."""

    status: int | None
    content_type: str | None
    headers: dict[str, str]
    body: bytes
    ending: str
    seconds: float

    @property
    def events(self) -> list[Any]:
        """The JSON of each complete event; ``[DONE]`` and invalid JSON are omitted."""
        return list(_parse(self.body))

    @property
    def text(self) -> str:
        """The text of the deltas, of either API."""
        deltas = (choice["delta"] for event in self.events for choice in event.get("choices", ()))
        chat = "".join(delta.get("content") or "" for delta in deltas)
        return chat + "".join(e["delta"] for e in self.events if e.get("type") == "response.output_text.delta")

    @property
    def finish_reason(self) -> str | None:
        """The last ``finish_reason`` that is not null."""
        reasons = [choice.get("finish_reason") for event in self.events for choice in event.get("choices", ())]
        return next((reason for reason in reversed(reasons) if reason), None)

    @property
    def last_event(self) -> str | None:
        """The type of the last event, and its reason or code; for the Responses API."""
        event = self.events[-1] if self.events else {}
        response = event.get("response") or {}
        error = response.get("error") or event.get("error") or event
        why = (response.get("incomplete_details") or {}).get("reason") or error.get("code")
        return " ".join(filter(None, (event.get("type"), why))) or None

    @property
    def has_done_marker(self) -> bool:
        """Whether the stream has ``[DONE]``."""
        return b"[DONE]" in self.body

    @property
    def json(self) -> Any:
        """The body as parsed JSON."""
        return json.loads(self.body)


async def fetch_raw(
    simulator: Simulator,
    model: str,
    *,
    api: Api = "chat",
    stream: bool = True,
    verify: ssl.SSLContext | None = None,
    **more: Any,
) -> RawAnswer:
    """Request an answer of ``model`` from ``simulator`` with a plain client, and return the raw response."""
    body = {"model": model, **prompt_field(api), "stream": stream, **more}
    started = time.monotonic()
    response, received = None, bytearray()
    async with httpx2.AsyncClient(trust_env=False, timeout=20, verify=verify or NO_CA_CONTEXT) as client:
        try:
            async with client.stream("POST", simulator.base_url + APIS[api], json=body) as response:
                async for piece in response.aiter_raw():
                    received += piece
            end = "whole"
        except httpx2.HTTPError as error:
            end = type(error).__name__
    headers = {} if response is None else dict(response.headers)
    return RawAnswer(
        status=None if response is None else response.status_code,
        content_type=headers.get("content-type", "").partition(";")[0] or None,
        headers=headers,
        body=bytes(received),
        ending=end,
        seconds=time.monotonic() - started,
    )


def prompt_field(api: Api) -> dict[str, Any]:
    """Return the request field with the prompt."""
    return {"messages": [{"role": "user", "content": "ping"}]} if api == "chat" else {"input": "ping"}


async def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds; raise ``TimeoutError`` after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def server_tls() -> ssl.SSLContext:
    """Return a server TLS context for loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_PEM)
    return context


def client_tls() -> ssl.SSLContext:
    """Return a client TLS context that trusts :func:`server_tls`."""
    return ssl.create_default_context(cafile=str(_PEM))


def _parse(body: bytes) -> Iterator[Any]:
    for event in body.split(b"\n\n")[:-1]:
        try:
            value = json.loads(_EVENT.sub(b"", event).removeprefix(b"data: "))
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
