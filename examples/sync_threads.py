"""The synchronous client, in threads: one client for all of them, with one budget for their retries.

It is no event loop in disguise: each thread reads its own socket, over the transport of the ``OpenAI`` that was given,
and one shared thread keeps the clocks. When a provider goes down, the budget lets the first calls retry, and spares it
the retries of all the others.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` say whom to ask; the arguments are the model and the number of threads.
Against ``streamcanary simulate``, try ``sim-cut%40`` and ``sim-500``.
"""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from streamcanary import RetryBudget, RetryPolicy, StreamClient, StreamFailed

client = StreamClient(OpenAI(), retry=RetryPolicy(base_delay=0.05), budget=RetryBudget(30))


def ask(model: str) -> str:
    """Return the answer, or the kind of the fault."""
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
