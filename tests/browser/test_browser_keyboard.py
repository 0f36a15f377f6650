"""The page with the keyboard alone, and with reduced motion."""

import pytest
from playwright.async_api import Page, expect

from support.browser.addresses import PATHS, Serve
from support.browser.page_watch import PageWatch, at_noon

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_FOCUS_RING = """() => {
    const isRing = (style, edge, width) => style[edge] !== "none" && parseFloat(style[width]) >= 2;
    const bar = document.activeElement.querySelector("rect");  // a link in a drawing shows it by an edge
    return isRing(getComputedStyle(document.activeElement), "outlineStyle", "outlineWidth")
        || bar !== null && isRing(getComputedStyle(bar), "stroke", "strokeWidth");
}"""
_MAX_STOPS = 200


async def test_the_first_stop_skips_to_the_content(serve: Serve, watch: PageWatch) -> None:
    """The skip link comes first, is visible when it has the focus, and leads to the content."""
    page = await watch.open(await serve(), **at_noon())
    skip = page.get_by_role("link", name="Skip to the content")
    await page.keyboard.press("Tab")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.querySelector('main').contains(document.activeElement)")


@pytest.mark.parametrize("name", PATHS)
async def test_every_stop_shows_its_focus(name: str, serve: Serve, watch: PageWatch) -> None:
    """The tab key reaches links, fields and buttons, and each shows that it has the focus; not bars, listed below."""
    page = await watch.open(await serve() + PATHS[name], **at_noon())
    expected = await page.locator(
        "a[href]:not([tabindex='-1']), button, input:not([type=hidden]), textarea, summary"
    ).count()
    stops = 0
    for _ in range(_MAX_STOPS):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement === document.body"):
            break
        assert await page.evaluate(_FOCUS_RING), await _focused(page)
        stops += 1
    assert expected <= stops


async def test_slash_filters_as_you_type(serve: Serve, watch: PageWatch) -> None:
    """``/`` goes to the filter, what is typed narrows the rows at once, Escape shows all again."""
    page = await watch.open(await serve(), **at_noon())
    rows = page.locator("tr[data-canary]:visible")
    everything = await rows.count()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("claude")
    await expect(rows).to_have_count(2)
    await page.keyboard.press("Escape")
    await expect(rows).to_have_count(everything)


async def test_j_and_k_move_and_enter_opens(serve: Serve, watch: PageWatch) -> None:
    """``j`` and ``k`` go down and up the rows, stop at the ends, and Enter opens the row."""
    page = await watch.open(await serve(), **at_noon())
    names = await page.locator("tr[data-canary]").evaluate_all("rows => rows.map(row => row.dataset.canary)")
    for key, expected in (("j", 0), ("j", 1), ("j", 2), ("k", 1), ("k", 0), ("k", 0)):
        await page.keyboard.press(key)
        assert names[expected] == await page.evaluate("document.activeElement.dataset.canary")
        assert await page.evaluate(_FOCUS_RING)
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{page.url.split('/canaries')[0].rstrip('/')}/canaries/{names[1]}")


async def test_letters_in_a_field_are_letters(serve: Serve, watch: PageWatch) -> None:
    """``/``, ``j`` and ``k`` typed into a field do nothing else."""
    page = await watch.open(await serve() + "/silences", **at_noon())
    field = page.get_by_label("Why")
    await field.press_sequentially("j/k")
    await expect(field).to_have_value("j/k")
    await expect(field).to_be_focused()


@pytest.mark.parametrize("reduced", [False, True], ids=["motion", "reduced motion"])
async def test_motion_is_shown_only_to_those_who_want_it(reduced: bool, serve: Serve, watch: PageWatch) -> None:
    """A changed row lights up, except with ``prefers-reduced-motion``."""
    page = await watch.open(await serve(), **at_noon(reduced_motion=reduced))
    await page.locator("tr[data-canary]").first.evaluate("row => row.classList.add('changed')")
    assert (0 if reduced else 1) == min(1, await page.evaluate("document.getAnimations().length"))


async def _focused(page: Page) -> str:
    text: str = await page.evaluate("document.activeElement.outerHTML")
    return text[:200]
