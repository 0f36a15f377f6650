"""Silences made and ended on the page, with the preview of what they match."""

import pytest
from playwright.async_api import expect

from support.browser.accessibility import grave_violations
from support.browser.addresses import Serve
from support.browser.page_watch import PageWatch, at_noon

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
async def test_a_silence_is_made_and_ended(javascript: bool, serve: Serve, watch: PageWatch) -> None:
    """The link of an incident fills in the form; the silence is listed until it is ended. No script is needed."""
    options = at_noon() if javascript else {"javascript": False}
    page = await watch.open(await serve() + "/alerts", **options)
    await page.get_by_role("article").get_by_role("link", name="Silence").click()
    await expect(page.locator("#preview")).to_contain_text("canaries")
    matcher = await page.get_by_label("Matchers").input_value()
    await page.get_by_label("For", exact=True).fill("45m")
    await page.get_by_label("By").fill("ana")
    await page.get_by_label("Why").fill("known outage")
    await page.get_by_role("button", name="Silence", exact=True).click()

    row = page.get_by_role("row").filter(has_text="known outage")
    await expect(page.get_by_role("status").filter(has_text="active")).to_be_visible()
    for text in ("active", matcher.splitlines()[0], "ana", "45 min"):
        await expect(row).to_contain_text(text)
    assert [] == (await grave_violations(page) if javascript else [])

    await row.get_by_role("button", name="Expire").click()
    await expect(page.get_by_role("status").filter(has_text="ended")).to_be_visible()
    await expect(page.get_by_role("row").filter(has_text="known outage")).to_have_count(0)


async def test_the_preview_follows_what_is_typed(serve: Serve, watch: PageWatch) -> None:
    """Canaries that match are named while the matcher is written; a mistake in it is explained."""
    page = await watch.open(await serve() + "/silences", **at_noon())
    matchers, preview = page.get_by_label("Matchers"), page.locator("#preview")
    await matchers.fill('canary=~"claude.*"')
    await expect(preview).to_contain_text("2 canaries: claude-chat, claude-tools")
    await matchers.fill('canary="chat-mini"')
    await expect(preview).to_contain_text("1 canary: chat-mini")
    await matchers.fill("canary")
    await expect(preview).to_contain_text("not a matcher")
    await matchers.fill("")
    await expect(preview).to_be_empty()


async def test_the_preview_works_without_a_script(serve: Serve, watch: PageWatch) -> None:
    """The button shows the same preview, and keeps what was written."""
    page = await watch.open(await serve() + "/silences", javascript=False)
    await page.get_by_label("Matchers").fill('canary="chat-mini"')
    await page.get_by_label("Why").fill("load test")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("#preview")).to_contain_text("1 canary: chat-mini")
    await expect(page.get_by_label("Why")).to_have_value("load test")


async def test_a_mistake_is_explained_beside_the_form(serve: Serve, watch: PageWatch) -> None:
    """A length that is none is named, nothing is made, and what was written stays."""
    page = await watch.open(await serve() + "/silences", **at_noon(statuses=(400,)))
    before = await page.locator("tr[data-silence]").count()
    await page.get_by_label("Matchers").fill('canary="chat-mini"')
    await page.get_by_label("For", exact=True).fill("soon")
    await page.get_by_role("button", name="Silence", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("for")
    await expect(page.get_by_label("Matchers")).to_have_value('canary="chat-mini"')
    await expect(page.get_by_label("For", exact=True)).to_have_value("soon")
    assert before == await page.locator("tr[data-silence]").count()
    assert [] == await grave_violations(page)
