"""Three ways on when a route has failed: another model, the same request without streaming, the last good answer.

They are taken in their order, once each, and the result says which one answered: nobody takes it for a healthy answer.
The same question is asked several times, so that the cache has something to give.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` say whom to ask; the arguments are the model, the model of the fallback, and
how often to ask. Against ``streamcanary simulate``: ``sim-500 sim-ok`` is answered by the other model,
``sim-cut@6 sim-404`` at the second question without streaming.
"""

import asyncio
import sys

from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, BreakerPolicy, Cached, NonStreaming, RetryPolicy, Route, StreamFailed


async def main(model: str, spare: str, times: int) -> None:
    """Ask the same question a few times, and print who answered."""
    async with AsyncOpenAI() as sdk:
        await ask(sdk, model, spare, times)


async def ask(sdk: AsyncOpenAI, model: str, spare: str, times: int) -> None:
    """Print, for each time, the answer, how it is degraded, and the attempts."""
    client = AsyncStreamClient(
        sdk,
        retry=RetryPolicy(max_attempts=2, base_delay=0.1),
        fallbacks=[
            Route(model=spare, overrides={"max_tokens": 64}),  # a client of another provider could be given here too
            NonStreaming(),
            Cached(max_age=3600),
        ],
        breaker=BreakerPolicy(failure_rate=0.5, min_calls=20, window=60, open_for=30),
    )
    for number in range(1, times + 1):
        try:
            result = await client.complete(model=model, messages=[{"role": "user", "content": "Say pong."}])
        except StreamFailed as failure:
            print(f"{number}: failed: {failure.fault.kind}")
            continue
        print(f"{number}: {result.text} [{result.degraded or 'as asked'}]")
        for attempt in result.attempts:
            print(f"   {attempt.route}: {attempt.fault.kind if attempt.fault else 'ok'}")


if __name__ == "__main__":
    given = [*sys.argv[1:], *("gpt-4o-mini", "gpt-4.1-mini", "2")[len(sys.argv) - 1 :]]
    asyncio.run(main(given[0], given[1], int(given[2])))
