"""The page of ``streamcanary demo``: what a person sees who tries streamcanary for the first time."""

import asyncio
import re
import sys

import pytest
from playwright.async_api import expect

from support.browser.page_watch import PageWatch

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_WITHIN = 60_000.0  # milliseconds: the outage of the demo begins after 8 s and ends after 32 s


async def test_the_outage_of_the_demo_shows_up_and_ends(watch: PageWatch) -> None:
    """The demo prints the address of its page, on which its outage, the alert and the end of both are seen live."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamcanary", "demo", "--loop"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert demo.stderr is not None
    draining = None
    try:
        async with asyncio.timeout(30):
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", (await demo.stderr.readline()).decode())):
                assert not demo.stderr.at_eof(), "the demo has ended"
        draining = asyncio.create_task(demo.stderr.read())
        page = await watch.open(f"{found[0]}/")
        sentence, row = page.locator("#sentence"), page.locator("tr[data-canary=chat]")
        await expect(sentence).to_contain_text("All 3 canaries answer", timeout=_WITHIN)
        await page.evaluate("window.isSameDocument = true")
        await expect(row).to_have_attribute("data-state", "failing", timeout=_WITHIN)
        await expect(page.locator("tr[data-canary=chat-with-fallback]")).to_have_attribute("data-state", "degraded")
        await expect(row.locator(".alert")).to_have_text("LLMErrorSpike", timeout=_WITHIN)
        await expect(page).to_have_title(re.compile("✗ 1 failing"))
        await expect(sentence).to_contain_text("All 3 canaries answer", timeout=_WITHIN)
        await expect(row.locator(".alert")).to_have_count(0, timeout=_WITHIN)
        assert await page.evaluate("window.isSameDocument")
        await watch.close()
    finally:
        demo.terminate()
        await demo.wait()
        if draining is not None:
            await draining
