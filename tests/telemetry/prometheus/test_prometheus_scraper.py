"""Scrapes: rendered in a thread, part by part as a client reads them."""

import asyncio
import threading
from collections.abc import Iterator

from streamcanary.telemetry.prometheus.scraper import MetricsScraper


class CountingText:
    """Renders five parts; counts them, and the threads that render."""

    def __init__(self) -> None:
        self.rendered: list[str] = []
        self.threads: set[str] = set()

    def render(self, text_format: str) -> Iterator[bytes]:
        for number in range(5):
            self.rendered.append(f"{text_format} {number}")
            self.threads.add(threading.current_thread().name)
            yield b"%d" % number


async def test_the_format_is_that_of_the_client() -> None:
    """The content type says what is rendered, in a thread of its own."""
    text = CountingText()
    scraper = MetricsScraper(text)  # type: ignore[arg-type]
    classic, parts = scraper.scrape("text/plain")
    assert ("text/plain; version=0.0.4; charset=utf-8", b"01234") == (classic, b"".join([part async for part in parts]))
    openmetrics, parts = scraper.scrape("application/openmetrics-text")
    assert "application/openmetrics-text; version=1.0.0; charset=utf-8" == openmetrics
    assert 5 == len([part async for part in parts])
    assert "openmetrics 0" == text.rendered[5]
    assert {"metrics_0"} == text.threads
    scraper.close()


async def test_what_is_not_read_is_not_rendered() -> None:
    """A slow client delays no other, and one that leaves costs nothing more."""
    text = CountingText()
    scraper = MetricsScraper(text)  # type: ignore[arg-type]
    _, slow = scraper.scrape("")
    assert b"0" == await anext(slow)
    _, fast = scraper.scrape("application/openmetrics-text")
    assert 5 == len([part async for part in fast])
    assert ["classic 0"] == [part for part in text.rendered if part.startswith("classic")]
    scraper.close()


async def test_requests_at_the_same_time_take_turns() -> None:
    """Each gets its whole body, and one thread renders all of them."""
    text = CountingText()
    scraper = MetricsScraper(text)  # type: ignore[arg-type]

    async def read() -> bytes:
        return b"".join([part async for part in scraper.scrape("")[1]])

    assert [b"01234"] * 20 == await asyncio.gather(*(read() for _ in range(20)))
    assert ["classic 0"] * 20 == text.rendered[:20]
    assert {"metrics_0"} == text.threads
    scraper.close()
