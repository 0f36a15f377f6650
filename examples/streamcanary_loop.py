"""What becomes of the loop in :mod:`tutorial_loop`: no try, no wait, no counter, and none of its mistakes.

The answer is whole, and there once; or there is a fault that says what happened and who can mend it. An attempt that
may help is made again, after a wait with jitter or the one that the server asks for; one that cannot is not. Five
clocks, given in seconds, notice what does not come, whatever signs of life the server sends.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` say whom to ask; the first argument is the model. Against
``streamcanary simulate``, try what the other program fails at: ``sim-truncated``, ``sim-cut@1``, ``sim-quota``,
``sim-html-200``, ``sim-keepalive-stall``.
"""

import asyncio
import sys

from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed, StreamResult, Timeouts
from streamcanary.events import ContentDelta, Restarted


async def ask(client: AsyncStreamClient, model: str, question: str) -> StreamResult:
    """Return the answer, and show it as it comes."""
    async with client.stream(model=model, messages=[{"role": "user", "content": question}]) as stream:
        async for event in stream:
            match event:
                case ContentDelta(delta=piece):
                    print(piece, end="", flush=True)
                case Restarted():
                    print("\n[once more]")  # a screen would be wiped here: what was shown is void
    print()
    return stream.result


async def main(model: str) -> int:
    """Ask once, and say what came of it."""
    try:
        async with AsyncOpenAI() as sdk:
            client = AsyncStreamClient(
                sdk,
                retry=RetryPolicy(max_attempts=3, base_delay=0.1),
                timeouts=Timeouts(first_token=30, stall=2, total=60),
            )
            result = await ask(client, model, "Reply with the single word pong.")
    except StreamFailed as failure:
        print(f"\nfailed: {failure.fault.kind}, to be mended by {failure.fault.blame}")
        print(f"attempts: {len(failure.attempts)}")
        return 1
    print(f"answer: {result.text}")
    print(f"attempts: {len(result.attempts)}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini")))
