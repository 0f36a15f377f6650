"""The simulator as seen by the OpenAI SDK; what the SDK does not detect is the reason for the retry client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from openai import AsyncOpenAI

from streamcanary.simulator import FAULTS, Simulator, Timings
from support.servers.simulator import FAST_TIMINGS, client_tls, server_tls

WHOLE, SOME = "Pong! The canary sings.", "Pong! The"
DELTA = "response.output_text.delta"


@asynccontextmanager
async def sdk(simulator: Simulator, *, api_key: str = "k", read_timeout: float = 20) -> AsyncIterator[AsyncOpenAI]:
    """Yield an SDK client without retries; ``read_timeout`` is in seconds."""
    http = openai.DefaultAsyncHttpx2Client(trust_env=False)
    async with AsyncOpenAI(
        base_url=simulator.base_url, api_key=api_key, max_retries=0, timeout=read_timeout, http_client=http
    ) as client:
        yield client


async def ask(simulator: Simulator, model: str, *, read_timeout: float = 20) -> tuple[str, str | None, str | None]:
    """Return the text, the finish_reason, and the exception name of a streamed call."""
    text, finish, error = "", None, None
    async with sdk(simulator, read_timeout=read_timeout) as client:
        try:
            messages = [{"role": "user", "content": "Reply with the single word pong."}]
            stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
            async with stream:
                async for chunk in stream:
                    for choice in chunk.choices or ():
                        text += choice.delta.content or ""
                        finish = choice.finish_reason or finish
        except (openai.OpenAIError, ValueError) as raised:
            error = type(raised).__name__
    return text, finish, error


async def test_answer_is_complete() -> None:
    """A streamed answer is complete, with its usage."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, sdk(simulator) as client:
        stream = await client.chat.completions.create(
            model="sim-ok", messages=[], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == WHOLE
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7


async def test_non_streaming_answer_is_complete() -> None:
    """A non-streaming answer is complete, with the request id of its header."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, sdk(simulator) as client:
        completion = await client.chat.completions.create(model="sim-ok", messages=[])
        assert completion.choices[0].message.content == WHOLE
        assert completion._request_id == simulator.requests[0].id


async def test_sdk_accumulates_tool_calls_and_refusals() -> None:
    """The SDK helper accumulates tool calls and refusals."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, sdk(simulator) as client:
        async with client.chat.completions.stream(model="sim-tool-call", messages=[]) as stream:
            call = (await stream.get_final_completion()).choices[0].message.tool_calls
        async with client.chat.completions.stream(model="sim-refusal", messages=[]) as stream:
            refusal = (await stream.get_final_completion()).choices[0].message.refusal
    assert call is not None
    assert (call[0].function.name, call[0].function.arguments) == ("sing", '{"song":"pong"}')
    assert refusal == "I'm sorry, I cannot sing that."


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", "BadRequestError"),
        ("401", "AuthenticationError"),
        ("403", "PermissionDeniedError"),
        ("404", "NotFoundError"),
        ("409", "ConflictError"),
        ("422", "UnprocessableEntityError"),
        ("429", "RateLimitError"),
        ("quota", "RateLimitError"),
        ("500", "InternalServerError"),
        ("529", "InternalServerError"),
        ("reset", "APIConnectionError"),
        ("close", "APIConnectionError"),
        ("garbage", "APIConnectionError"),
    ],
)
async def test_sdk_raises_before_the_stream(fault: str, error: str) -> None:
    """The SDK raises its exception type for each status, and one for a lost connection."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert await ask(simulator, f"sim-{fault}") == ("", None, error)


@pytest.mark.parametrize(
    ("fault", "text", "error"),
    [
        ("cut", SOME, "APIConnectionError"),
        ("reset-stream", SOME, "APIConnectionError"),
        ("inband-error", SOME, "APIError"),
        ("malformed", SOME, "JSONDecodeError"),
        ("bad-utf8", "", "UnicodeDecodeError"),
        ("comments", "", "JSONDecodeError"),
    ],
)
async def test_sdk_raises_within_the_stream(fault: str, text: str, error: str) -> None:
    """The SDK raises its types for lost connections and errors, and raw exceptions for invalid data."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert await ask(simulator, f"sim-{fault}") == (text, None, error)


@pytest.mark.parametrize("fault", ["no-headers", "stall"])
async def test_sdk_times_out_on_silence(fault: str) -> None:
    """The SDK raises a timeout after its read timeout."""
    async with Simulator(timings=Timings(chunk_gap=0.0, first_token=0.0)) as simulator:
        assert (await ask(simulator, f"sim-{fault}", read_timeout=0.5))[1:] == (None, "APITimeoutError")


