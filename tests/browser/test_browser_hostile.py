"""What a provider sends, as the browser shows it."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.async_api import Page, expect

from support.browser.accessibility import overflowing
from support.browser.addresses import Serve
from support.browser.live_daemon import live_daemon
from support.browser.page_watch import DESKTOP, PHONE, PageWatch, at_noon
from support.servers.tcp import TcpServer, http_response
from support.status import alerts, canaries, traces

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_MEGABYTE = (canaries.HOSTILE + "\u05d0\u200f\u202b مرحبا ") * 1400
_RUN = traces.failed_over(1, canaries.HOSTILE)
_PATHS = (
    "/",
    "/?group=model",
    "/canaries/chat-mini",
    f"/canaries/chat-mini/runs/{_RUN.run.run_id}",
    "/alerts",
    "/public",
)
_INVISIBLE = "\x00\x1b\u200e\u200f\u202a\u202b\u202d\u202e\u2066\u2067"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("text", [canaries.HOSTILE, _MEGABYTE], ids=["short", "megabyte"])
@pytest.mark.parametrize("path", _PATHS)
async def test_hostile_text_is_text(
    path: str, text: str, size: tuple[int, int], serve: Serve, watch: PageWatch
) -> None:
    """Markup is shown and not parsed, no control or direction character remains, and the page keeps its form."""
    scenario = canaries.hostile()
    scenario = replace(
        scenario,
        summary=replace(scenario.summary, sentence=f"openai: fails ({text})", detail=text),
        statuses=tuple(replace(one, message=text, model=text[:200]) for one in scenario.statuses),
    )
    address = await serve(scenario, alerts.hostile(), (traces.failed_over(1, text),))
    page = await watch.open(address + path, **at_noon(size=size))
    assert [] == await _injected(page)
    shown = await page.locator("body").inner_text()
    assert [] == [character for character in _INVISIBLE if character in shown]
    assert [] == await overflowing(page)
    assert await page.evaluate("document.documentElement.scrollHeight") < 10_000
    assert len(await page.content()) < 100_000


async def test_an_error_of_a_hostile_provider_is_text(tmp_path: Path, watch: PageWatch) -> None:
    """What a provider sends as its error, a megabyte of it, passes a running daemon and is shown cut, as text."""
    body = http_response(500, {"error": {"message": _MEGABYTE}})

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        await writer.drain()

    async with TcpServer(answer) as provider:
        target = {"base_url": provider.base_url, "api_key": "none", "provider": "openai"}
        async with live_daemon(tmp_path, targets={"openai": target}) as live:
            await live.daemon.wait_for_log("run finished", 2, canary="chat", outcome="failed")
            page = await watch.open(f"{live.address}/canaries/chat", size=PHONE)
            await expect(page.locator("#sentence")).to_contain_text("fails")
            for path in ("/canaries/chat", "/alerts", "/"):
                await page.goto(live.address + path)
                assert [] == await _injected(page)
                assert [] == await overflowing(page)
                assert len(await page.content()) < 100_000
            await page.goto(f"{live.address}/canaries/chat")
            await page.locator("#runs").get_by_role("link").first.click()
            await expect(page.locator("[data-attempt]").first).to_contain_text("<script>alert(1)</script>")
            assert [] == await _injected(page)
            assert [] == await overflowing(page)
            await watch.close()


@pytest.mark.parametrize("path", ["/?q={}", "/?group=label:{}", "/canaries/{}", "/silences?match={}", "/incidents/{}"])
async def test_hostile_addresses_are_text(path: str, serve: Serve, watch: PageWatch) -> None:
    """What stands in an address is shown and not parsed, on pages of errors, too."""
    script = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27%3E%3Cimg%20src=x%20onerror=alert(1)%3E%E2%80%AE"
    page = await watch.open(await serve() + path.format(script), **at_noon(statuses=(404,)))
    assert [] == await _injected(page)
    assert "\u202e" not in await page.locator("body").inner_text()


async def _injected(page: Page) -> list[str]:
    """Return the elements that the page itself does not have."""
    unknown = (
        "script:not([src^='/assets/page.']), img:not([src^='/badge/']), iframe, object, embed, style, [style], "
        "[onerror], [onload], [onclick], a[href^='javascript:'], a[href^='data:']"
    )
    return await page.locator(unknown).evaluate_all("found => found.map(one => one.outerHTML.slice(0, 120))")
