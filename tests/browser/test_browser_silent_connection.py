"""A connection that stays open and sends nothing, and the lines of the page."""

import re

import pytest
from playwright.async_api import expect

from support.browser.addresses import Serve
from support.browser.page_watch import PHONE, PageWatch

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_SILENT_SOURCE = """
class Silent extends EventTarget {
  constructor() { super(); this.readyState = 1; Silent.all.push(this); }
  close() { this.readyState = 2; }
}
Silent.CLOSED = 2;
Silent.all = [];
window.EventSource = Silent;
"""
"""An ``EventSource`` whose connection is open, and which gets only what the test dispatches."""

_EDGES = "node => { const box = node.getBoundingClientRect(); return [box.left, box.right]; }"


async def test_a_silent_connection_is_noticed_as_lost(serve: Serve, watch: PageWatch) -> None:
    """Heartbeats keep it live; after 35 s without one it is opened again, and the page says for how long it is old."""
    address = await serve()
    page = await watch.open(f"{address}/silences")  # which has no connection
    await page.clock.install(time=0)
    await page.add_init_script(_SILENT_SOURCE)
    await page.goto(address)
    live = page.locator("#live")
    await page.clock.run_for(30_000)
    await expect(live).to_have_text("live")
    await page.evaluate("EventSource.all[0].dispatchEvent(new Event('heartbeat'))")
    await page.clock.run_for(30_000)
    await expect(live).to_have_text("live")
    assert 1 == await page.evaluate("EventSource.all.length")
    await page.clock.run_for(7_000)
    await expect(live).to_have_text(re.compile(r"reconnecting, last update 3[67] s ago"))
    assert [2, 1] == await page.evaluate("EventSource.all.map((source) => source.readyState)")
    await page.evaluate("EventSource.all[1].dispatchEvent(new Event('heartbeat'))")
    await expect(live).to_have_text("live")


@pytest.mark.parametrize("size", [(1280, 900), PHONE, (1900, 1000)])
async def test_the_lines_of_header_and_footer_end_with_the_content(
    serve: Serve, watch: PageWatch, size: tuple[int, int]
) -> None:
    """They begin and end where the tables do, at each width."""
    page = await watch.open(await serve(), size=size)
    edges = [await page.locator(each).first.evaluate(_EDGES) for each in ("#groups", ".top .wrap", "footer")]
    assert [edges[0]] * 3 == edges
    widths = [
        await page.locator(selector).evaluate(f"node => getComputedStyle(node).{side}")
        for selector, side in ((".top .wrap", "borderBottomWidth"), ("footer", "borderTopWidth"))
    ]
    assert ["1px", "1px"] == widths
