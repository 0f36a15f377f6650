"""The notifications of typical outages: as in the files of the documentation, and within the limits of receivers."""

import json
from pathlib import Path
from typing import Any

import pytest
from tools.docs.notifications.files import FIXTURES, messages, notification_files

from streamcanary.alerting.notify.message import Message
from streamcanary.alerting.notify.receivers import PagerDuty
from streamcanary.alerting.notify.receivers.apprise import render_text
from streamcanary.alerting.notify.receivers.slack import render_slack
from support.servers import slack

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def rendered() -> dict[str, Message]:
    """Provide the message of each scenario."""
    return messages()


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Provide the generated files, by their paths."""
    return notification_files()


def test_files_are_what_receivers_are_sent(files: dict[str, str]) -> None:
    """Each file has the bytes of a request today; `make docs` writes them again."""
    stale = [name for name, text in files.items() if (ROOT / name).read_bytes() != text.encode()]
    assert [] == stale, "run `make docs`, and review what has changed"


def test_no_file_is_left_over(files: dict[str, str]) -> None:
    """A file of a scenario that no longer exists is removed."""
    assert {path for path in files if path.startswith(FIXTURES)} == {
        f"{FIXTURES}/{path.name}" for path in (ROOT / FIXTURES).iterdir()
    }


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("stall", "LLMErrorSpike: chat-mini failing (5 of last 5 runs, stalled)"),
        ("provider-outage", "LLMErrorSpike: target openai failing (6 of 8 canaries; 12 of last 16 runs, overloaded)"),
        ("rate-limited", "LLMErrorSpike: chat-mini failing (5 of last 5 runs, rate limited)"),
        ("key-rejected", "TargetRejected: 2 canaries of openai failing: chat-mini, search-large"),
        ("egress-down", "Firing: No provider is reachable from this daemon"),
        ("slow", "LLMSlowFirstToken: chat-mini slow (6 of last 10 runs)"),
        ("resolved", "LLMErrorSpike: chat-mini resolved after 12m"),
        ("update", "Still firing: LLMErrorSpike: 2 canaries of openai failing, new: search-large; still: chat-mini"),
        ("no-data", "Firing: chat-mini reports nothing: 3 scheduled runs without a result"),
        (
            "many-canaries",
            "LLMErrorSpike: 60 canaries of openai failing: chat-01, chat-02, chat-03, chat-04, chat-05 and 55 more",
        ),
    ],
)
def test_the_title_says_what_is_broken_for_whom(rendered: dict[str, Message], name: str, title: str) -> None:
    """The first line is enough to decide whether to get up."""
    assert title == render_text(rendered[name])[0]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("stall", ["Users see: errors", "Can be fixed by: the provider"]),
        ("provider-outage", ["Unaffected: batch-large, batch-mini"]),
        (
            "fallback",
            [
                "Users see: answers of a fallback, for all failed runs",
                "Tried: 3 attempts, then the fallback gpt-4.1-mini",
            ],
        ),
        ("rate-limited", ["Can be fixed by: your quota at the provider"]),
        ("key-rejected", ["Can be fixed by: your configuration"]),
        ("slow", ["Slow runs: 6 of 10 (60%)", "Users see: answers, slower than they should be"]),
        ("resolved", ["Lasted: 12m from the first failure, 2027-01-15 10:00:00 to 2027-01-15 10:12:00 UTC"]),
        (
            "egress-down",
            [
                "Users see: not known: the daemon reaches no provider",
                "Can be fixed by: your network, between the daemon and the providers",
            ],
        ),
        ("no-data", ["Missing runs: 3", "Users see: not known: the canary reports nothing"]),
    ],
)
def test_a_mail_says_what_users_see_and_who_can_fix_it(
    rendered: dict[str, Message], name: str, lines: list[str]
) -> None:
    """These lines are in the body, each by itself."""
    assert [] == [line for line in lines if line not in render_text(rendered[name])[1].splitlines()]


@pytest.mark.parametrize("name", list(messages()))
def test_requests_are_within_the_limits_of_receivers(rendered: dict[str, Message], name: str) -> None:
    """Slack: 50 blocks, 150 characters of a header, 3,000 of a text. PagerDuty: 1,024 of a summary, 512 KB."""
    body = render_slack(rendered[name])
    assert len(body["blocks"]) <= 50
    assert len(body["blocks"][0]["text"]["text"]) <= 150
    assert all(len(text["text"]) <= 3000 for text in slack.text_objects(body))
    assert all("text" in block or "fields" in block for block in body["blocks"] if block["type"] == "section")
    receiver = PagerDuty.model_validate({"type": "pagerduty", "routing_key": "0" * 32})
    event = receiver.render_event(rendered[name], "0" * 32)
    assert len(event["payload"]["summary"]) <= 1024
    assert event["payload"]["severity"] == ("warning" if name == "slow" else "critical")
    assert len(json.dumps(event)) <= 512_000


def test_links_lead_to_the_status_page(files: dict[str, str]) -> None:
    """The incident, and the form of a silence with the matchers of the alert, which a resolve does not need."""
    trigger = json.loads(files[f"{FIXTURES}/stall.webhook.json"])
    (alert,) = trigger["alerts"]
    assert trigger["url"] == alert["url"]
    assert f"https://canary.example.com/incidents/01a318cc01c0-{alert['key']}" == alert["url"]
    form = "https://canary.example.com/silences?match=alert%3D%22LLMErrorSpike%22&match="
    assert f"{form}canary%3D%22chat-mini%22" == alert["silence_url"]
    pooled = json.loads(files[f"{FIXTURES}/provider-outage.webhook.json"])["alerts"][0]
    assert f"{form}target%3D%22openai%22" == pooled["silence_url"]
    resolve = json.loads(files[f"{FIXTURES}/resolved.webhook.json"])
    assert (alert["url"], None) == (resolve["url"], resolve["alerts"][0]["silence_url"])
    many = json.loads(files[f"{FIXTURES}/many-canaries.webhook.json"])
    assert "https://canary.example.com/alerts" == many["url"]
    event: dict[str, Any] = json.loads(files[f"{FIXTURES}/stall.pagerduty.json"])
    assert alert["url"] == event["client_url"]


@pytest.mark.parametrize("kind", ["slack.json", "pagerduty.json", "mail.txt", "webhook.json", "alertmanager.json"])
def test_hostile_text_is_harmless_everywhere(files: dict[str, str], kind: str) -> None:
    """A key is redacted, control and bidirectional characters are gone, and the text is cut."""
    text = files[f"{FIXTURES}/hostile-text.{kind}"]
    for fragment in ("sk-proj", "\u202e", "\x1b", "\\u001b", "A" * 400, "\nSince: yesterday"):
        assert fragment not in text
    assert "[redacted]" in text


def test_no_line_repeats_another(rendered: dict[str, Message]) -> None:
    """Trace ids are links, and a message that the description has is not there again."""
    _, body = render_text(rendered["egress-down"])
    assert 1 == body.count("2 hosts are unreachable")
    assert "Trace ids" not in render_text(rendered["stall"])[1]
