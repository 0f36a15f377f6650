"""Answers as real servers send them, over HTTP: the result, the SDK's object, and what the SDK alone reads."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from streamcanary import AsyncStreamClient, StreamResult, Timeouts
from streamcanary.client.result import AudioOutput
from streamcanary.events import ContentDelta, ToolCallDelta
from streamcanary.model.faults import Blame, FaultKind
from support.client.drivers import CHAT_REQUEST, DRIVERS, KEY, RETRY, Driver, driver_client, open_sdk_client
from support.client.fault_scenarios import http_server
from support.servers.tcp import TcpServer, http_response

every_driver = pytest.mark.parametrize("driver", DRIVERS)


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@asynccontextmanager
async def server(*payloads: dict[str, Any]) -> AsyncIterator[str]:
    """Run a server that sends these payloads as an event stream; yield its base URL."""
    stream = "".join(f"data: {json.dumps(payload)}\n\n" for payload in payloads)
    async with http_server(lambda head: http_response(200, stream, "text/event-stream")) as running:
        yield running.base_url


async def answer(driver: Driver, *payloads: dict[str, Any]) -> tuple[list[Any], StreamResult]:
    """Return the events for the caller after the start, and the result, of these chunks of Chat Completions."""
    async with server(*payloads) as base_url, open_sdk_client(driver, base_url) as sdk:
        recording = await driver_client(driver, sdk, retry=RETRY).record_stream("m")
    assert recording.result is not None, recording.failure
    assert 1 == len(recording.result.attempts)
    return recording.events[1:-1], recording.result


@every_driver
async def test_parallel_calls_with_one_index(driver: Driver) -> None:
    """Two parallel calls with index 0, as Gemini's compatible endpoint sends them, are two calls everywhere."""
    calls = [
        {"index": 0, "id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in ("f", "g")
    ]
    events, result = await answer(driver, chunk(tool_calls=calls), chunk("tool_calls"))
    assert [ToolCallDelta(0, "f", "{}"), ToolCallDelta(1, "g", "{}")] == events
    assert isinstance(result.response, ChatCompletion)
    assert [("call_f", "f", "{}"), ("call_g", "g", "{}")] == [
        (call.id, call.function.name, call.function.arguments)
        for call in result.response.choices[0].message.tool_calls or ()
        if call.type == "function"
    ]


@every_driver
@pytest.mark.parametrize(
    "calls",
    [
        [{"index": "0", "id": "a", "function": {"name": "f", "arguments": ""}}, {"index": "0", "function": None}],
        [{"index": 0, "id": f"a{n}", "function": {"name": "f", "arguments": ""}} for n in range(2)],
        [{"id": "a", "function": {"name": "f", "arguments": ""}}, {"function": {"arguments": ""}}],
    ],
    ids=["text index", "another id and the name in each piece", "no index"],
)
@pytest.mark.parametrize("arguments", ['{"x": 1}', '{"x": "a\nb"}', '\ufeff{"x": 1}'])
async def test_unusual_tool_calls(driver: Driver, calls: list[dict[str, Any]], arguments: str) -> None:
    """Calls that a loop over the SDK's chunks reads without trouble are answers at the first attempt."""
    first, second = calls
    pieces = [{**second, "function": {**(second["function"] or {}), "arguments": piece}} for piece in arguments]
    chunks = (chunk(tool_calls=[piece]) for piece in (first, *pieces))
    _, result = await answer(driver, *chunks, chunk("tool_calls"))
    assert [("f", arguments)] == [(call.name, call.arguments) for call in result.tool_calls]


@every_driver
async def test_custom_tool_call(driver: Driver) -> None:
    """A call of a custom tool has its input in the SDK's object, and is a complete answer although it is not JSON."""
    call = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    _, result = await answer(driver, chunk(tool_calls=[call]), chunk("tool_calls"))
    assert isinstance(result.response, ChatCompletion)
    assert [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}] == [
        call.model_dump() for call in result.response.choices[0].message.tool_calls or ()
    ]


@every_driver
async def test_legacy_function_call(driver: Driver) -> None:
    """The older ``function_call`` is a tool call of the result, and ``function_call`` in the SDK's object."""
    _, result = await answer(
        driver,
        chunk(function_call={"name": "f", "arguments": ""}),
        chunk(function_call={"arguments": "{}"}),
        chunk("function_call"),
    )
    assert [("", "f", "{}")] == [(call.id, call.name, call.arguments) for call in result.tool_calls]
    assert isinstance(result.response, ChatCompletion)
    message = result.response.choices[0].message
    assert message.function_call is not None
    assert ("f", "{}", None) == (message.function_call.name, message.function_call.arguments, message.tool_calls)


@every_driver
async def test_reasoning_and_refusal(driver: Driver) -> None:
    """Reasoning and refusal are in the result and in the SDK's object."""
    _, result = await answer(driver, chunk(reasoning="hm"), chunk(refusal="no"), chunk("stop"))
    assert isinstance(result.response, ChatCompletion)
    message = result.response.choices[0].message
    assert ("hm", "no", None) == (message.model_dump()["reasoning_content"], message.refusal, message.content)


