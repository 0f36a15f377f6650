"""The Responses API: ``input=`` instead of ``messages=``, and everything else the same.

Retries, timeouts and faults are the same. ``response.failed``, ``response.incomplete`` and error events, which the SDK
returns as ordinary events, become faults or a ``finish_reason``. ``result.response`` is the SDK's response object.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the first argument is the model. Against
``streamcanary simulate``, try ``sim-ok``, ``sim-reasoning``, ``sim-failed`` and ``sim-length``.
"""

import asyncio
import sys

from openai import AsyncOpenAI
from openai.types.responses import Response

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed
from streamcanary.events import ContentDelta, ReasoningDelta


async def main(model: str) -> int:
    """Make one call; print the reasoning, if any, the answer, and the finish reason."""
    try:
        async with AsyncOpenAI() as sdk:
            client = AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=2, base_delay=0.1))
            async with client.stream(model=model, input="Say pong.", store=False) as stream:
                async for event in stream:
                    match event:
                        case ReasoningDelta(delta=piece) | ContentDelta(delta=piece):
                            print(piece, end="", flush=True)
    except StreamFailed as failure:
        print(f"failed: {failure.fault}")
        return 1
    result = stream.result
    print(f"\nfinish_reason: {result.finish_reason}")
    if isinstance(result.response, Response):
        print(f"status: {result.response.status}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini")))
