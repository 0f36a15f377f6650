"""Attributes that some backends read in place of those of the GenAI conventions.

They are derived from the attributes of finished spans, in the thread that exports them.

- ``openinference``: Arize Phoenix and other backends of OpenInference
  (https://arize-ai.github.io/openinference/spec/attributes/semantic-conventions.html).
- ``langfuse``: Langfuse reads model, token counts and messages from ``gen_ai.*``, but name and metadata of a trace, and
  the time of the first token, only from its own attributes
  (https://langfuse.com/integrations/native/opentelemetry#property-mapping).
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from opentelemetry.util.types import AttributeValue

from streamcanary.model import names
from streamcanary.telemetry.config import Convention

_JSON = "application/json"
_MAX_MESSAGES = 64
_OPENINFERENCE = {
    names.PROVIDER: "llm.provider",
    names.USAGE_INPUT: "llm.token_count.prompt",
    names.USAGE_OUTPUT: "llm.token_count.completion",
    names.INPUT_MESSAGES: "input.value",
    names.OUTPUT_MESSAGES: "output.value",
    names.REQUEST_MODEL: "llm.request.model_name",
    names.RESPONSE_MODEL: "llm.response.model_name",
}
_INVOCATION_PARAMETERS = {names.REQUEST_MAX_TOKENS: "max_tokens", names.REQUEST_STREAM: "stream"}


def convention_attributes(
    conventions: Collection[Convention], name: str, attributes: Mapping[str, Any], start: int
) -> dict[str, AttributeValue]:
    """Return further attributes of a span called ``name`` that started at ``start`` (nanoseconds since the epoch)."""
    is_run, is_call = name == names.RUN_SPAN, names.OPERATION in attributes
    further: dict[str, AttributeValue] = {}
    if "openinference" in conventions:
        if is_run:
            further |= _openinference_run(attributes)
        elif is_call:
            further |= _openinference_call(attributes)
    if "langfuse" in conventions:
        if is_run:
            further |= _langfuse_run(attributes)
        elif is_call:
            further |= _langfuse_call(attributes, start)
    return further


def _openinference_run(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    return {"openinference.span.kind": "CHAIN", "metadata": msgspec.json.encode(_metadata(attributes)).decode()}


def _openinference_call(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    further: dict[str, AttributeValue] = {"openinference.span.kind": "LLM"}
    further |= {other: attributes[ours] for ours, other in _OPENINFERENCE.items() if ours in attributes}
    further["llm.system"] = attributes.get(names.PROVIDER, "")
    further["llm.model_name"] = attributes.get(names.RESPONSE_MODEL) or attributes.get(names.REQUEST_MODEL, "")
    if names.USAGE_INPUT in attributes and names.USAGE_OUTPUT in attributes:
        further["llm.token_count.total"] = attributes[names.USAGE_INPUT] + attributes[names.USAGE_OUTPUT]
    parameters = {other: attributes[ours] for ours, other in _INVOCATION_PARAMETERS.items() if ours in attributes}
    further["llm.invocation_parameters"] = msgspec.json.encode(parameters).decode()
    if reasons := attributes.get(names.RESPONSE_FINISH_REASONS):
        further["llm.finish_reason"] = reasons[0]
    for value, messages in (("input", names.INPUT_MESSAGES), ("output", names.OUTPUT_MESSAGES)):
        if messages in attributes:
            further[f"{value}.mime_type"] = _JSON
            further |= _flat_messages(f"llm.{value}_messages", attributes[messages])
    return further


def _flat_messages(prefix: str, text: str) -> dict[str, AttributeValue]:
    """Return messages in the flat form of OpenInference: ``llm.input_messages.0.message.role`` and so on."""
    flat: dict[str, AttributeValue] = {}
    for number, message in enumerate(_decode_messages(text)[:_MAX_MESSAGES]):
        start = f"{prefix}.{number}.message"
        flat[f"{start}.role"] = str(message.get("role", ""))
        content = "\n".join(_texts(message))
        if content:
            flat[f"{start}.content"] = content
        calls = [part for part in message.get("parts", ()) if part.get("type") == "tool_call"]
        for index, call in enumerate(calls[:_MAX_MESSAGES]):
            at = f"{start}.tool_calls.{index}.tool_call"
            arguments = call.get("arguments", "")
            flat[f"{at}.id"] = str(call.get("id", ""))
            flat[f"{at}.function.name"] = str(call.get("name", ""))
            flat[f"{at}.function.arguments"] = (
                arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            )
    return flat


def _decode_messages(text: str) -> list[dict[str, Any]]:
    try:
        return msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError):  # cut at the limit of attributes
        return []


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    for part in message.get("parts", ()):
        if part.get("type") in ("text", "refusal"):
            yield str(part.get("content", ""))
        elif part.get("type") == "tool_call_response":
            yield str(part.get("response", ""))


def _langfuse_run(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    canary = str(attributes.get(names.RUN_CANARY, ""))
    metadata = {f"langfuse.trace.metadata.{key}": value for key, value in _metadata(attributes).items()}
    return {"langfuse.trace.name": f"canary {canary}", "langfuse.trace.tags": ("canary",), **metadata}


def _langfuse_call(attributes: Mapping[str, Any], start: int) -> dict[str, AttributeValue]:
    further: dict[str, AttributeValue] = {"langfuse.observation.type": "generation"}
    first_token = attributes.get(names.RESPONSE_TIME_TO_FIRST_CHUNK)
    # It is measured from the start of the answering attempt, which is that of the call if there is only one.
    if isinstance(first_token, (int, float)) and attributes.get(names.CALL_ATTEMPTS) == 1:
        moment = datetime.fromtimestamp(start / 1e9 + first_token, UTC)
        further["langfuse.observation.completion_start_time"] = moment.isoformat(timespec="milliseconds").replace(
            "+00:00", "Z"
        )
    return further


def _metadata(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    wanted = {
        "canary": names.RUN_CANARY,
        "target": names.RUN_TARGET,
        "outcome": names.RUN_OUTCOME,
        "run_id": names.RUN_ID,
    }
    return {key: attributes[name] for key, name in wanted.items() if name in attributes}
