"""Tool calls: arguments arrive in pieces, and a function is called only with complete arguments.

A stream that is cut within the arguments leaves a truncated JSON object, which a loop over chunks detects when it
parses it, or never. ``result.tool_calls`` exists only for a complete answer.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the first argument is the model. Against
``streamcanary simulate``, try ``sim-tool-call``.
"""

import asyncio
import json
import sys

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolParam, ChatCompletionUserMessageParam

from streamcanary import AsyncStreamClient
from streamcanary.events import ToolCallDelta


def sing(song: str) -> str:
    """Return the song as the tool result."""
    return f"♪ {song} ♪"


TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "sing",
            "parameters": {"type": "object", "properties": {"song": {"type": "string"}}, "required": ["song"]},
        },
    }
]


async def main(model: str) -> None:
    """Make one call, and run the functions that the model calls."""
    async with AsyncOpenAI() as sdk:
        client = AsyncStreamClient(sdk)
        question: ChatCompletionUserMessageParam = {"role": "user", "content": "Sing pong."}
        async with client.stream(model=model, messages=[question], tools=TOOLS) as stream:
            async for event in stream:
                if isinstance(event, ToolCallDelta) and event.arguments_delta:
                    print(f"{event.name} … {event.arguments_delta}")
    for call in stream.result.tool_calls:
        if call.name == "sing":
            print(f"{call.name}({call.arguments}) = {sing(**json.loads(call.arguments))}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini"))