@every_driver
async def test_image_only(driver: Driver) -> None:
    """An answer of images alone is an answer at the first attempt."""
    url = "data:image/png;base64,AAAA"
    image = {"type": "image_url", "image_url": {"url": url}}
    events, result = await answer(driver, chunk(images=[image]), chunk("stop"))
    assert ([], "", (url,), True) == (events, result.text, result.images, result.has_media)
    assert [image] == result.response.model_dump()["choices"][0]["message"]["images"]


@every_driver
async def test_audio_only(driver: Driver) -> None:
    """An answer of audio alone is an answer at the first attempt; its transcript is the text of the result."""
    events, result = await answer(
        driver,
        chunk(audio={"id": "audio_1", "transcript": "pong"}),
        chunk(audio={"data": "AAAA"}),
        chunk(audio={"expires_at": 1_800_000_000}),
        chunk("stop"),
    )
    expected = AudioOutput(id="audio_1", data="AAAA", transcript="pong", expires_at=1_800_000_000)
    assert ([ContentDelta("pong")], "pong", expected, True) == (events, result.text, result.audio, result.has_media)
    assert isinstance(result.response, ChatCompletion)
    message = result.response.choices[0].message
    assert message.audio is not None
    assert (None, "audio_1", "AAAA") == (message.content, message.audio.id, message.audio.data)


async def test_text_of_responses_without_output() -> None:
    """Deltas, then a completed response without output: the text is in the result and in the SDK's object."""
    response = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": []}
    payloads = (
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "po"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "ng"},
        {"type": "response.completed", "response": response},
    )
    async with server(*payloads) as base_url, open_sdk_client("async", base_url) as sdk:
        assert isinstance(sdk, AsyncOpenAI)
        async with AsyncStreamClient(sdk, retry=RETRY).stream(model="m", input="ping") as stream:
            async for _ in stream:
                pass
    assert isinstance(stream.result.response, Response)
    assert ("pong", "pong") == (stream.result.text, stream.result.response.output_text)


# Finish reasons before the text


def paused_server(*payloads: dict[str, Any], reset: bool = False) -> TcpServer:
    """Return a server that sends these payloads as an event stream, with a pause of 0.4 s before the last one.

    ``reset``: it sends a RST in place of the last payload.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        *first, last = (f"data: {json.dumps(payload)}\n\n".encode() for payload in payloads)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(b"".join(first))
        await writer.drain()
        await asyncio.sleep(0.4)
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.write(last)
            writer.close()

    return TcpServer(talk)


@every_driver
async def test_text_after_a_finish_reason_with_the_role(driver: Driver) -> None:
    """A finish_reason with the role stops no timeout: the text, later than the stall timeout, is the answer."""
    timeouts = Timeouts(stall=0.1, first_token=30)
    async with (
        paused_server(chunk("stop", role="assistant"), chunk(content="pong")) as running,
        open_sdk_client(driver, running.base_url) as sdk,
    ):
        recording = await driver_client(driver, sdk, retry=RETRY, timeouts=timeouts).record_stream("m")
    assert recording.result is not None, recording.failure
    assert ("pong", 1) == (recording.result.text, len(recording.result.attempts))


@every_driver
async def test_reset_after_a_finish_reason_with_the_role(driver: Driver) -> None:
    """A connection that is lost before any output is a network fault, whatever finish_reason came before."""
    async with (
        paused_server(chunk("stop", role="assistant"), chunk(content="pong"), reset=True) as running,
        open_sdk_client(driver, running.base_url) as sdk,
    ):
        recording = await driver_client(driver, sdk, retry=RETRY).record_stream("m")
    assert recording.failure is not None
    assert (FaultKind.STREAM_CUT, Blame.NETWORK) == (recording.failure.fault.kind, recording.failure.fault.blame)


# Never worse than the SDK alone


@pytest.mark.parametrize(
    "payloads",
    [
        [chunk(content="po"), chunk(content="ng"), chunk("stop")],
        [chunk(content="pong"), {**chunk("stop"), "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}],
        [chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]), chunk("stop")],
        [chunk(function_call={"name": "f", "arguments": "{}"}), chunk("function_call")],
        [chunk(content="pong"), chunk(content=None, audio={"id": "x"}), chunk("stop")],
        [
            chunk(content="po"),
            chunk(content="ng"),
            {"id": "c", "choices": [{"index": 0, "message": {"content": "pong"}, "finish_reason": "stop"}]},
        ],
        [{"id": "c", "choices": [{"index": 1, "delta": {"content": "pong"}, "finish_reason": "stop"}]}],
    ],
)
async def test_result_has_what_the_sdk_reads(payloads: list[dict[str, Any]]) -> None:
    """The result has the text and the arguments that a loop over the SDK's chunks reads from the same bytes."""
    text, arguments = "", ""
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with server(*payloads) as base_url, AsyncOpenAI(base_url=base_url, api_key=KEY, http_client=transport) as sdk:
        async for part in await sdk.chat.completions.create(model="m", stream=True, **CHAT_REQUEST):
            if (delta := part.choices[0].delta) is None:
                continue
            text += delta.content or ""
            for call in delta.tool_calls or ():
                arguments += (call.function and call.function.arguments) or ""
            if delta.function_call is not None:
                arguments += delta.function_call.arguments or ""
    _, result = await answer("async", *payloads)
    assert (text, arguments) == (result.text, "".join(call.arguments for call in result.tool_calls))
