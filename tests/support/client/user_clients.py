"""What users pass to the client: providers of keys, and clients of the SDK with methods of their own."""

from typing import Any

import httpx2
from openai import AsyncOpenAI


class Keys:
    """Returns another key each time."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> str:
        """Return the next key."""
        self.count += 1
        return f"key-number-{self.count}"


class Signing(AsyncOpenAI):
    """A client of a user that adds a header to each request."""

    def _build_headers(self, options: Any, *, retries_taken: int = 0) -> httpx2.Headers:
        headers = super()._build_headers(options, retries_taken=retries_taken)
        headers["x-signature"] = str(len(options.json_data))
        return headers
