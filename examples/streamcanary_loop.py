"""The program of :mod:`tutorial_loop` with streamcanary: no try block, no wait, no counter, and none of its errors.

The answer is complete and delivered once, or a fault says what happened and who can fix it. Retryable faults are
retried after a delay with jitter or the delay that the server requests; other faults are not retried. Five timeouts, in
seconds, detect missing data even if the server sends keep-alive comments.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the first argument is the model. Against
``streamcanary simulate``, try the faults that the other program does not handle: ``sim-truncated``, ``sim-cut@1``,
``sim-quota``, ``sim-html-200``, ``sim-keepalive-stall``.
"""

import asyncio
import sys

from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed, StreamResult, Timeouts
from streamcanary.events import ContentDelta, Restarted


async def ask(client: AsyncStreamClient, model: str, question: str) -> StreamResult:
    """Return the answer, and print it as it arrives."""
    async with client.stream(model=model, messages=[{"role": "user", "content": question}]) as stream:
        async for event in stream:
            match event:
                case ContentDelta(delta=piece):
                    print(piece, end="", flush=True)
                case Restarted():
                    print("\n[restarted]")  # discard what was shown: the answer starts again
    print()
    return stream.result


async def main(model: str) -> int:
    """Make one call, and print its result."""
    try:
        async with AsyncOpenAI() as sdk:
            client = AsyncStreamClient(
                sdk,
                retry=RetryPolicy(max_attempts=3, base_delay=0.1),
                timeouts=Timeouts(first_token=30, stall=2, total=60),
            )
            result = await ask(client, model, "Reply with the single word pong.")
    except StreamFailed as failure:
        print(f"\nfailed: {failure.fault.kind}, to be fixed by {failure.fault.blame}")
        print(f"attempts: {len(failure.attempts)}")
        return 1
    print(f"answer: {result.text}")
    print(f"attempts: {len(result.attempts)}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini")))
