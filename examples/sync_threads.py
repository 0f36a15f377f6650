"""The synchronous client in threads: one client and one retry budget for all of them.

There is no event loop: each thread reads its own socket over the transport of the ``OpenAI`` client, and one shared
thread enforces the deadlines. When a provider fails, the budget allows retries for the first calls only, so that the
other calls do not add load. There is no circuit breaker, which would refuse the later calls.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the arguments are the model and the number of threads.
Against ``streamcanary simulate``, try ``sim-cut%40`` and ``sim-500``.
"""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from streamcanary import RetryBudget, RetryPolicy, StreamClient, StreamFailed

client = StreamClient(OpenAI(), retry=RetryPolicy(base_delay=0.05), budget=RetryBudget(30), breaker=None)


def ask(model: str) -> str:
    """Return the answer, or the fault kind."""
    try:
        return client.complete(model=model, messages=[{"role": "user", "content": "Say pong."}]).text
    except StreamFailed as failure:
        return failure.fault.kind


if __name__ == "__main__":
    model = sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini"
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    with ThreadPoolExecutor(threads) as pool:
        answers = Counter(pool.map(ask, [model] * threads))
    for answer, count in sorted(answers.items()):
        print(f"{count} times: {answer}")
    print(f"budget: {client.budget.available} of {client.budget.capacity}")
