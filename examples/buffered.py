"""Text that must not be taken back: nothing is delivered until it is whole.

A program that passes text on as it comes, into a pipe, a voice or a row of a table, cannot act on ``Restarted``. With
``on_partial="buffer"`` it never has to: stalls and cuts are still noticed as they happen, because the answer is
streamed underneath, and what is delivered is the answer, once. With ``on_partial="fail"`` text comes at once, and a
break after it ends the call; the failure has the text so far.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` say whom to ask; the arguments are the model and the mode (``buffer``,
``fail`` or ``restart``). Against ``streamcanary simulate``, try ``sim-cut@1`` in each mode.
"""

import asyncio
import sys
from typing import get_args

from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, OnPartial, RetryPolicy, StreamFailed
from streamcanary.events import ContentDelta


async def main(model: str, mode: OnPartial) -> int:
    """Write the answer to stdout as a pipe would get it, and what happened to stderr."""
    try:
        async with AsyncOpenAI() as sdk:
            client = AsyncStreamClient(sdk, retry=RetryPolicy(base_delay=0.1), on_partial=mode)
            async with client.stream(model=model, messages=[{"role": "user", "content": "Say pong."}]) as stream:
                async for event in stream:
                    if isinstance(event, ContentDelta):
                        print(event.delta, end="", flush=True)
                    else:
                        print(event.type, file=sys.stderr)
    except StreamFailed as failure:
        print(f"failed: {failure.fault.kind} after {failure.partial_text!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    asked = sys.argv[2] if len(sys.argv) > 2 else "buffer"
    chosen = next((mode for mode in get_args(OnPartial) if mode == asked), None)
    if chosen is None:
        sys.exit(f"the mode is one of {', '.join(get_args(OnPartial))}, not {asked}")
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini", chosen)))
