"""An outage of a provider on the page of a running daemon, live, and the waterfall of a run in it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import expect

from streamcanary.web.api.events import MAX_SUBSCRIBERS
from support.browser.accessibility import grave_violations
from support.browser.live_daemon import LiveDaemon, live_daemon
from support.browser.page_watch import PageWatch
from support.http_client import loopback_client

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_SOON = 30_000.0  # milliseconds


@pytest_asyncio.fixture(loop_scope="session")
async def live(tmp_path: Path) -> AsyncIterator[LiveDaemon]:
    async with live_daemon(tmp_path) as running:
        yield running


async def test_an_outage_shows_up_and_ends_without_a_reload(live: LiveDaemon, watch: PageWatch) -> None:
    """Sentence, title, row, strip and alert follow an outage of the provider, and its end."""
    page = await watch.open(live.address)
    sentence, row = page.locator("#sentence"), page.locator("tr[data-canary=chat]")
    await expect(row).to_have_attribute("data-state", "ok", timeout=_SOON)
    await expect(sentence).to_contain_text("All 2 canaries answer", timeout=_SOON)
    await page.evaluate("window.isSameDocument = true")

    live.provider.set_fault("cut")
    await expect(row).to_have_attribute("data-state", "failing", timeout=_SOON)
    await expect(sentence).to_have_attribute("data-state", "failing", timeout=_SOON)
    await expect(sentence).to_contain_text("chat")
    await expect(page).to_have_title(re.compile("✗ 1 failing"), timeout=_SOON)
    await expect(row.locator(".alert")).to_have_text("Down", timeout=_SOON)
    await expect(row.locator(".strip path.failing")).to_have_count(1)
    await expect(page.get_by_role("navigation", name="Pages")).to_contain_text("Alerts 1", timeout=_SOON)
    assert [] == await grave_violations(page)

    live.provider.set_fault("ok")
    await expect(row).to_have_attribute("data-state", "ok", timeout=_SOON)
    await expect(sentence).to_contain_text("All 2 canaries answer", timeout=_SOON)
    await expect(row.locator(".alert")).to_have_count(0, timeout=_SOON)
    await expect(row.locator(".strip path.failing")).to_have_count(1)
    assert await page.evaluate("window.isSameDocument")


async def test_a_page_whose_stream_is_refused_reads_itself(live: LiveDaemon, watch: PageWatch) -> None:
    """While too many others read events, the page says that it is not live, and follows; then it is live again."""
    split = urlsplit(live.address)
    request = f"GET /api/v1/events HTTP/1.1\r\nHost: {split.netloc}\r\n\r\n".encode()
    others = [await asyncio.open_connection(split.hostname, split.port) for _ in range(MAX_SUBSCRIBERS)]
    for reader, writer in others:
        writer.write(request)
        assert b" 200 " in await reader.readline()
    page = await watch.open(live.address)
    await expect(page.locator("#live")).to_contain_text("not live, last update", timeout=_SOON)
    live.provider.set_fault("cut")
    await expect(page.locator("tr[data-canary=chat]")).to_have_attribute("data-state", "failing", timeout=_SOON)
    for _, writer in others:
        writer.close()
    await expect(page.locator("#live")).to_have_text("live", timeout=2 * _SOON)
    watch.problems[:] = [problem for problem in watch.problems if "429" not in problem]


async def test_an_incident_is_shown_live_with_its_timeline(live: LiveDaemon, watch: PageWatch) -> None:
    """The page of the alerts shows an incident when it opens, who was notified, and then in the history."""
    page = await watch.open(f"{live.address}/alerts")
    card = page.get_by_role("article").filter(has_text="Down")
    await expect(page.locator("#sentence")).to_contain_text("No alert fires", timeout=_SOON)
    live.provider.set_fault("stall")
    await expect(card).to_contain_text("chat", timeout=_SOON)
    await live.receiver.wait_for_deliveries(1)
    await expect(card).to_contain_text("notified pager", timeout=_SOON)
    live.provider.set_fault("ok")
    await expect(card).to_have_count(0, timeout=_SOON)
    await expect(page.locator("#history")).to_contain_text("chat", timeout=_SOON)


async def test_the_waterfall_of_a_failed_run_opens_from_its_canary(live: LiveDaemon, watch: PageWatch) -> None:
    """Each attempt has its phases, the wait before the next, the fault in words and who can fix it; and the trace."""
    live.provider.set_fault("stall")
    await live.daemon.wait_for_log("run finished", canary="chat", outcome="failed")
    page = await watch.open(live.address)
    await page.get_by_role("link", name="chat", exact=True).click()
    run = page.locator("#runs").get_by_role("row").filter(has_text="failed").first
    await expect(run).to_be_visible(timeout=_SOON)
    await run.get_by_role("link").click()

    await expect(page.get_by_role("heading", level=1)).to_contain_text("chat")
    attempts = page.locator("[data-attempt]")
    await expect(attempts).to_have_count(3)
    for number in range(3):
        attempt = attempts.nth(number)
        await expect(attempt).to_contain_text("stalled")
        assert await attempt.locator("rect.ph").count() > 0
        assert await attempt.locator("rect.ph.failed").count() == 1
    await expect(page.locator("li.pause")).to_have_count(2)
    await expect(page.locator("li.pause").first).to_contain_text("waited")
    trace_id = (await page.get_by_text(re.compile(r"^[0-9a-f]{32}$")).first.inner_text()).strip()
    async with loopback_client() as client:
        recorded = (await client.get(f"{live.address}/api/v1/runs/{trace_id}")).json()
    assert trace_id == recorded["run"]["trace_id"]
    assert [] == await grave_violations(page)


async def test_a_silence_mutes_the_alert_of_a_running_daemon(live: LiveDaemon, watch: PageWatch) -> None:
    """A silence made on the page keeps the receiver quiet; when it is ended there, the receiver is notified."""
    page = await watch.open(f"{live.address}/canaries/chat")
    live.provider.set_fault("cut")
    await expect(page.locator("#sentence")).to_contain_text("Down", timeout=_SOON)
    [fired] = [one for one in await live.receiver.wait_for_deliveries(1) if one.json["type"] == "alert.fired"]
    assert "Down" in fired.json["title"]
    await page.locator("#sentence").get_by_role("link", name="Silence").click()
    await expect(page.locator("#preview")).to_contain_text("1 canary: chat")
    await expect(page.locator("#preview")).to_contain_text("Down")
    await page.get_by_role("button", name="Silence", exact=True).click()
    await expect(page.get_by_role("status").filter(has_text="active")).to_be_visible()
    await page.goto(f"{live.address}/alerts")
    await expect(page.get_by_role("article").first).to_contain_text("Muted", timeout=_SOON)
    await page.goto(f"{live.address}/silences")
    await page.get_by_role("button", name="Expire").click()
    await expect(page.get_by_role("status").filter(has_text="ended")).to_be_visible()
    await page.goto(f"{live.address}/alerts")
    await expect(page.get_by_role("article").first).not_to_contain_text("Muted", timeout=_SOON)


async def test_a_lost_daemon_is_noticed_and_found_again(live: LiveDaemon, watch: PageWatch) -> None:
    """The page says that the connection is lost and how old it is, and is live again when the daemon is back."""
    page = await watch.open(live.address)
    state = page.locator("#live")
    await expect(state).to_have_text("live", timeout=_SOON)
    watch.server_may_be_lost = True
    await live.daemon.kill()
    await expect(state).to_have_text(re.compile(r"reconnecting, last update \d+ s ago"), timeout=_SOON)
    first = await state.inner_text()
    await expect(state).not_to_have_text(first, timeout=_SOON)
    await expect(page.locator("tr[data-canary=chat]")).to_be_visible()

    live.provider.set_fault("cut")
    await live.daemon.start()
    await live.daemon.wait_until_ready()
    await expect(state).to_have_text("live", timeout=_SOON)
    await expect(page.locator("tr[data-canary=chat]")).to_have_attribute("data-state", "failing", timeout=_SOON)


async def test_a_first_visit_before_any_run(tmp_path: Path, watch: PageWatch) -> None:
    """Before the first run the page says when it is due; then it appears by itself."""
    async with live_daemon(tmp_path) as running:
        page = await watch.open(running.address)
        await expect(page.locator("tr[data-canary=chat]")).to_have_attribute("data-state", "ok", timeout=_SOON)
        await watch.close()
