"""The loop of many tutorials: a stream in a try block, and another attempt after a longer wait.

Its errors:

- A stream that ends early raises nothing: a truncated answer is returned as complete.
- After a cut the partial text is printed, and then printed again: it appears twice.
- It retries every exception, also an exhausted quota and an invalid key, and the SDK has retried each attempt already.
- A stall is detected after ten minutes, and never while the server sends keep-alive comments.
- A login page instead of a stream is an empty answer, and an error event is a missing field.
- The number of attempts is not reported.

``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` set the endpoint; the first argument is the model. Against
``streamcanary simulate``, try ``sim-truncated``, ``sim-cut@1``, ``sim-quota``, ``sim-html-200`` and, ready to press
Ctrl-C, ``sim-keepalive-stall``. :mod:`streamcanary_loop` is the same program without these errors.
"""

import sys
import time

from openai import OpenAI

client = OpenAI()


def ask(model: str, question: str) -> str:
    """Return the answer, and print it as it arrives."""
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
        except Exception as error:  # noqa: BLE001 - as in the tutorials
            print(f"\n[{type(error).__name__}, retrying in {wait:g} s]")
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
