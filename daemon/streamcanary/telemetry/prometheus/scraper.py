"""Renders ``/metrics`` off the event loop, part by part as they are sent."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from streamcanary.telemetry.prometheus.reader import MetricsText
from streamcanary.telemetry.prometheus.text import CONTENT_TYPES, Format, accepted_format


class MetricsScraper:
    """Renders in one thread of its own: the threads of the event loop look up names for the canaries.

    Requests at the same time take turns, part by part. A client that reads slowly delays no other, and what a client
    does not read is not rendered.
    """

    def __init__(self, text: MetricsText) -> None:
        self._text = text
        self._executor = ThreadPoolExecutor(1, "metrics")

    def scrape(self, accept: str) -> tuple[str, AsyncIterator[bytes]]:
        """Return the content type for the header ``Accept``, and the body in parts of about 256 KiB."""
        text_format = accepted_format(accept)
        return CONTENT_TYPES[text_format], self._render(text_format)

    async def _render(self, text_format: Format) -> AsyncIterator[bytes]:
        loop, parts = asyncio.get_running_loop(), self._text.render(text_format)
        while part := await loop.run_in_executor(self._executor, next, parts, b""):
            yield part

    def close(self) -> None:
        """Render no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
