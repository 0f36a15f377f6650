"""Prompt and answer on the span of a call: only if wanted, in the schema of the conventions, redacted and bounded."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionMessage

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed
from streamcanary.client.instrumentation.content import (
    MAX_MESSAGES,
    MAX_TEXT,
    input_attributes,
    output_attributes,
    partial_output_attributes,
)
from streamcanary.client.result import StreamResult, ToolCall
from streamcanary.model.content_capture import CAPTURE_VARIABLE, is_content_captured
from streamcanary.model.redaction.key_patterns import MASK
from streamcanary.model.redaction.redactor import Redactor, redactor_for
from streamcanary.simulator import Simulator
from support.client.fault_scenarios import http_server
from support.servers.simulator import FAST_TIMINGS
from support.servers.tcp import http_response
from support.telemetry.in_memory import RecordedTelemetry

KEY = "sk-live-0123456789abcdef0123"
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions")
REDACTOR = redactor_for((KEY,))
MakeClient = Callable[..., AsyncStreamClient]


def input_messages(messages: Any) -> Any:
    """Return the recorded messages of a chat request."""
    return json.loads(str(input_attributes({"messages": messages}, REDACTOR)["gen_ai.input.messages"]))


def output_messages(**result: Any) -> Any:
    """Return the recorded messages of an answer."""
    return json.loads(str(output_attributes(StreamResult(**result), REDACTOR)["gen_ai.output.messages"]))


def text(content: str) -> dict[str, str]:
    """Return a text part."""
    return {"type": "text", "content": content}


@pytest.fixture
async def make_client(recorded: RecordedTelemetry) -> AsyncIterator[MakeClient]:
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with (
        Simulator(timings=FAST_TIMINGS) as simulator,
        AsyncOpenAI(base_url=simulator.base_url, api_key=KEY, http_client=transport) as sdk,
    ):
        yield lambda **options: AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1), **options)


def recorded_content(recorded: RecordedTelemetry) -> dict[str, Any]:
    """Return the content attributes of all spans, decoded."""
    attributes = {key: value for span in recorded.spans for key, value in (span.attributes or {}).items()}
    return {key: json.loads(attributes[key]) for key in CONTENT if key in attributes}


@pytest.mark.parametrize(
    ("setting", "variable", "is_captured"),
    [
        (None, None, False),
        (None, "", False),
        (None, "false", False),
        (None, "NO_CONTENT", False),
        (None, "EVENT_ONLY", False),
        (None, "true", True),
        (None, "True", True),
        (None, "SPAN_ONLY", True),
        (None, "span_and_event", True),
        (True, None, True),
        (False, "true", False),
    ],
)
def test_the_setting_comes_before_the_variable(setting: bool | None, variable: str | None, is_captured: bool) -> None:
    """Content is off by default; the variable has the values of the instrumentations of OpenTelemetry."""
    environ = {} if variable is None else {CAPTURE_VARIABLE: variable}
    assert is_captured is is_content_captured(setting, environ)


async def test_without_the_variable_no_content_is_recorded(
    make_client: MakeClient, recorded: RecordedTelemetry
) -> None:
    """By default a span has no content."""
    await make_client().complete(model="sim-ok", messages=[{"role": "user", "content": "ping"}])
    assert {} == recorded_content(recorded)


async def test_the_variable_records_prompt_and_answer(
    make_client: MakeClient, recorded: RecordedTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable, the span of the call has the messages of a chat request and the answer."""
    monkeypatch.setenv(CAPTURE_VARIABLE, "SPAN_ONLY")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ping"}]
    await make_client().complete(model="sim-ok", messages=messages)
    assert {
        "gen_ai.input.messages": [
            {"role": "system", "parts": [text("Be brief.")]},
            {"role": "user", "parts": [text("ping")]},
        ],
        "gen_ai.output.messages": [
            {"role": "assistant", "parts": [text("Pong! The canary sings.")], "finish_reason": "stop"}
        ],
    } == recorded_content(recorded)


async def test_instructions_of_responses_are_apart(make_client: MakeClient, recorded: RecordedTelemetry) -> None:
    """``instructions`` of Responses are system instructions, ``input`` is a message of the user."""
    await make_client(capture_content=True).complete(model="sim-ok", input="ping", instructions="Be brief.")
    content = recorded_content(recorded)
    assert [text("Be brief.")] == content["gen_ai.system_instructions"]
    assert [{"role": "user", "parts": [text("ping")]}] == content["gen_ai.input.messages"]


