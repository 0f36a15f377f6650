"""The page of a canary, and the waterfall of a run."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from streamcanary.model.status.canary_status import CanaryState, RuleStatus
from streamcanary.web.page.text_format import UNKNOWN
from streamcanary.web.page.views.recorded_trace import trace_of
from streamcanary.web.page.views.run import axis_ticks, message_text, run_view
from support.status import alerts, canaries, traces
from support.status.outcomes import make_outcome
from support.status.page import make_sources
from support.status.site import Document, served_page
from support.store import builders
from support.telemetry.run_traces import make_attempt, make_trace

RUN = "/canaries/chat-mini/runs/" + "1".zfill(32)


async def shown(path: str, **changes: object) -> Document:
    """Return a page of the outage, with three kept runs."""
    kept = [traces.failed_over(1), traces.failed(2), traces.good(3)]
    sources = make_sources(canaries.outage(), alerts.alarmed(), kept, **changes)  # type: ignore[arg-type]
    async with served_page(sources) as http:
        answer = await http.get(path)
    assert 200 == answer.status_code
    return Document(answer.text)


async def test_the_page_of_a_canary_says_its_state_in_a_sentence() -> None:
    """State, fault and since when; then what it asks, of whom, and when it runs next."""
    page = await shown("/canaries/chat-mini")
    assert "chat-mini fails (stalled) since 07:53 UTC, for 6 min." == page.text("h1")
    text = page.text("section", id="sentence")
    assert "gpt-4.1 at openai · every 30 s · next run in 3 s · tier=prod" in text
    assert "LLMErrorSpike fires." in text


async def test_availability_is_shown_for_three_periods() -> None:
    """One, seven and thirty days, rounded down, with the counts."""
    figures = (await shown("/canaries/chat-mini")).text("div", id="figures")
    for text in ("1 day 98.78 % 35 of 2,880 failed", "7 days 99.70 % 60 of 20,160 failed", "30 days 99.90 %"):
        assert text in figures


async def test_rules_show_how_far_they_are_from_firing() -> None:
    """The state of the detector is a bar with its value in words; a firing rule says what resolves it."""
    page = await shown("/canaries/chat-mini")
    firing = page.text("li", data_rule="LLMErrorSpike")
    assert "17 of 17" in firing
    assert "resolves after 6 good runs in a row" in firing
    assert "26 % of 50 %" in page.text("li", data_rule="LLMSlowFirstToken")
    assert {"1.0", "0.52"} <= set(page.all("meter", "value"))


async def test_faults_say_who_can_fix_them() -> None:
    """Each kind of fault of seven days has its count, and who can fix it."""
    assert "rate limited your quota at the provider runs 4 2 h ago" in (await shown("/canaries/chat-mini")).text(
        "section", id="faults"
    )


async def test_recorded_runs_are_in_pages_and_each_links_to_its_waterfall() -> None:
    """The latest fifty runs, then older ones; every run of a page opens."""
    page = await shown("/canaries/chat-mini")
    assert 50 == len(page.all("tr", "data-run"))
    assert "/canaries/chat-mini?before=10#runs" in page.all("a", "href")
    older = await shown("/canaries/chat-mini?before=10")
    assert 10 == len(older.all("tr", "data-run"))
    link = next(href for href in older.all("a", "href") if "/runs/" in href)
    assert "chat-mini answered in" in (await shown(link)).text("h1")


async def test_without_the_store_what_is_live_is_complete() -> None:
    """The page says that history is unavailable and why; state, strip and rules are there."""
    page = await shown("/canaries/chat-mini", unavailable="streamcanary.db: disk I/O error.")
    assert "History is unavailable: streamcanary.db: disk I/O error. What is live is complete." == page.text(
        "p", class_="message"
    )
    assert page.text("h1").startswith("chat-mini fails (stalled)")
    assert 60 == len([href for href in page.all("a", "href") if "/runs/" in href])


async def test_a_waterfall_has_attempts_waits_and_faults_in_words() -> None:
    """Attempts on one axis, the wait before each, the fault in words, and who can fix it."""
    page = await shown(RUN)
    assert "chat-mini was answered by fallback gpt-4.1-mini after 2 failed attempts, in 11.2 s." == page.text("h1")
    first = page.text("li", data_attempt="1")
    assert first.startswith("Attempt 1 6.65 s gpt-4o-mini HTTP 200, new connection")
    assert "stalled no token for 5 s (timeouts.stall)" in first
    assert "who can fix it: the provider · request id req_8f1c02" in first
    second = page.text("li", data_attempt="2")
    assert "rate limited HTTP 429: Rate limit reached for requests per minute" in second
    assert "who can fix it: your quota at the provider" in second
    assert page.text("li", data_attempt="3").startswith("Fallback 3 1.78 s gpt-4.1-mini")
    waterfall = page.text("section", id="waterfall")
    assert "waited 519 ms before the retry" in waterfall
    assert "waited 2.00 s before the fallback" in waterfall


async def test_a_waterfall_links_to_the_trace_and_shows_the_answer() -> None:
    """The trace id is a link by the template of the configuration; the answer is shown if it was kept."""
    page = await shown(RUN, trace_url="https://jaeger.example/trace/{trace_id}")
    assert f"https://jaeger.example/trace/f{1:031d}" in page.all("a", "href")
    assert "assistant: pong no token for 5 s (timeouts.stall)" in page.text("pre", class_="content") + page.text("main")


@pytest.mark.parametrize("template", ["javascript:alert({trace_id})", "data:text/html,{trace_id}", None])
async def test_a_trace_url_that_is_no_web_address_is_no_link(template: str | None) -> None:
    """Only http and https are links."""
    page = await shown(RUN, trace_url=template)
    assert not [href for href in page.all("a", "href") if ":" in href]


def test_segments_lie_on_the_axis_one_after_the_other() -> None:
    """The phases of an attempt begin where the one before ends; the last of a failed attempt is marked."""
    view = run_view(traces.failed_over())
    segments = view.attempts[0].segments
    assert ["dns", "connect", "tls", "headers", "first-token", "streaming"] == [one.phase for one in segments]
    for one, following in itertools.pairwise(segments):
        assert following.x == pytest.approx(one.x + one.width, abs=0.15)
    assert [False] * 5 + [True] == [one.is_failed for one in segments]
    assert segments[-1].x == view.attempts[0].first_token
    assert view.attempts[-1].segments[-1].x + view.attempts[-1].segments[-1].width == pytest.approx(100, abs=0.05)


def test_the_axis_has_round_times() -> None:
    """Ticks are at multiples of 1, 2, 2.5 or 5, between four and eight of them."""
    assert [0, 2, 4, 6, 8, 10] == [time for _, time in axis_ticks(11.24)]
    assert [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2] == pytest.approx([time for _, time in axis_ticks(1.26)])
    assert all(0 <= place <= 100 for end in (1e-6, 0.3, 7.0, 3600.0) for place, _ in axis_ticks(end))


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), 0.0, 1e-9, 1e12])
def test_senseless_durations_give_a_valid_drawing(duration: float) -> None:
    """A span with a duration that is no time leaves places between 0 and 100."""
    view = run_view(make_trace(make_attempt(0.0, 1.0), make_attempt(2.0, duration, "stalled")))
    for attempt in view.attempts:
        assert 0 <= attempt.start <= 100
        assert all(0 <= one.x <= 100 and 0 <= one.width <= 100.01 for one in attempt.segments)


def test_a_recorded_run_has_the_same_waterfall_as_one_whose_spans_are_kept() -> None:
    """The attempts of an outcome become spans: phases, faults, request ids."""
    run = canaries.make_runs("f")[0]
    view = run_view(trace_of(make_outcome("chat-mini", run)))
    assert 3 == len(view.attempts)
    assert ["stalled"] * 3 == [attempt.fault for attempt in view.attempts]
    assert [("req_1",), ("req_2",), ("req_3",)] == [attempt.request_ids for attempt in view.attempts]
    assert "failed after 3 attempts" in view.sentence
    assert view.attempts[1].wait is not None


def test_recorded_messages_are_shown_as_text() -> None:
    """JSON of the conventions is shown as lines; anything else as it is."""
    assert "user: one\nassistant: two" == message_text(
        '[{"role":"user","parts":[{"type":"text","content":"one"}]},'
        '{"role":"assistant","parts":[{"type":"text","content":"two"}]}]'
    )
    assert "[broken" == message_text("[broken")
    assert '{"a": 1}' == message_text('{"a": 1}')


async def test_an_unknown_canary_lists_similar_ones() -> None:
    """The answer is 404 and says what exists."""
    async with served_page(make_sources(canaries.outage())) as http:
        answer = await http.get("/canaries/chat-nano")
    page = Document(answer.text)
    assert (404, "There is no canary chat-nano.") == (answer.status_code, page.text("h1"))
    assert {"/canaries/chat-mini", "/canaries/chat-large"} <= set(page.all("a", "href"))


async def test_an_unknown_run_lists_the_kept_ones() -> None:
    """The answer is 404 and links to runs that are kept; a run of another canary is none of this one."""
    async with served_page(make_sources(canaries.outage(), traces=[traces.good(3)])) as http:
        unknown = "/canaries/chat-mini/runs/" + "f" * 32
        for path in (unknown, "/canaries/chat-large/runs/" + "3".zfill(32)):
            answer = await http.get(path)
            assert 404 == answer.status_code
        answer = await http.get(unknown)
    assert "/canaries/chat-mini/runs/" + "3".zfill(32) in Document(answer.text).all("a", "href")


async def test_a_canary_without_a_run_says_when_the_first_is_due() -> None:
    """The empty page of a canary has no chart, and no availability."""
    async with served_page(make_sources(canaries.nothing_yet())) as http:
        page = Document((await http.get("/canaries/chat-mini")).text)
    assert "chat-mini has no data." == page.text("h1")
    assert "Last runs No run yet; the first one is due in 12 s." == page.text("section", id="recent")
    assert "No answer was measured in the last 24 hours." in page.text("section", id="latency")


async def test_a_page_does_not_wait_for_long_forecasts() -> None:
    """Forecasts that take long are shown by a later page; meanwhile the rules are there without them."""
    sources = make_sources(canaries.outage())
    calls = []

    async def never(canary: str) -> tuple[RuleStatus, ...]:
        calls.append(canary)
        await asyncio.Event().wait()
        return ()

    sources.alerts.view.rules_with_forecasts = never  # type: ignore[method-assign]
    async with served_page(sources) as http:
        for _ in range(2):
            page = Document((await http.get("/canaries/chat-mini")).text)
            assert "17 of 17" in page.text("li", data_rule="LLMErrorSpike")
    assert ["chat-mini"] == calls


async def shown_canary(**changes: Any) -> Document:
    """Return the page of a canary with these ``changes`` of its status, without statistics."""
    scenario = canaries.outage()
    fresh = {"hours": (), "day": None, "week": None, "month": None, **changes}
    statuses = tuple(replace(one, **fresh) if one.name == "chat-mini" else one for one in scenario.statuses)
    sources = make_sources(replace(scenario, statuses=statuses), alerts.quiet())
    async with served_page(sources) as http:
        return Document((await http.get("/canaries/chat-mini")).text)


async def test_statistics_that_follow_are_not_called_missing() -> None:
    """Soon after the start there are runs, but they are not summed up yet, and no hour is full."""
    page = await shown_canary()
    assert f"1 day {UNKNOWN} follows in some seconds 7 days {UNKNOWN}" in page.text("div", id="figures")
    for section in ("latency", "errors"):
        text = "Charts have full hours of the clock; the next one ends at 09:00 UTC."
        assert text in page.text("section", id=section)


async def test_without_runs_the_statistics_say_so() -> None:
    """Nothing follows before the first run."""
    page = await shown_canary(recent_runs=(), hour=None, state=CanaryState.UNKNOWN, fault=None)
    assert f"1 day {UNKNOWN} no runs" in page.text("div", id="figures")
    assert "No run in the last 24 hours." in page.text("section", id="errors")
    assert "No answer was measured" in page.text("section", id="latency")


async def test_the_bars_of_the_last_runs_are_no_tab_stops() -> None:
    """The table of the recorded runs has the same links."""
    markup = (await shown("/canaries/chat-mini")).all("a", "tabindex")
    assert ["-1"] * 60 == markup


async def test_one_run_ago_is_no_plural() -> None:
    """A strip with one bar began one run ago."""
    page = await shown_canary(recent_runs=canaries.make_runs("f"))
    assert "1 run ago" in page.text("section", id="recent")


async def test_runs_under_the_former_name_are_listed(tmp_path: Path) -> None:
    """The list of a renamed canary does not begin with the rename."""
    store = builders.open_store(tmp_path / "s.db")
    await store.commit(
        [], [builders.make_outcome(number, canary=name) for number, name in enumerate(("old", "chat-mini"))]
    )
    sources = replace(make_sources(canaries.outage()), recorded=store)
    sources.canaries.recorded_names = lambda name: (name, "old")  # type: ignore[method-assign]
    async with served_page(sources) as http:
        page = Document((await http.get("/canaries/chat-mini")).text)
    await store.close()
    links = [link for link in page.all("a", "href") if "/runs/run-" in link]
    assert ["/canaries/chat-mini/runs/run-1", "/canaries/chat-mini/runs/run-0"] == links
