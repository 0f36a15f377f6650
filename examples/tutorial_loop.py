"""The loop that every tutorial shows: a stream in a try block, and another try after a longer wait.

What it gets wrong:

- A stream that ends in the middle raises nothing: half an answer is returned as a whole one.
- After a cut the text so far has been shown, and is shown again: it stands there twice.
- It retries whatever is raised, also an empty account and a wrong key; and the SDK, unasked, has retried each time.
- A stall is noticed after ten minutes, and never while the server sends signs of life.
- A login page instead of a stream is an empty answer, and an error event a missing field.
- Nobody learns how often it tried.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` say whom to ask; the first argument is the model. Against
``streamcanary simulate``, try ``sim-truncated``, ``sim-cut@1``, ``sim-quota``, ``sim-html-200`` and, with a finger on
Ctrl-C, ``sim-keepalive-stall``. :mod:`streamcanary_loop` is the same program without these mistakes.
"""

import sys
import time

from openai import OpenAI

client = OpenAI()


def ask(model: str, question: str) -> str:
    """Return the answer, and show it as it comes."""
    answer, wait = "", 0.1
    for _ in range(3):
        try:
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], stream=True
            )
            for chunk in stream:
                piece = chunk.choices[0].delta.content or ""
                print(piece, end="", flush=True)
                answer += piece
        except Exception as error:  # noqa: BLE001 - as the tutorials do
            print(f"\n[{type(error).__name__}, once more in {wait:g} s]")
            time.sleep(wait)
            wait *= 2
        else:
            print()
            return answer
    raise RuntimeError("no answer")


if __name__ == "__main__":
    try:
        text = ask(sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini", "Reply with the single word pong.")
    except RuntimeError as error:
        print(f"failed: {error}")
        sys.exit(1)
    print(f"answer: {text}")
