"""Three fallbacks of a failed route: another model, the same request without streaming, and the cached answer.

They are tried in order, once each. ``result.degraded`` names the fallback that answered, so that a degraded answer is
never taken for a healthy one. The same request is sent several times, so that the cache has an answer.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the arguments are the model, the fallback model, and the
number of requests. Against ``streamcanary simulate``: with ``sim-500 sim-ok`` the other model answers, with
``sim-cut@6 sim-404`` the second request is answered without streaming.
"""

import asyncio
import sys

from openai import AsyncOpenAI

from streamcanary import AsyncStreamClient, BreakerPolicy, Cached, NonStreaming, RetryPolicy, Route, StreamFailed


async def main(model: str, fallback_model: str, times: int) -> None:
    """Create the SDK client and make the requests."""
    async with AsyncOpenAI() as sdk:
        await ask(sdk, model, fallback_model, times)


async def ask(sdk: AsyncOpenAI, model: str, fallback_model: str, times: int) -> None:
    """Print the answer, the fallback that answered, and the attempts of each request."""
    client = AsyncStreamClient(
        sdk,
        retry=RetryPolicy(max_attempts=2, base_delay=0.1),
        fallbacks=[
            Route(model=fallback_model, overrides={"max_tokens": 1000}),  # may also have a client of another provider
            NonStreaming(),
            Cached(max_age=3600),
        ],
        breaker=BreakerPolicy(consecutive_failures=5, first_open_for=1, open_for=30),
    )
    for number in range(1, times + 1):
        try:
            result = await client.complete(model=model, messages=[{"role": "user", "content": "Say pong."}])
        except StreamFailed as failure:
            print(f"{number}: failed: {failure.fault.kind}")
            continue
        print(f"{number}: {result.text} [{result.degraded or 'primary'}]")
        for attempt in result.attempts:
            print(f"   {attempt.route}: {attempt.fault.kind if attempt.fault else 'ok'}")


if __name__ == "__main__":
    given = [*sys.argv[1:], *("gpt-4o-mini", "gpt-4.1-mini", "2")[len(sys.argv) - 1 :]]
    asyncio.run(main(given[0], given[1], int(given[2])))
