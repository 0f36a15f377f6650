"""What the page refuses and never contains: foreign markup, inline code, forms of other sites, internals in public."""

import re

import httpx2
import pytest

from streamcanary.web.page.responses import CONTENT_SECURITY_POLICY
from streamcanary.web.sessions import SESSION_LIFETIME
from support.clock import ManualClock
from support.status import alerts, canaries, traces
from support.status.page import ScenarioAlerts, make_sources
from support.status.site import TOKEN, Document, same_origin, served_page

RUN = "/canaries/chat-mini/runs/" + "1".zfill(32)
PAGES = [
    "/",
    "/?group=label:tier&q=chat&state=failing",
    "/canaries/chat-mini",
    RUN,
    "/alerts",
    "/incidents/i1",
    "/incidents/i2",
    "/silences",
    '/silences?match=canary="chat-mini"',
    "/silences/preview?match=canary%3D%22chat-mini%22",
    "/public",
    "/login",
    "/badge/chat-mini.svg",
    "/nothing/here",
    "/assets/none.js",
    "/canaries/none",
]
SILENCE = {"match": 'canary="chat-mini"', "for": "2h", "by": "me", "why": "deploy"}


def hostile_sources() -> object:
    """Return sources in which all text of providers is hostile."""
    return make_sources(canaries.hostile(), alerts.hostile(), [traces.failed_over(1, canaries.HOSTILE)])


@pytest.mark.parametrize("path", PAGES)
async def test_every_response_has_the_security_headers(path: str) -> None:
    """A strict policy without inline code, no sniffing, no framing; pages are not stored."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed(), [traces.good(1)]), is_public=True) as http:
        answer = await http.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy == CONTENT_SECURITY_POLICY or path.startswith("/badge/")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "text/html" not in answer.headers.get("content-type", "") or "no-store" == answer.headers["cache-control"]


@pytest.mark.parametrize("path", PAGES)
async def test_hostile_text_is_only_text(path: str) -> None:
    """Markup of a provider makes no element or attribute; control characters and overrides are gone; it is cut."""
    async with served_page(hostile_sources(), is_public=True) as http:  # type: ignore[arg-type]
        markup = (await http.get(path)).text
    page = Document(markup)
    assert not {"onerror", "onload", "onclick", "style"} & {name for _, found in page.elements for name in found}
    assert all("/assets/" in (found.get("src") or "") for tag, found in page.elements if tag == "script")
    assert not [found for tag, found in page.elements if tag == "img" and "x" == found.get("src")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", markup)
    assert "A" * 600 not in re.sub("<pre.*?</pre>", "", markup, flags=re.DOTALL)
    assert len(markup) < 80_000


@pytest.mark.parametrize("path", PAGES)
async def test_pages_have_no_inline_code_and_ask_no_other_host(path: str) -> None:
    """Scripts and styles are files of this server; links to elsewhere are no requests."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed()), is_public=True) as http:
        page = Document((await http.get(path)).text)
    assert "style" not in {tag for tag, _ in page.elements}
    loaded = page.all("script", "src") + page.all("link", "href") + page.all("img", "src")
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)
    assert not [href for href in page.all("a", "href") if href.startswith("javascript:")]


async def test_every_link_of_the_page_leads_somewhere() -> None:
    """Starting at the overview, each address of this server answers, each fragment exists."""
    sources = make_sources(canaries.outage(), alerts.alarmed(), [traces.good(1)])
    seen: dict[str, Document] = {}
    async with served_page(sources) as http:
        waiting = ["/"]
        while waiting and len(seen) < 150:
            path = waiting.pop()
            answer = await http.get(path)
            assert answer.status_code in (200, 308), path
            seen[path] = page = Document(answer.text)
            for address in page.all("a", "href") + page.all("script", "src") + page.all("link", "href"):
                target = address.partition("#")[0]
                is_ours = target.startswith("/") and not target.startswith("/api/")
                if is_ours and target not in seen and target not in waiting:
                    waiting.append(target)
        fragments = [
            (path, href[1:]) for path, page in seen.items() for href in page.all("a", "href") if href[0] == "#"
        ]
    assert len(seen) > 60
    for path, fragment in fragments:
        assert fragment in {found.get("id") for _, found in seen[path].elements}, (path, fragment)


async def test_an_asset_is_cached_for_ever_under_a_name_with_its_hash() -> None:
    """Stylesheet and script change their address with their content."""
    async with served_page(make_sources(canaries.all_well())) as http:
        page = Document((await http.get("/")).text)
        (script,) = page.all("script", "src")
        answer = await http.get(script)
    assert re.fullmatch(r"/assets/page\.[0-9a-f]{12}\.js", script)
    assert "public, max-age=31536000, immutable" == answer.headers["cache-control"]
    assert "text/javascript; charset=utf-8" == answer.headers["content-type"]


