"""Scrapes: rendered in a thread, once for all that wait."""

import asyncio
import threading

from streamcanary.telemetry.prometheus.scraper import MetricsScraper


class SlowText:
    """Renders when it is released; counts its renderings and the threads of these."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.formats: list[str] = []
        self.threads: set[str] = set()

    def render(self, text_format: str) -> list[bytes]:
        self.formats.append(text_format)
        self.threads.add(threading.current_thread().name)
        assert self.released.wait(10)
        return [text_format.encode()]


async def test_requests_at_the_same_time_share_a_rendering() -> None:
    """A hundred scrapes of one format cost one rendering, and the event loop is free meanwhile."""
    text = SlowText()
    scraper = MetricsScraper(text)  # type: ignore[arg-type]
    waiting = [asyncio.create_task(scraper.scrape("text/plain")) for _ in range(100)]
    other = asyncio.create_task(scraper.scrape("application/openmetrics-text"))
    await asyncio.sleep(0)
    text.released.set()
    expected = ("text/plain; version=0.0.4; charset=utf-8", [b"classic"])
    assert [expected] * 100 == await asyncio.gather(*waiting)
    assert [b"openmetrics"] == (await other)[1]
    assert ["classic", "openmetrics"] == text.formats
    assert {"metrics_0"} == text.threads
    scraper.close()


async def test_a_client_that_leaves_does_not_cancel_the_others() -> None:
    """The rendering goes on for those that still wait."""
    text = SlowText()
    scraper = MetricsScraper(text)  # type: ignore[arg-type]
    first, second = (asyncio.create_task(scraper.scrape("")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    text.released.set()
    assert [b"classic"] == (await second)[1]
    scraper.close()


async def test_a_later_scrape_renders_again() -> None:
    """The result is shared by requests that wait at the same time, not kept."""
    text = SlowText()
    text.released.set()
    scraper = MetricsScraper(text)  # type: ignore[arg-type]
    for _ in range(2):
        await scraper.scrape("")
    assert ["classic", "classic"] == text.formats
    scraper.close()
