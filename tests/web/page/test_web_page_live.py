"""What live pages are sent: the parts that changed, rendered once for all who look at the same."""

import msgspec
import pytest
from msgspec.structs import replace

from streamcanary.web.page.live_parts import LiveParts, alerts_version
from support.clock import ManualClock
from support.status import alerts, canaries
from support.status.page import ScenarioAlerts, make_sources
from support.status.site import Document, served_page

CHANGED = frozenset({"chat-mini"})


def make_parts(scenario: canaries.Scenario) -> LiveParts:
    """Return the renderer over an outage."""
    return LiveParts(make_sources(scenario, alerts.alarmed()), ManualClock(wall=canaries.NOON))


def test_only_groups_with_changed_canaries_are_sent() -> None:
    """The sentence, the counts and the group of the canary; and the order of all groups."""
    data = msgspec.json.decode(make_parts(canaries.outage()).render("overview", "", CHANGED))
    assert ["sentence", "states", "group-openai"] == list(data["parts"])
    assert ["group-openai", "group-anthropic", "group-vllm"] == data["order"]
    assert "✗ 5 failing · streamcanary" == data["title"]
    assert data["icon"].startswith("/assets/favicon-failing.")
    assert 8 == len(Document(data["parts"]["group-openai"]).all("tr", "data-canary"))


def test_the_query_of_the_page_selects_its_parts() -> None:
    """A page that shows a filter gets what it shows."""
    data = msgspec.json.decode(make_parts(canaries.outage()).render("overview", "group=label:tier&q=claude", CHANGED))
    assert (["group-dev"], ["sentence", "states"]) == (data["order"], list(data["parts"]))


async def test_parts_have_the_same_markup_as_the_page() -> None:
    """An update replaces an element by what the page would have."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    async with served_page(sources) as http:
        page = (await http.get("/")).text
    changed = frozenset(status.name for status in canaries.outage().statuses)
    parts = LiveParts(sources, ManualClock(wall=canaries.NOON)).render("overview", "", changed)
    for markup in msgspec.json.decode(parts)["parts"].values():
        assert markup.strip() in page


def test_a_page_of_a_canary_is_stale_when_it_has_changed() -> None:
    """Another canary is nothing to it."""
    parts = make_parts(canaries.outage())
    assert msgspec.json.decode(parts.render("canary/chat-mini", "", CHANGED))["is_stale"]
    assert b"" == parts.render("canary/chat-large", "", CHANGED)


async def test_the_alerts_have_a_version_that_changes_with_them() -> None:
    """The page has the version of what it shows; a new silence is another one."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    book = sources.alerts
    assert isinstance(book, ScenarioAlerts)
    async with served_page(sources) as http:
        (shown,) = Document((await http.get("/alerts")).text).all("html", "data-version")
    parts = LiveParts(sources, ManualClock(wall=canaries.NOON))
    assert shown == msgspec.json.decode(parts.render("alerts", "", frozenset()))["version"]
    await book.create_silence(replace(alerts.alarmed().silences[0], id="s2"))
    assert shown != alerts_version(book.status, book.silences)


@pytest.mark.parametrize("view", ["", "x", "canary/", "canary/none", "overview?x", "Overview"])
def test_an_unknown_view_is_an_error_for_the_client(view: str) -> None:
    """The message says which views there are."""
    with pytest.raises(ValueError, match="there are overview, alerts, and canary/ with a name"):
        make_parts(canaries.outage()).render(view, "", CHANGED)


def test_an_update_is_small_with_a_thousand_canaries() -> None:
    """Thirty canaries of a thousand finish a run each second; what is sent for them has at most 30 kB."""
    scenario = canaries.thousand()
    changed = frozenset(status.name for status in scenario.statuses[::33])
    assert len(make_parts(scenario).render("overview", "", changed)) < 30_000
