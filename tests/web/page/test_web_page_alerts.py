"""The pages of alerts, incidents and silences."""

import pytest

from streamcanary.store.errors import StoreFailing
from streamcanary.web.page.views.alerts import calendar
from support.status import alerts, canaries
from support.status.page import ScenarioAlerts, make_sources
from support.status.site import Document, same_origin, served_page

NOON = canaries.NOON


async def shown(path: str, scenario: alerts.AlertScenario | None = None, unavailable: str = "") -> Document:
    """Return a page of the outage."""
    sources = make_sources(canaries.outage(), scenario or alerts.alarmed(), unavailable=unavailable)
    async with served_page(sources) as http:
        answer = await http.get(path)
    assert 200 == answer.status_code
    return Document(answer.text)


async def test_an_open_incident_shows_its_evidence_and_timeline() -> None:
    """What fails and since when, how bad, what was seen, what was done, and where to go next."""
    page = await shown("/alerts")
    assert "1 alert fires." == page.text("h1")
    card = page.text("article", data_alert="LLMErrorSpike")
    assert "31 of 48 runs failed after retries, 40 at the first attempt; a fallback answered 4." in card
    assert "chat-mini 5/6" in card
    assert "Not affected: 2." in card
    assert "resolves after 6 good runs in a row" in card
    assert "notification refused by chat HTTP 404" in card
    assert "https://run.book/llm" in page.all("a", "href")


async def test_a_muted_incident_says_why_nobody_is_notified() -> None:
    """A silenced alert is shown, with the reason."""
    scenario = alerts.alarmed()
    muted = alerts.make_open_incident(muted_by="silence s1")
    status = type(scenario.status)(incidents=(muted,), firing_count=1)
    page = await shown("/alerts", alerts.AlertScenario(status=status))
    assert "Muted: silence s1. Nobody is notified." in page.text("article", data_alert="LLMErrorSpike")


async def test_receivers_show_their_state_and_what_was_not_delivered() -> None:
    """A receiver that refuses is red, with its error; the notification that it has not accepted is listed."""
    page = await shown("/alerts")
    assert page.text("tr", data_receiver="oncall").startswith("ok oncall pagerduty")
    assert page.text("tr", data_receiver="chat").startswith("refused chat slack")
    assert "never" in page.text("tr", data_receiver="mail")
    assert "LLMErrorSpike: openai failing" in page.text("section", id="receivers")


async def test_the_history_has_incidents_with_durations() -> None:
    """The last thirty days, the newest first, each with a page of its own."""
    page = await shown("/alerts")
    assert ["i1", "i2", "i3", "i4", "i5", "i6", "i7"] == page.all("tr", "data-past")
    assert "6 h 31 min" in page.text("tr", data_past="i5")
    assert "7 of 30 days had an incident" in page.all("svg", "aria-label")
    assert "friday-deploy" in page.text("section", id="maintenance")


async def test_a_past_incident_has_a_page_with_its_timeline() -> None:
    """The sentence says how long it lasted; the timeline what happened."""
    page = await shown("/incidents/i2")
    assert "claude-chat slow: first token over 2 s: resolved after 23 min." == page.text("h1")
    assert "resolve sent to oncall" in page.text("ol")


async def test_an_open_incident_is_found_by_id_and_by_key() -> None:
    """Both addresses show the evidence of now."""
    for name in ("i1", "k1"):
        page = await shown(f"/incidents/{name}")
        assert "openai: 6 of 8 canaries fail (stalled) since" in page.text("h1")
        assert "31 of 48 runs failed" in page.text("article")


async def test_without_the_store_open_incidents_are_complete() -> None:
    """The history is missing, and said to be; what fires is shown with its timeline."""
    page = await shown("/alerts", unavailable="streamcanary.db: disk I/O error.")
    assert page.text("p", class_="message").startswith("History is unavailable: streamcanary.db: disk I/O error.")
    assert "alert fired" in page.text("article", data_alert="LLMErrorSpike")


async def test_when_nothing_fires_the_page_says_so() -> None:
    """The quiet state is a sentence, too."""
    page = await shown("/alerts", alerts.quiet())
    assert "No alert fires." == page.text("h1")
    assert "No incident in the last 30 days." in page.text("section", id="sentence")
    assert "Nothing fired. History is kept for 30 days." in page.text("section", id="history")
    assert "No maintenance window is planned." in page.text("section", id="maintenance")


def test_the_calendar_counts_overlapping_incidents_once() -> None:
    """A day has the time in which at least one incident was open; one over midnight is on both days."""
    today = NOON - NOON % 86400
    over_midnight = alerts.make_past_incident(1, days_ago=(NOON - today + 600) / 86400, minutes=20)
    within = alerts.make_past_incident(2, days_ago=(NOON - today + 300) / 86400, minutes=3)
    days = calendar([over_midnight, within], NOON)
    assert 30 == len(days)
    assert [(0, 0), (2, 600), (1, 600)] == [(day.count, round(day.seconds)) for day in days[-3:]]


async def test_a_preview_says_what_a_silence_would_match() -> None:
    """Canaries and firing alerts that match now, before the silence is made."""
    page = await shown("/silences?match=target%3D%22openai%22&match=alert%3D~%22LLM.*%22")
    assert "Mutes now: LLMErrorSpike target openai." in page.text("div", id="preview")
    assert ['target="openai"', 'alert=~"LLM.*"'] == page.text("textarea").split()
    page = await shown("/silences?match=tier%3D%22dev%22")
    assert "2 canaries: claude-chat, claude-tools. No firing alert matches now." in page.text("div", id="preview")