@pytest.mark.parametrize(
    ("fault", "text", "finish"),
    [
        ("truncated", SOME, None),
        ("null-finish", WHOLE, None),
        ("no-done", WHOLE, "stop"),
        ("length", SOME, "length"),
        ("content-filter", SOME, "content_filter"),
        ("empty", "", "stop"),
        ("event-error", SOME, None),
        ("redirect", "", None),
        ("html-200", "", None),
        ("json-200", "", None),
        ("json-error-200", "", None),
        ("204", "", None),
        ("empty-body", "", None),
        ("empty-stream", "", None),
    ],
)
async def test_sdk_does_not_detect_fault(fault: str, text: str, finish: str | None) -> None:
    """The SDK raises no exception for an incomplete answer."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert await ask(simulator, f"sim-{fault}") == (text, finish, None)


async def respond(simulator: Simulator, model: str, *, read_timeout: float = 20) -> tuple[str, str | None, str | None]:
    """Return the text, the last event type, and the exception name of a streamed response."""
    text, last, error = "", None, None
    async with sdk(simulator, read_timeout=read_timeout) as client:
        try:
            stream = await client.responses.create(model=model, input="Reply with the single word pong.", stream=True)
            async with stream:
                async for event in stream:
                    last = event.type
                    text += event.delta if event.type == "response.output_text.delta" else ""
        except (openai.OpenAIError, ValueError) as raised:
            error = type(raised).__name__
    return text, last, error


async def test_response_is_complete() -> None:
    """A response is complete with the SDK helper, and without streaming."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, sdk(simulator) as client:
        async with client.responses.stream(model="sim-ok", input="ping") as stream:
            response = await stream.get_final_response()
        whole = await client.responses.create(model="sim-ok", input=[{"role": "user", "content": "ping"}], store=False)
        assert whole._request_id == simulator.requests[1].id
    assert (response.output_text, response.status) == (whole.output_text, whole.status) == (WHOLE, "completed")
    assert response.usage is not None
    assert response.usage == whole.usage
    assert response.usage.output_tokens == 7


async def test_sdk_accumulates_other_items() -> None:
    """The SDK accumulates reasoning, refusals and tool calls."""
    output = {}
    async with Simulator(timings=FAST_TIMINGS) as simulator, sdk(simulator) as client:
        for fault in ("reasoning", "reasoning-text", "refusal", "tool-call"):
            async with client.responses.stream(model=f"sim-{fault}", input="ping") as stream:
                output[fault] = [item.to_dict() for item in (await stream.get_final_response()).output]
    assert output["reasoning"][0]["summary"] == [{"type": "summary_text", "text": "The user wants pong."}]
    assert output["reasoning-text"][0]["content"] == [{"type": "reasoning_text", "text": "The user wants pong."}]
    refusal = "I'm sorry, I cannot sing that."
    assert output["refusal"][0]["content"] == [{"type": "refusal", "refusal": refusal}]
    assert output["tool-call"][0]["arguments"] == '{"song":"pong"}'


@pytest.mark.parametrize(
    ("fault", "text", "last", "error"),
    [
        ("429", "", None, "RateLimitError"),
        ("close", "", None, "APIConnectionError"),
        ("cut", SOME, DELTA, "APIConnectionError"),
        ("reset-stream", SOME, DELTA, "APIConnectionError"),
        ("inband-error", SOME, DELTA, "APIError"),
        ("nested-error", SOME, DELTA, "APIError"),
        ("malformed", SOME, DELTA, "JSONDecodeError"),
        ("bad-utf8", "", "response.content_part.added", "UnicodeDecodeError"),
    ],
)
async def test_sdk_raises_within_a_response(fault: str, text: str, last: str | None, error: str) -> None:
    """The SDK raises within a response as within a completion."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert await respond(simulator, f"sim-{fault}") == (text, last, error)


@pytest.mark.parametrize(
    ("fault", "text", "last"),
    [
        ("ok", WHOLE, "response.completed"),
        ("truncated", SOME, DELTA),
        ("null-finish", WHOLE, "response.output_item.done"),
        ("length", SOME, "response.incomplete"),
        ("content-filter", SOME, "response.incomplete"),
        ("incomplete-empty", "", "response.incomplete"),
        ("failed", SOME, "response.failed"),
        ("failed-rate-limit", SOME, "response.failed"),
        ("cancelled", SOME, "response.cancelled"),
        ("event-error", SOME, "error"),
        ("flat-error", SOME, "error"),
        ("empty", "", "response.completed"),
        ("html-200", "", None),
        ("json-200", "", None),
        ("empty-stream", "", None),
    ],
)
async def test_sdk_does_not_detect_fault_in_a_response(fault: str, text: str, last: str | None) -> None:
    """The SDK raises no exception for a failed, incomplete, cancelled or truncated response."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert await respond(simulator, f"sim-{fault}") == (text, last, None)


async def test_models_are_listed() -> None:
    """Each behaviour is listed as a model and can be retrieved, also as a variant."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, sdk(simulator) as client:
        listed = [model.id async for model in client.models.list()]
        assert listed == [f"sim-{name}" for name in FAULTS]
        assert (await client.models.retrieve("sim-cut%30~7")).id == "sim-cut%30~7"
        with pytest.raises(openai.NotFoundError, match=r"no fault is called 'sing'"):
            await client.models.retrieve("sim-sing")


async def test_simulator_serves_tls() -> None:
    """The simulator serves TLS with the given certificate."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls()) as simulator:
        http = openai.DefaultAsyncHttpx2Client(trust_env=False, verify=client_tls())
        async with AsyncOpenAI(base_url=simulator.base_url, api_key="k", http_client=http, max_retries=0) as client:
            completion = await client.chat.completions.create(model="sim-ok", messages=[])
    assert simulator.base_url.startswith("https://127.0.0.1:")
    assert completion.choices[0].message.content == WHOLE
