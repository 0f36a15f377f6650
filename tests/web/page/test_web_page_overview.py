"""The overview of the status page: the sentence, groups and rows, filters, and its size."""

import pytest

from streamcanary.web.page.views.overview import MAX_GROUPS, MAX_ROWS, OverviewQuery, overview_view
from support.status import alerts, canaries
from support.status.page import make_sources
from support.status.site import Document, served_page


async def shown(scenario: canaries.Scenario, path: str = "/") -> Document:
    """Return the overview of ``scenario``."""
    async with served_page(make_sources(scenario, alerts.alarmed())) as http:
        answer = await http.get(path)
    assert 200 == answer.status_code
    return Document(answer.text)


async def test_the_sentence_says_what_is_broken_and_since_when() -> None:
    """The heading is the whole state in a sentence; the line below says what was tried and who was notified."""
    page = await shown(canaries.outage())
    assert "openai: 6 of 8 canaries fail (stalled) since 07:53 UTC, for 6 min." == page.text("h1")
    assert page.text("section", id="sentence").endswith("Notified: oncall, chat. 1 notification not delivered")


async def test_the_title_and_the_icon_carry_the_state() -> None:
    """A tab in the background shows that something fails."""
    page = await shown(canaries.outage())
    assert "✗ 5 failing · streamcanary" == page.text("title")
    assert page.all("link", "href")[0].startswith("/assets/favicon-failing.")
    assert "✓ all well · streamcanary" == (await shown(canaries.all_well())).text("title")


async def test_groups_and_rows_with_trouble_come_first() -> None:
    """Failing groups are first, and in each group the failing canaries."""
    page = await shown(canaries.outage())
    assert ["openai", "anthropic", "vllm"] == page.all("section", "data-group")
    states = page.all("tr", "data-state")
    assert ["failing"] * 5 + ["degraded", "ok", "ok"] == states[:8]
    assert ["slow", "ok"] == states[8:10]


async def test_a_row_says_its_state_in_a_word_and_why() -> None:
    """A row has the state and for how long, the alert, the fault, error rates, first token and the next run."""
    page = await shown(canaries.outage())
    row = page.text("tr", data_canary="chat-mini")
    assert row.startswith("failing 6 min chat-mini gpt-4.1 LLMErrorSpike stalled: no token for 5 s")
    assert "11 % / 12 %" in row
    assert "410 ms / 920 ms" in row
    assert "99.90 %" in row
    assert "in 3 s" in row


async def test_a_strip_is_described_in_words() -> None:
    """The strip of runs has a text for those who do not see it."""
    page = await shown(canaries.outage())
    assert "last 60 runs: 13 failing, 47 ok" in page.all("svg", "aria-label")


async def test_canaries_can_be_grouped_by_a_label() -> None:
    """The address chooses the grouping; links lead to the others."""
    page = await shown(canaries.outage(), "/?group=label:tier")
    assert ["prod", "dev"] == page.all("section", "data-group")
    assert {"/", "/?group=provider", "/?group=model", "/?group=label%3Atier"} <= set(page.all("a", "href"))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=slow", ["claude-chat"]),
        ("q=claude", ["claude-chat", "claude-tools"]),
        ("q=CLAUDE+tools", ["claude-tools"]),
        ("q=llmerrorspike+large", ["chat-large"]),
        ("q=tier:dev&state=ok", ["claude-tools"]),
        ("label=tier:dev", ["claude-chat", "claude-tools"]),
        ("label=tier:dev&label=x:y", []),
        ("q=nobody", []),
    ],
)
async def test_the_address_filters(query: str, names: list[str]) -> None:
    """State, labels and words select canaries; all of them must match."""
    page = await shown(canaries.outage(), f"/?{query}")
    assert names == page.all("tr", "data-canary")


@pytest.mark.parametrize("query", ["state=broken", "group=secret", "page=0", "page=x", "label=x", "open=", "a" * 3000])
async def test_a_senseless_address_shows_all(query: str) -> None:
    """What means nothing is ignored."""
    page = await shown(canaries.all_well(), f"/?{query}")
    assert 6 == len(page.all("tr", "data-canary"))


async def test_a_filter_without_matches_says_so() -> None:
    """An empty list is explained, with the way back."""
    page = await shown(canaries.outage(), "/?q=nobody")
    assert "No canary matches 11 canaries in all. Clear the filter" == page.text("div", id="groups")


async def test_before_the_first_run_a_row_says_when_it_is() -> None:
    """Nothing is shown as well before it was seen."""
    page = await shown(canaries.nothing_yet())
    assert "No canary has run yet." == page.text("h1")
    assert "no data chat-mini gpt-4o-mini first run in 12 s" in page.text("tr", data_canary="chat-mini")


async def test_a_daemon_without_canaries_says_what_to_do() -> None:
    """The empty page names the section of the configuration."""
    page = await shown(canaries.no_canaries())
    assert page.text("div", id="groups").startswith("Nothing to watch yet The configuration has no canaries.")


async def test_with_many_canaries_those_with_trouble_are_in_full() -> None:
    """Groups where all is well are one line with a link; failing canaries are rows."""
    page = await shown(canaries.thousand())
    assert [f"chat-{index:04d}" for index in range(7)] == page.all("tr", "data-canary")
    assert "target-01 50 ok Show all 50 of target-01 errors 1 h 0 % / 0.8 %" == page.text(
        "section", data_group="target-01"
    )
    opened = await shown(canaries.thousand(), "/?open=target-01")
    assert 57 == len(opened.all("tr", "data-canary"))


@pytest.mark.parametrize(("targets", "failing"), [(20, 7), (1, 1000), (500, 500), (1000, 3)])
async def test_the_first_paint_is_small_with_a_thousand_canaries(targets: int, failing: int) -> None:
    """Page, stylesheet and script have at most 100 kB uncompressed, whatever fails; compressed 25 kB."""
    async with served_page(make_sources(canaries.thousand(targets, failing), alerts.alarmed())) as http:
        page = await http.get("/")
        document = Document(page.text)
        others = [await http.get(path) for path in (document.all("script", "src") + document.all("link", "href"))]
        sent = [int(answer.headers["content-length"]) for answer in (page, *others)]
    assert sum(len(answer.content) for answer in (page, *others)) <= 100_000
    assert "gzip" == page.headers["content-encoding"]
    assert sum(sent) <= 25_000


def test_rows_and_groups_are_bounded() -> None:
    """When all thousand canaries fail, or each has a target of its own, the page stays readable, and has a next one."""
    view = overview_view(canaries.thousand(10, 1000).statuses, OverviewQuery())
    assert MAX_ROWS == sum(len(group.rows) for group in view.groups)
    many = overview_view(canaries.thousand(1000, 0).statuses, OverviewQuery())
    assert (MAX_GROUPS, 42, "/?page=2") == (len(many.groups), many.pages, many.next)
    last = overview_view(canaries.thousand(1000, 0).statuses, OverviewQuery(page=9999))
    assert ("/?page=41", "") == (last.previous, last.next)


async def test_the_columns_are_explained_once() -> None:
    """In text, which needs no pointer: what each pair of numbers is, and the bar of the quota."""
    async with served_page(make_sources(canaries.outage())) as http:
        page = Document((await http.get("/")).text)
    text = page.text("p", id="columns")
    for words in ("failed after all retries / whose first attempt failed", "median / 95th percentile", "quota"):
        assert words in text
    assert "Errors / first try" in page.text("tr")