async def test_a_failed_call_has_the_text_before_the_failure(
    make_client: MakeClient, recorded: RecordedTelemetry
) -> None:
    """The partial answer has the finish reason ``error``."""
    client = make_client(capture_content=True)
    with pytest.raises(StreamFailed):
        await client.complete(model="sim-cut", messages=[{"role": "user", "content": "ping"}])
    [message] = recorded_content(recorded)["gen_ai.output.messages"]
    assert ([text("Pong! The")], "error") == (message["parts"], message["finish_reason"])


async def test_a_failed_call_has_the_reasoning_and_the_tool_call_before_the_failure(
    recorded: RecordedTelemetry,
) -> None:
    """What a model thought, and the beginning of a tool call, are part of what was received."""
    call = '{"index":0,"id":"c","function":{"name":"f","arguments":"{\\"a"}}'
    deltas = ('{"reasoning_content":"hm"}', f'{{"tool_calls":[{call}]}}')
    body = "".join(f'data: {{"choices":[{{"delta":{delta}}}]}}\n\n' for delta in deltas)
    async with (
        http_server(lambda head: http_response(200, body, "text/event-stream")) as server,
        AsyncOpenAI(base_url=server.base_url, api_key=KEY, http_client=DefaultAsyncHttpxClient(trust_env=False)) as sdk,
    ):
        client = AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1), capture_content=True)
        with pytest.raises(StreamFailed):
            await client.complete(model="m", messages=[{"role": "user", "content": "ping"}])
    [message] = recorded_content(recorded)["gen_ai.output.messages"]
    assert [
        {"type": "reasoning", "content": "hm"},
        {"type": "tool_call", "id": "c", "name": "f", "arguments": '{"a'},
    ] == message["parts"]
    assert "error" == message["finish_reason"]


async def test_the_key_of_the_request_is_removed(make_client: MakeClient, recorded: RecordedTelemetry) -> None:
    """A key that somebody wrote into the prompt does not get into telemetry."""
    messages = [{"role": "user", "content": f"my key is {KEY}, is it valid?"}]
    await make_client(capture_content=True).complete(model="sim-ok", messages=messages)
    assert KEY not in json.dumps(recorded_content(recorded))
    assert "my key is" in json.dumps(recorded_content(recorded))


def test_tools_and_other_parts_follow_the_schema() -> None:
    """Tool calls, their responses and parts of other kinds; the data of an image is left out."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    assert [
        {"role": "user", "parts": [text("What is this?"), {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "call_1", "name": "weather", "arguments": {"city": "Paris"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "rainy"}]},
    ] == input_messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rainy"},
        ]
    )


def test_items_of_responses_follow_the_schema() -> None:
    """Function calls and their output are items of their own there."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rainy"},
    ]
    recorded = json.loads(str(input_attributes({"input": items}, REDACTOR)["gen_ai.input.messages"]))
    assert [
        {"role": "user", "parts": [text("Weather?")]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "weather", "arguments": {}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "rainy"}]},
    ] == recorded


def test_messages_of_the_sdk_are_read() -> None:
    """A message that the SDK returned can be sent again, and is recorded."""
    message = ChatCompletionMessage(role="assistant", content="Pong")
    assert [{"role": "assistant", "parts": [text("Pong")]}] == input_messages([message])


def test_an_answer_has_all_its_parts() -> None:
    """Reasoning, text, refusal and tool calls, with the finish reason of the conventions."""
    call = ToolCall(id="c", name="weather", arguments="not JSON")
    [message] = output_messages(
        text="Pong", reasoning="hm", refusal="no", tool_calls=(call,), finish_reason="tool_calls", images=("data:x",)
    )
    assert [
        {"type": "reasoning", "content": "hm"},
        text("Pong"),
        {"type": "refusal", "content": "no"},
        {"type": "tool_call", "id": "c", "name": "weather", "arguments": "not JSON"},
        {"type": "image"},
    ] == message["parts"]
    assert "tool_call" == message["finish_reason"]