FOREIGN = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/silences", "/silences/s1/expire", "/logout"])
async def test_a_form_of_another_site_changes_nothing(path: str, headers: dict[str, str]) -> None:
    """Without a token, a form must come from a page of this server."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    async with served_page(sources) as http:
        answer = await http.post(path, data=SILENCE, headers=headers)
    assert 403 == answer.status_code
    assert isinstance(sources.alerts, ScenarioAlerts)
    assert ["s1"] == list(sources.alerts.made)


async def test_a_form_to_another_host_name_changes_nothing() -> None:
    """A website that lets its name resolve to this machine is refused, though it is the same origin to a browser."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    async with served_page(sources, allowed_hosts=["status.example"]) as http:
        for host, status in (("evil.example", 421), ("status.example", 403)):
            headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
            assert status == (await http.post("/silences", data=SILENCE, headers=headers)).status_code


async def test_on_another_address_than_loopback_changes_need_a_token() -> None:
    """Everyone who reaches the address may read, and nobody may change anything."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed()), host="0.0.0.0") as http:  # noqa: S104
        url = str(http.base_url).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        answer = await http.post("/silences", data=SILENCE, headers={"Origin": url, "Sec-Fetch-Site": "same-origin"})
        assert 200 == (await http.get("/")).status_code
    assert 403 == answer.status_code


async def log_in(http: httpx2.AsyncClient, token: str = TOKEN, after: str = "/") -> httpx2.Response:
    """Send the form to log in."""
    return await http.post("/login", data={"token": token, "next": after}, headers=same_origin(http))


@pytest.mark.parametrize("path", [path for path in PAGES if not path.startswith(("/assets", "/login"))])
async def test_without_the_token_every_page_is_the_form_to_log_in(path: str) -> None:
    """With a token set, nothing is shown without it, whether it exists or not."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed()), token=TOKEN) as http:
        answer = await http.get(path)
    if path == "/public":
        assert 404 == answer.status_code
        return
    page = Document(answer.text)
    assert (401, "Log in", "Bearer") == (answer.status_code, page.text("h1"), answer.headers["www-authenticate"])
    assert "openai" not in answer.text


async def test_a_login_with_the_token_opens_the_page() -> None:
    """The form exchanges the token for a cookie that scripts and other sites cannot use, and leads back."""
    async with served_page(make_sources(canaries.outage()), token=TOKEN) as http:
        answer = await log_in(http, after="/alerts?x=1")
        assert (303, "/alerts?x=1") == (answer.status_code, answer.headers["location"])
        cookie = answer.headers["set-cookie"]
        page = await http.get("/")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert f"Max-Age={SESSION_LIFETIME:.0f}" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert 200 == page.status_code


async def test_the_cookie_of_a_page_over_https_is_secure() -> None:
    """Behind a proxy that ends TLS, the origin of the form says that the page is on https."""
    async with served_page(make_sources(canaries.outage()), token=TOKEN, allowed_hosts=["status.example"]) as http:
        headers = {"Host": "status.example", "Origin": "https://status.example", "Sec-Fetch-Site": "same-origin"}
        answer = await http.post("/login", data={"token": TOKEN}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN + "0", "x" * 1000, "\u202e", "é" * 16])
async def test_a_wrong_token_shows_the_form_again(token: str) -> None:
    """No cookie is set, and the token is not repeated."""
    async with served_page(make_sources(canaries.outage()), token=TOKEN) as http:
        answer = await log_in(http, token)
    assert 401 == answer.status_code
    assert "set-cookie" not in answer.headers
    assert "this is not the token" in Document(answer.text).text("p", role="alert")
    assert len(token) < 3 or token not in answer.text


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "", "/\n"]
)
async def test_a_login_leads_nowhere_else(after: str) -> None:
    """The address after the login is one of this server."""
    async with served_page(make_sources(canaries.outage()), token=TOKEN) as http:
        assert "/" == (await log_in(http, after=after)).headers["location"]