@pytest.mark.parametrize("matcher", ["x", 'a="', 'a=~"("', '=""', "a" * 5000, "\u202e"])
async def test_a_preview_of_an_invalid_matcher_says_what_is_wrong(matcher: str) -> None:
    """The fragment of the preview has the error, and status 200: it is shown while one types."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed())) as http:
        answer = await http.get("/silences/preview", params={"match": matcher})
    assert 200 == answer.status_code
    assert "message error" in answer.text


async def test_a_silence_is_made_and_ended_by_forms() -> None:
    """The form creates it and leads to the list; its button ends it."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    book = sources.alerts
    assert isinstance(book, ScenarioAlerts)
    async with served_page(sources) as http:
        body = {"match": 'canary="chat-mini"\n\ntier="prod"', "for": "2h", "by": "me", "why": "deploy"}
        answer = await http.post("/silences", data=body, headers=same_origin(http))
        assert (303, "/silences?done=created") == (answer.status_code, answer.headers["location"])
        (made,) = [one for one in book.silences if one.id != "s1"]
        page = Document((await http.get("/silences?done=created")).text)
        answer = await http.post(f"/silences/{made.id}/expire", headers=same_origin(http), data={"csrf": ""})
        again = await http.post(f"/silences/{made.id}/expire", headers=same_origin(http), data={"csrf": ""})
    assert ('canary="chat-mini"', 'tier="prod"') == made.match
    assert (NOON, NOON + 7200, "me", "deploy") == (made.starts, made.until, made.by, made.why)
    assert "ends in 2 h" in page.text("tr", data_silence=made.id)
    assert "The silence is active." in page.text("p", role="status", class_="message good")
    assert ("/silences?done=expired", 404) == (answer.headers["location"], again.status_code)
    assert ["s1"] == [one.id for one in book.silences]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"match": ""}, "match: "),
        ({"match": "x"}, "matcher 1: "),
        ({"match": 'a="b"\na=~"("'}, "matcher 2: "),
        ({"for": ""}, "for: "),
        ({"for": "soon"}, "for: "),
        ({"for": "900d"}, "for: "),
        ({"why": "x" * 501}, "why: "),
    ],
)
async def test_an_invalid_silence_shows_the_form_again_with_what_is_wrong(fields: dict[str, str], problem: str) -> None:
    """The fields keep what was written; nothing is made."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    body = {"match": 'canary="chat-mini"', "for": "2h", "by": "me", "why": "deploy", **fields}
    async with served_page(sources) as http:
        answer = await http.post("/silences", data=body, headers=same_origin(http))
    page = Document(answer.text)
    assert 400 == answer.status_code
    assert page.text("p", role="alert").startswith(problem)
    assert body["match"].split() == page.text("textarea").split()
    assert body["why"] in page.all("input", "value")
    assert isinstance(sources.alerts, ScenarioAlerts)
    assert 1 == len(sources.alerts.made)


async def test_a_silence_that_the_store_does_not_take_is_an_error_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form is shown again, and the end of a silence shows a page of its own, both with what has failed."""
    sources = make_sources(canaries.outage(), alerts.alarmed())

    async def fail(_: object) -> bool:
        raise StoreFailing("the database has not answered within 5 s; try again")

    monkeypatch.setattr(sources.alerts, "create_silence", fail)
    monkeypatch.setattr(sources.alerts, "delete_silence", fail)
    body = {"match": 'target="openai"', "for": "2h", "csrf": ""}
    async with served_page(sources) as http:
        made = await http.post("/silences", data=body, headers=same_origin(http))
        ended = await http.post("/silences/s1/expire", data={"csrf": ""}, headers=same_origin(http))
    assert [(503, True)] * 2 == [
        (each.status_code, "has not answered within 5 s" in each.text) for each in (made, ended)
    ]


async def test_too_many_silences_are_an_error_on_the_form() -> None:
    """The limit of alerting is shown where it matters."""
    sources = make_sources(canaries.outage(), alerts.alarmed())
    assert isinstance(sources.alerts, ScenarioAlerts)
    sources.alerts.is_full = True
    async with served_page(sources) as http:
        body = {"match": 'canary="chat-mini"', "for": "2h"}
        answer = await http.post("/silences", data=body, headers=same_origin(http))
    assert (400, True) == (answer.status_code, "there are 1000 silences" in answer.text)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"match=%ff", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 200, "application/x-www-form-urlencoded", 400),
        (b"a" * 70_000, "application/x-www-form-urlencoded", 413),
        (b'{"match": []}', "application/json", 415),
        (b"", "multipart/form-data; boundary=x", 415),
    ],
)
async def test_what_is_no_form_is_refused(body: bytes, kind: str, status: int) -> None:
    """Other media types, other encodings, too many fields and too much of it."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed())) as http:
        headers = {**same_origin(http), "Content-Type": kind}
        answer = await http.post("/silences", content=body, headers=headers)
    assert status == answer.status_code


async def test_an_unknown_incident_is_not_found() -> None:
    """The answer is 404 and links to the alerts."""
    async with served_page(make_sources(canaries.outage(), alerts.alarmed())) as http:
        answer = await http.get("/incidents/none")
    assert (404, True) == (answer.status_code, "/alerts" in Document(answer.text).all("a", "href"))
