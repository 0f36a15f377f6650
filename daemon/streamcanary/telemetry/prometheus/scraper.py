"""Renders ``/metrics`` off the event loop, once for all requests that wait at the same time."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from streamcanary.telemetry.prometheus.reader import MetricsText
from streamcanary.telemetry.prometheus.text import CONTENT_TYPES, Format, accepted_format


class MetricsScraper:
    """Renders in one thread of its own: the threads of the event loop look up names for the canaries.

    Requests for the same format that arrive while it is rendered wait for that result. So there are at most two
    renderings at once, one of which waits.
    """

    def __init__(self, text: MetricsText) -> None:
        self._text = text
        self._executor = ThreadPoolExecutor(1, "metrics")
        self._running: dict[Format, asyncio.Task[list[bytes]]] = {}

    async def scrape(self, accept: str) -> tuple[str, Sequence[bytes]]:
        """Return the content type for the header ``Accept``, and the body in pieces of a series each."""
        text_format = accepted_format(accept)
        task = self._running.get(text_format)
        if task is None:
            task = asyncio.create_task(self._render(text_format), name="metrics")
            self._running[text_format] = task
            task.add_done_callback(lambda _: self._running.pop(text_format, None))
        return CONTENT_TYPES[text_format], await asyncio.shield(task)  # a client that leaves cancels no other

    async def _render(self, text_format: Format) -> list[bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._text.render, text_format)

    def close(self) -> None:
        """Render no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
