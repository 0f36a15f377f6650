"""Pages protected by a token, and forms that other sites send."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from support.browser.accessibility import grave_violations, overflowing
from support.browser.addresses import Serve
from support.browser.page_watch import PHONE, SCHEMES, PageWatch, at_noon
from support.servers.tcp import FixedHttpServer, http_response

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_TOKEN = "0123456789abcdef-token"
_WEB = {"token": _TOKEN}


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
async def test_the_token_opens_the_page_that_was_asked_for(javascript: bool, serve: Serve, watch: PageWatch) -> None:
    """Without a session, each page asks for the token, and then shows what was asked for, until the logout."""
    address = await serve(web=_WEB)
    page = await watch.open(f"{address}/alerts", javascript=javascript, statuses=(401,))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert "LLMErrorSpike" not in await page.content()
    await _log_in(page, _TOKEN)
    await expect(page).to_have_url(f"{address}/alerts")
    await expect(page.get_by_role("article").first).to_contain_text("LLMErrorSpike")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


async def test_a_wrong_token_opens_nothing(serve: Serve, watch: PageWatch) -> None:
    """The form says that the token is wrong, and does not show or keep it."""
    address = await serve(web=_WEB)
    page = await watch.open(address, statuses=(401,))
    await _log_in(page, "wrong-token-0123456789")
    await expect(page.get_by_role("alert")).to_contain_text("not the token")
    assert "wrong-token" not in await page.content()
    assert [] == await page.context.cookies()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_form_to_log_in_is_accessible(scheme: str, serve: Serve, watch: PageWatch) -> None:
    """The form fits a phone, and axe-core finds nothing serious."""
    page = await watch.open(await serve(web=_WEB), size=PHONE, scheme=scheme, statuses=(401,))
    assert [] == await grave_violations(page)
    assert [] == await overflowing(page)


async def test_the_session_is_out_of_reach_of_scripts(serve: Serve, watch: PageWatch) -> None:
    """The cookie is HttpOnly and SameSite=Strict, and does not contain the token."""
    page = await watch.open(await serve(web=_WEB), statuses=(401,))
    await _log_in(page, _TOKEN)
    [cookie] = await page.context.cookies()
    assert (True, "Strict") == (cookie["httpOnly"], cookie["sameSite"])
    assert _TOKEN not in cookie["value"]
    assert "" == await page.evaluate("document.cookie")


async def test_a_silence_is_made_in_a_session(serve: Serve, watch: PageWatch) -> None:
    """The form carries the token of the session, with and without a script."""
    address = await serve(web=_WEB)
    page = await watch.open(f"{address}/silences", **at_noon(statuses=(401,)))
    await _log_in(page, _TOKEN)
    await _make_silence(page, "planned work")
    await expect(page.get_by_role("row").filter(has_text="planned work")).to_be_visible()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site", "other site"])
@pytest.mark.parametrize("web", [{}, _WEB], ids=["loopback", "token"])
async def test_a_form_of_another_origin_changes_nothing(
    host: str, web: dict[str, str], serve: Serve, browser: Browser
) -> None:
    """A page on another port or host cannot make or end a silence, though a person is logged in."""
    address = await serve(web=web)
    async with await browser.new_context() as context, _attacker(address) as attacker:
        page = await context.new_page()
        await page.goto(f"{address}/silences")
        if web:
            await _log_in(page, _TOKEN)
        before = await page.locator("tr[data-silence]").count()
        assert before > 0
        for path in ("create", "expire"):
            await page.goto(f"http://{host}:{attacker.port}/v1/{path}")
            async with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
                await page.get_by_role("button").click()
            assert (await answer.value).status in (401, 403)
        await page.goto(f"{address}/silences")
        await expect(page.locator("tr[data-silence]")).to_have_count(before)


async def test_another_origin_can_neither_frame_nor_read_the_page(serve: Serve, browser: Browser) -> None:
    """The page is not shown in a frame of another origin, and a script there cannot read it."""
    address = await serve()
    async with await browser.new_context() as context, _attacker(address) as attacker:
        page = await context.new_page()
        await page.goto(f"http://localhost:{attacker.port}/v1/frame")
        [frame] = page.frames[1:]
        assert "canaries" not in await frame.content()
        read = "address => fetch(address).then(answer => answer.text()).catch(error => error.name)"
        assert "TypeError" == await page.evaluate(read, f"{address}/api/v1/silences")
        assert "TypeError" == await page.evaluate(read, address)


def _attacker(address: str) -> FixedHttpServer:
    """Return a server of pages whose forms are sent to ``address``."""
    fields = "".join(
        f"<input type=hidden name={name} value='{value}'>"
        for name, value in {"match": 'canary="chat-mini"', "for": "2h", "by": "x", "why": "attack"}.items()
    )
    pages = {
        "create": f"<form method=post action='{address}/silences'>{fields}<button>go</button></form>",
        "expire": f"<form method=post action='{address}/silences/s1/expire'><button>go</button></form>",
        "frame": f"<iframe src='{address}/'></iframe>",
    }
    return FixedHttpServer(
        {path: http_response(200, f"<!doctype html>{text}", "text/html") for path, text in pages.items()}
    )


async def _log_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    async with page.expect_navigation():
        await page.get_by_role("button", name="Log in").click()
    assert token not in urlsplit(page.url).query


async def _make_silence(page: Page, why: str) -> None:
    await page.get_by_label("Matchers").fill('canary="chat-mini"')
    await page.get_by_label("Why").fill(why)
    await page.get_by_role("button", name="Silence", exact=True).click()