async def test_logins_are_limited_after_failures() -> None:
    """After ten wrong tokens a client has to wait, also with the right one; who is logged in is not affected."""
    clock = ManualClock(wall=canaries.NOON)
    async with served_page(make_sources(canaries.outage()), token=TOKEN, clock=clock) as http:
        await log_in(http)
        cookie = http.cookies["streamcanary_session"]
        http.cookies.clear()
        assert [401] * 10 == [(await log_in(http, f"wrong-{number}")).status_code for number in range(10)]
        answer = await log_in(http)
        assert (429, "30") == (answer.status_code, answer.headers["retry-after"])
        assert "try again in 30 s" in Document(answer.text).text("p", role="alert")
        assert 200 == (await http.get("/", headers={"Cookie": f"streamcanary_session={cookie}"})).status_code
        clock.advance(30)
        assert 303 == (await log_in(http)).status_code


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nope", "/api/v1/nope", "/-/nope"])
async def test_an_unknown_path_of_the_api_is_a_problem_document(path: str) -> None:
    """Clients of the API get JSON, which says where its paths are; it has a strict policy as well."""
    async with served_page(make_sources(canaries.outage())) as http:
        answer = await http.get(path)
    assert (404, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert "/api/openapi.json" in answer.json()["detail"]
    assert "default-src 'none'; frame-ancestors 'none'" == answer.headers["content-security-policy"]
    assert "nosniff" == answer.headers["x-content-type-options"]


@pytest.mark.parametrize(("is_public", "cache"), [(True, "public, max-age=30"), (False, "private, max-age=30")])
async def test_a_proxy_may_only_store_badges_that_are_public(is_public: bool, cache: str) -> None:
    """A badge for those who are logged in must not reach others."""
    async with served_page(make_sources(canaries.outage()), is_public=is_public, token=TOKEN) as http:
        await log_in(http)
        assert cache == (await http.get("/badge/chat-mini.svg")).headers["cache-control"]


async def test_a_login_form_of_another_site_is_refused() -> None:
    """Nobody is logged in by a page of somebody else."""
    async with served_page(make_sources(canaries.outage()), token=TOKEN) as http:
        for headers in FOREIGN:
            answer = await http.post("/login", data={"token": TOKEN}, headers=headers)
            assert (403, False) == (answer.status_code, "set-cookie" in answer.headers)


async def test_a_session_ends() -> None:
    """After twelve hours, and by logging out, the form to log in is back."""
    clock = ManualClock(wall=canaries.NOON)
    async with served_page(make_sources(canaries.outage()), token=TOKEN, clock=clock) as http:
        await log_in(http)
        csrf = Document((await http.get("/")).text).all("input", "value")[0]
        assert 403 == (await http.post("/logout", data={"csrf": "0"}, headers=same_origin(http))).status_code
        assert 303 == (await http.post("/logout", data={"csrf": csrf}, headers=same_origin(http))).status_code
        assert 401 == (await http.get("/")).status_code
        await log_in(http)
        clock.advance(SESSION_LIFETIME + 1)
        assert 401 == (await http.get("/")).status_code


async def test_with_a_session_a_form_needs_its_csrf_token() -> None:
    """A form without it, or with that of another session, changes nothing."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    async with served_page(sources, token=TOKEN) as http:
        await log_in(http)
        other = Document((await http.get("/silences")).text).all("input", "value")[0]
        await log_in(http)
        for csrf in ("", "0" * 64, other):
            answer = await http.post("/silences", data={**SILENCE, "csrf": csrf}, headers=same_origin(http))
            assert 403 == answer.status_code
        csrf = Document((await http.get("/silences")).text).all("input", "value")[0]
        answer = await http.post("/silences", data={**SILENCE, "csrf": csrf}, headers=same_origin(http))
    assert (303, "/silences?done=created") == (answer.status_code, answer.headers["location"])
    assert isinstance(sources.alerts, ScenarioAlerts)
    assert 2 == len(sources.alerts.made)


async def test_the_public_page_shows_nothing_internal() -> None:
    """Names, states and availability; no model, target, label, alert, fault, instance or version, and no script."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed()), is_public=True, token=TOKEN) as http:
        answer = await http.get("/public")
    page = Document(answer.text)
    assert "7 of 11 services have problems." == page.text("h1")
    assert "failing chat-mini 1 d 98.78 % 7 d 99.70 % 30 d 99.90 %" == page.text("tr", data_state="failing").replace(
        "chat-large", "chat-mini"
    )
    for internal in ("gpt-4", "openai", "tier", "prod-eu", "LLMErrorSpike", "stalled", "0.1.0", "oncall", "/api/"):
        assert internal not in answer.text
    assert [] == page.all("script", "src")


async def test_there_is_no_public_page_unless_it_is_configured() -> None:
    """By default /public answers 404, also to those with the token; badges need the token."""
    async with served_page(make_sources(canaries.outage()), token=TOKEN) as http:
        assert 404 == (await http.get("/public")).status_code
        assert 401 == (await http.get("/badge/chat-mini.svg")).status_code
        await log_in(http)
        assert 404 == (await http.get("/public")).status_code
        assert 200 == (await http.get("/badge/chat-mini.svg")).status_code


async def test_a_badge_says_state_and_availability() -> None:
    """The badge is an image with its text as title; an unknown canary has one that says so."""
    async with served_page(make_sources(canaries.outage()), is_public=True, token=TOKEN) as http:
        answer = await http.get("/badge/chat-mini.svg")
        unknown = await http.get("/badge/%3Cscript%3E.svg")
    assert (200, "image/svg+xml") == (answer.status_code, answer.headers["content-type"])
    assert "<title>chat-mini: failing 99.90 %</title>" in answer.text
    assert (404, False) == (unknown.status_code, "<script>" in unknown.text)