def test_a_long_conversation_is_bounded() -> None:
    """The latest messages get their text first; the JSON is complete, and within the limit of attributes."""
    messages = [{"role": "user", "content": f"{number} " + "x" * 500} for number in range(200)]
    recorded = input_messages(messages)
    assert recorded[-1]["parts"][0]["content"].startswith("199 ")
    assert sum(len(message["parts"][0]["content"]) for message in recorded) <= MAX_TEXT
    assert MAX_MESSAGES == len(input_messages([{"role": "u", "content": "x"}] * 1000))


@pytest.mark.parametrize("content", ['"' * 50_000, "\\" * 50_000, "\n" * 50_000, "😀" * 50_000, "[" * 50_000])
def test_attributes_stay_below_the_limit_of_the_daemon(content: str) -> None:
    """No text makes an attribute longer than 32,768 characters, the limit of the daemon, which would cut its JSON."""
    call = ToolCall(id=content, name=content, arguments=content)
    result = StreamResult(text=content, reasoning=content, refusal=content, tool_calls=(call,) * 500)
    arguments = {
        "messages": [{"role": content, "content": [{"type": content, "text": content}] * 500}] * 500,
        "instructions": content,
    }
    for attributes in (
        input_attributes(arguments, REDACTOR),
        output_attributes(result, REDACTOR),
        partial_output_attributes(result, REDACTOR),
    ):
        for value in attributes.values():
            assert len(str(value)) <= 32_768
            json.loads(str(value))


class CountingRedactor(Redactor):
    """Counts the characters that are searched for secrets."""

    searched = 0

    def mask(self, text: str) -> str:
        CountingRedactor.searched += len(text)
        return super().mask(text)


@pytest.mark.parametrize("content", [" " * 65_000 + "{}", "\0" * 65_000, KEY * 3_000, "x" * 65_000])
def test_the_text_that_is_searched_is_bounded(content: str) -> None:
    """Texts that masks and spaces shorten do not keep the event loop busy: 16,384 characters of an attribute count."""
    redactor = CountingRedactor((KEY,))
    calls = tuple(ToolCall(id="c", name="f", arguments=content) for _ in range(64))
    CountingRedactor.searched = 0
    output_attributes(StreamResult(text="", tool_calls=calls), redactor)
    assert 0 < CountingRedactor.searched <= 4 * MAX_TEXT
    CountingRedactor.searched = 0
    input_attributes({"messages": [{"role": "user", "content": content}] * 64}, redactor)
    assert 0 < CountingRedactor.searched <= 4 * MAX_TEXT


@pytest.mark.parametrize("length", [100, MAX_TEXT - 10, MAX_TEXT + 1, MAX_TEXT + 1020, MAX_TEXT + 1030, 100_000])
def test_no_part_of_a_key_is_left_where_the_text_is_cut(length: int) -> None:
    """The key is removed wherever it is, also across the end of what is recorded, and of what is searched."""
    content = input_messages([{"role": "user", "content": "x" * (length - 14) + KEY + "y" * 5_000}])[0]["parts"][0]
    assert KEY[:8] not in content["content"]
    assert content["content"].endswith("…") or length < MAX_TEXT


@pytest.mark.parametrize("joiner", ["\u200b", "\u200d", "\u2060", "\u00ad", "\ufeff"])
def test_a_key_that_is_joined_by_invisible_characters_is_removed(joiner: str) -> None:
    """A text that looks like the key is no less readable than the key."""
    recorded = input_messages([{"role": "user", "content": f"key {joiner.join(KEY)} end"}])[0]["parts"][0]["content"]
    assert f"key {MASK} end" == recorded


@pytest.mark.parametrize(
    "messages", [None, 7, [None], [7], [{"role": object()}], [{"content": {"a": 1}}], [{"tool_calls": [1, None]}]]
)
def test_a_request_of_any_shape_is_recorded_or_left_out(messages: Any) -> None:
    """Telemetry never fails a call."""
    for value in input_attributes({"messages": messages}, REDACTOR).values():
        json.loads(str(value))


def test_an_object_that_raises_is_left_out() -> None:
    """If an object of the caller raises when it is read, there is no content."""

    class Broken:
        def to_dict(self) -> None:
            raise RuntimeError("broken")

    assert {} == input_attributes({"messages": [Broken()]}, REDACTOR)
