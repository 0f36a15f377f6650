"""Deliver only text that is never discarded: nothing is delivered until the answer is complete.

A program that forwards text at once to a pipe, a speech engine or a database row cannot act on ``Restarted``. With
``on_partial="buffer"`` it does not have to: the answer is still streamed internally, so stalls and cuts are detected as
they happen, and the answer is delivered once. With ``on_partial="fail"`` text is delivered at once, and a fault after
text ends the call; the failure has the partial text.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the arguments are the model and the mode (``buffer``,
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
