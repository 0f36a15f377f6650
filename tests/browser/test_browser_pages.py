"""Every page in a real browser: nothing goes wrong, everybody can read it, it fits a phone."""

import pytest

from support.browser.accessibility import grave_violations, overflowing
from support.browser.addresses import PATHS, Serve
from support.browser.page_watch import DESKTOP, PHONE, SCHEMES, PageWatch, at_noon
from support.status.alerts import quiet
from support.status.canaries import all_well, no_canaries, nothing_yet, thousand

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PATHS)
async def test_axe_finds_nothing_serious(name: str, scheme: str, serve: Serve, watch: PageWatch) -> None:
    """Contrast, names, roles and structure are right in both colour schemes, on desktop and phone."""
    address = await serve()
    for size in (DESKTOP, PHONE):
        page = await watch.open(address + PATHS[name], **at_noon(size=size, scheme=scheme))
        assert [] == await grave_violations(page)


@pytest.mark.parametrize("size", [PHONE, (320, 640)], ids=lambda size: str(size[0]))
@pytest.mark.parametrize("name", PATHS)
async def test_a_page_fits_a_phone(name: str, size: tuple[int, int], serve: Serve, watch: PageWatch) -> None:
    """No page scrolls sideways, down to 320 px (WCAG 2.2, 1.4.10)."""
    address = await serve()
    page = await watch.open(address + PATHS[name], **at_noon(size=size))
    assert [] == await overflowing(page)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("scenario", [all_well, no_canaries, nothing_yet, thousand])
async def test_the_overview_of_other_scenarios(scenario, scheme: str, serve: Serve, watch: PageWatch) -> None:
    """The overview is accessible and fits when all is well, before the first run, and with a thousand canaries."""
    address = await serve(scenario(), quiet(), ())
    for size in (DESKTOP, PHONE):
        page = await watch.open(address, **at_noon(size=size, scheme=scheme))
        assert [] == await overflowing(page)
        assert [] == await grave_violations(page)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", ["/canaries/chat-mini", "/alerts"])
async def test_an_unreadable_store(path: str, scheme: str, serve: Serve, watch: PageWatch) -> None:
    """A page says that history is unavailable and why, and still shows what is live."""
    address = await serve(unavailable="streamcanary.db: disk I/O error.")
    page = await watch.open(address + path, **at_noon(scheme=scheme, size=PHONE))
    assert "disk I/O error" in await page.get_by_text("History is unavailable").locator("..").inner_text()
    assert [] == await grave_violations(page)
    assert [] == await overflowing(page)


@pytest.mark.parametrize("path", ["/canaries/no-such", "/canaries/chat-mini/runs/no-such", "/incidents/x", "/no/such"])
async def test_what_does_not_exist(path: str, serve: Serve, watch: PageWatch) -> None:
    """The page of something that does not exist links to what does."""
    address = await serve()
    page = await watch.open(address + path, **at_noon(statuses=(404,)))
    assert await page.get_by_role("main").get_by_role("link").count() > 0
    assert [] == await grave_violations(page)
    await page.get_by_role("main").get_by_role("link").first.click()
    assert "no-such" not in page.url


@pytest.mark.parametrize("name", [name for name in PATHS if name != "public"])
async def test_without_javascript(name: str, serve: Serve, watch: PageWatch) -> None:
    """Each page says the same without JavaScript: its heading and its main content."""
    address = await serve()
    plain = await watch.open(address + PATHS[name], javascript=False)
    scripted = await watch.open(address + PATHS[name], **at_noon())
    for role in ("heading", "link", "row"):
        expected = await scripted.get_by_role("main").get_by_role(role).count()
        assert expected == await plain.get_by_role("main").get_by_role(role).count()
