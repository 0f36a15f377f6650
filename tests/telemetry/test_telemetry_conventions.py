"""Attributes for backends that do not read those of the GenAI conventions."""

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from streamcanary.telemetry.config import Convention, TelemetryConfig
from streamcanary.telemetry.otlp.convention_exporter import ConventionExporter
from streamcanary.telemetry.otlp.conventions import convention_attributes

START = 1_800_000_000_000_000_000  # 2027-01-15T08:00:00Z in nanoseconds
RUN = {
    "streamcanary.canary": "chat",
    "streamcanary.target": "openai",
    "streamcanary.run.id": "r1",
    "streamcanary.outcome": "ok",
}
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.max_tokens": 64,
    "gen_ai.request.stream": True,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.usage.input_tokens": 20,
    "gen_ai.usage.output_tokens": 3,
    "streamcanary.attempts": 1,
}
MESSAGES = {
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "ping"}]}]),
    "gen_ai.output.messages": json.dumps(
        [
            {
                "role": "assistant",
                "parts": [
                    {"type": "text", "content": "pong"},
                    {"type": "tool_call", "id": "c", "name": "weather", "arguments": {"city": "Paris"}},
                ],
            }
        ]
    ),
}


def added(name: str, attributes: dict[str, Any], *conventions: Convention) -> dict[str, Any]:
    """Return the attributes that are added to a span."""
    return dict(convention_attributes(conventions, name, attributes, START))


def test_openinference_attributes_of_a_call() -> None:
    """Phoenix gets kind, model, token counts and parameters; no content unless it is recorded."""
    assert {
        "openinference.span.kind": "LLM",
        "llm.system": "openai",
        "llm.provider": "openai",
        "llm.model_name": "gpt-4o-mini-2024-07-18",
        "llm.request.model_name": "gpt-4o-mini",
        "llm.response.model_name": "gpt-4o-mini-2024-07-18",
        "llm.token_count.prompt": 20,
        "llm.token_count.completion": 3,
        "llm.token_count.total": 23,
        "llm.invocation_parameters": '{"max_tokens":64,"stream":true}',
        "llm.finish_reason": "stop",
    } == added("chat gpt-4o-mini", CALL, "openinference")


def test_openinference_messages_are_flat() -> None:
    """Recorded content is there as input and output, and as flat messages."""
    attributes = added("chat gpt-4o-mini", CALL | MESSAGES, "openinference")
    content = {key: value for key, value in attributes.items() if "put" in key and not key.startswith("llm.token")}
    assert {
        "input.value": MESSAGES["gen_ai.input.messages"],
        "input.mime_type": "application/json",
        "output.value": MESSAGES["gen_ai.output.messages"],
        "output.mime_type": "application/json",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "ping",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "pong",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "weather",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city":"Paris"}',
    } == content


def test_openinference_attributes_of_a_run() -> None:
    """The run is a chain, with canary, target, outcome and id as metadata."""
    attributes = added("streamcanary.run", RUN, "openinference")
    assert "CHAIN" == attributes["openinference.span.kind"]
    assert {"canary": "chat", "target": "openai", "outcome": "ok", "run_id": "r1"} == json.loads(attributes["metadata"])


def test_langfuse_attributes() -> None:
    """Langfuse gets the name and the metadata of the trace, and when the first token came."""
    assert {
        "langfuse.trace.name": "canary chat",
        "langfuse.trace.tags": ("canary",),
        "langfuse.trace.metadata.canary": "chat",
        "langfuse.trace.metadata.target": "openai",
        "langfuse.trace.metadata.outcome": "ok",
        "langfuse.trace.metadata.run_id": "r1",
    } == added("streamcanary.run", RUN, "langfuse")
    assert {
        "langfuse.observation.type": "generation",
        "langfuse.observation.completion_start_time": "2027-01-15T08:00:00.250Z",
    } == added("chat gpt-4o-mini", CALL, "langfuse")


def test_langfuse_gets_no_wrong_time_of_the_first_token() -> None:
    """After a retry, the time is not known from the attributes of the call, and left out."""
    attributes = added("chat gpt-4o-mini", CALL | {"streamcanary.attempts": 2}, "langfuse")
    assert {"langfuse.observation.type": "generation"} == attributes


@pytest.mark.parametrize("text", ['[{"role": "us', "[" * 5000, "7", "null"])
def test_cut_content_is_left_out(text: str) -> None:
    """Content that is no JSON of messages has no flat form."""
    attributes = added("chat gpt", CALL | {"gen_ai.input.messages": text}, "openinference")
    assert text == attributes["input.value"]
    assert not [key for key in attributes if key.startswith("llm.input_messages")]


def test_the_span_of_an_attempt_and_spans_without_a_setting_stay_as_they_are() -> None:
    """Only the run and the call get attributes, and only those of the conventions that are set."""
    assert {} == added("POST", {"http.request.method": "POST"}, "openinference", "langfuse")
    assert {} == added("chat gpt-4o-mini", CALL)
    both = added("chat gpt-4o-mini", CALL, "openinference", "langfuse")
    assert {"openinference.span.kind", "langfuse.observation.type"} < set(both)


def test_the_exporter_adds_attributes_and_changes_nothing_else() -> None:
    """A span is exported with all it had, and the further attributes."""
    exported = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ConventionExporter(exported, ("langfuse",))))
    span = provider.get_tracer("streamcanary", "1").start_span("chat gpt-4o-mini", attributes=CALL, start_time=START)
    span.add_event("x", {"y": 1}, START + 5)
    span.end(START + 10)
    provider.shutdown()
    [found] = exported.get_finished_spans()
    assert found.attributes is not None
    assert CALL.items() <= dict(found.attributes).items()
    assert "generation" == found.attributes["langfuse.observation.type"]
    assert (span.get_span_context(), START, START + 10) == (found.context, found.start_time, found.end_time)
    assert (["x"], "streamcanary") == ([event.name for event in found.events], found.instrumentation_scope.name)  # type: ignore[union-attr]


def test_the_settings_are_validated() -> None:
    """Content is undecided by default, and an unknown convention is rejected."""
    assert (None, ()) == (TelemetryConfig().content, TelemetryConfig().conventions)
    section = TelemetryConfig.model_validate({"content": True, "conventions": ["openinference", "langfuse"]})
    assert (True, ("openinference", "langfuse")) == (section.content, section.conventions)
    with pytest.raises(ValidationError, match="'openinference' or 'langfuse'"):
        TelemetryConfig.model_validate({"conventions": ["phoenix"]})
