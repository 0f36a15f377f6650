"""Slack is sent messages that it takes, in which nobody is mentioned and nothing is formatted but by us."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from streamcanary.alerting.notify.message import Message
from streamcanary.alerting.notify.receivers import Slack
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers.http import open_http_client
from streamcanary.model.alerts.incident import Evidence
from support.alerting.builders import NOON, a_message
from support.alerting.messages import HOSTILE_TEXT, a_full_incident, an_incident, lifecycle_messages
from support.servers import slack
from support.servers.receiver import CLOSE, HANG, Reply


async def send(server: slack.FakeSlack, *told: Message, **more: Any) -> list[DeliveryResult]:
    """Send pages, one after the other."""
    receiver = Slack.model_validate({"type": "slack", "url": server.url + slack.WEBHOOK_PATH, **more})
    async with open_http_client(receiver) as http:
        return [await receiver.send(http, page, NOON + 120) for page in told]


def message(server: slack.FakeSlack) -> dict[str, Any]:
    """Return the message that came last."""
    content: dict[str, Any] = server.deliveries[-1].json
    return content


async def test_each_change_is_a_message_and_the_last_says_how_long_it_was() -> None:
    """The status is a word at the beginning, also where only the text is shown, as on a lock screen."""
    async with slack.FakeSlack() as server:
        assert [Accepted()] * 3 == await send(server, *lifecycle_messages(a_full_incident()))
    said = [delivery.json["text"] for delivery in server.deliveries]
    assert ["Firing: chat: 3 of", "Still firing: chat", "Resolved after 12m"] == [text[:18] for text in said]
    headers = [delivery.json["blocks"][0]["text"]["text"] for delivery in server.deliveries]
    assert said == headers


async def test_a_message_has_everything_that_is_known() -> None:
    """A header, and for each alert what is known, what others said, and where there is more."""
    async with slack.FakeSlack() as server:
        await send(server, lifecycle_messages(a_full_incident())[0])
    header, section, notes, context = message(server)["blocks"]
    summary = "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing"
    assert {
        "type": "header",
        "text": {"type": "plain_text", "text": f"Firing: {summary}", "emoji": False},
    } == header
    assert {"type": "plain_text", "text": summary, "emoji": False} == section["text"]
    assert [
        "*Since*\n2027-01-15T07:59:00.000Z",
        "*Bad runs*\n3 of 5 after retries, 4 at the first attempt",
        "*Fallback*\nanswered 1 of the 3 bad runs",
        "*Faults*\noverloaded 2, stalled 1",
        "*To be mended by*\nprovider 3",
        "*Request ids*\n`req_1, req_2`",
        "*Trace ids*\n`0af7651916cd43dd8448eb211c80319c, 1bf7651916cd43dd8448eb211c80319c`",
    ] == [field["text"] for field in section["fields"]]
    assert (
        "Would resolve it: 3 good runs in a row\nLast message: upstream said: too many\n"
        "Diagnosis: TCP: connection refused\nDescription: Look."
    ) == notes["text"]["text"]
    assert (
        "`Errors` `chat` firing · <https://runbooks.example/a?b=1&amp;c|Runbook> · "
        "<https://traces.example/1bf7651916cd43dd8448eb211c80319c|Trace 1bf76519> · "
        "<https://traces.example/0af7651916cd43dd8448eb211c80319c|Trace 0af76519>"
    ) == context["elements"][0]["text"]


async def test_what_a_provider_says_mentions_nobody_and_formats_nothing() -> None:
    """Wherever it stands, the server finds no mention and no bare character; mrkdwn has it in code alone."""
    evidence = Evidence(
        bad=1,
        total=1,
        message=HOSTILE_TEXT,
        diagnosis=HOSTILE_TEXT,
        request_ids=(HOSTILE_TEXT[:200],),
        trace_ids=("`*x*`",),
    )
    annotations = {"summary": HOSTILE_TEXT[:900], "description": "{message}", "runbook_url": "javascript:alert(1)"}
    incident = an_incident(
        evidence=evidence, annotations=annotations, resolve_condition=HOSTILE_TEXT, resolve_reason=HOSTILE_TEXT
    )
    async with slack.FakeSlack() as server:
        assert [Accepted()] * 3 == await send(server, *lifecycle_messages(incident))
    assert "javascript" not in server.deliveries[0].body.decode()
    for text in (text for delivery in server.deliveries for text in slack.text_objects(delivery.json)):
        if text["type"] == "plain_text":
            assert text["emoji"] is False
            continue
        assert text["verbatim"] is True
        outside = "".join(text["text"].split("`")[::2])
        assert [] == [mark for mark in ("evil", "channel", "code", "pre", ":boom:") if mark in outside]
    assert message(server)["mrkdwn"] is False


async def test_control_characters_of_an_annotation_do_not_reach_anybody() -> None:
    """A line that seems to be ours, or runs from right to left, would deceive."""
    incident = an_incident(annotations={"summary": "{message}"}, evidence=Evidence(message="\u202e\x1b[31mred"))
    async with slack.FakeSlack() as server:
        await send(server, a_message(incident))
    assert "\u202e" not in json.dumps(message(server)["blocks"][1], ensure_ascii=False)


async def test_the_largest_page_is_still_a_message() -> None:
    """As many alerts as there is room for, and how many there are besides."""
    incidents = [a_full_incident(key=str(number)) for number in range(50)]
    long = [
        an_incident(key=str(number), evidence=Evidence(message=HOSTILE_TEXT), annotations={"summary": "&" * 2000})
        for number in range(50)
    ]
    async with slack.FakeSlack() as server:
        answers = await send(server, replace(a_message(*incidents), alert_count=60), a_message(*long))
        assert [Accepted()] * 2 == answers
    first, second = (delivery.json["blocks"] for delivery in server.deliveries)
    for blocks, total in ((first, 60), (second, 50)):
        shown = sum(block["type"] == "context" for block in blocks) - 1
        assert 0 < shown < total
        assert f"and {total - shown} more" == blocks[-1]["elements"][0]["text"]


async def test_a_text_is_cut_between_characters_and_not_within_one() -> None:
    """Half of an ``&amp;`` would be shown as it is."""
    async with slack.FakeSlack() as server:
        await send(server, a_message(an_incident(annotations={"summary": "x" + "&" * 400})))
    header = message(server)["blocks"][0]["text"]["text"]
    assert header.endswith("&amp;…")
    assert len(header) <= 150


async def test_a_page_about_the_daemon_itself_is_a_message() -> None:
    """It has no canary and no evidence; nothing is empty, as Slack refuses that."""
    incident = an_incident(
        canary=None, subject="hook", rule="ReceiverFailing", labels={}, annotations={}, evidence=Evidence()
    )
    async with slack.FakeSlack() as server:
        assert [Accepted()] == await send(server, a_message(incident))


@pytest.mark.parametrize(
    ("server", "answer"),
    [
        (slack.FakeSlack(Reply(200, {"Content-Type": "text/html"}, b"ok")), Accepted()),
        (slack.FakeSlack(Reply(200, {"Content-Type": "text/plain"}, b" ok\n")), Accepted()),
        (slack.FakeSlack(Reply(200, body=b"ok")), Accepted()),
        (
            slack.FakeSlack(Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Please log in</html>")),
            Retry(reason="HTTP 200 with a web page: something in between has answered", is_definitely_undelivered=True),
        ),
        (
            slack.FakeSlack(Reply(200, {"Content-Type": "application/json"}, b'{"success":true}')),
            Refused('HTTP 200 without the ok of Slack, so it is not Slack: {"success":true}'),
        ),
        (
            slack.FakeSlack(Reply(204)),
            Refused("HTTP 204 without the ok of Slack, so it is not Slack: it says nothing"),
        ),
        (slack.FakeSlack(gone=True), Refused("HTTP 404: no_service")),
        (slack.FakeSlack(archived=True), Refused("HTTP 410: channel_is_archived")),
        (slack.FakeSlack(Reply(403, body=b"invalid_token")), Refused("HTTP 403: invalid_token")),
        (
            slack.FakeSlack(Reply(429, {"Retry-After": "30"})),
            Retry(reason="HTTP 429", retry_after=30.0, is_definitely_undelivered=True),
        ),
        (slack.FakeSlack(Reply(500, body=b"rollup_error")), Retry(reason="HTTP 500: rollup_error")),
        (slack.FakeSlack(HANG), Retry(reason="no answer within 0.2 s")),
    ],
)
async def test_what_it_answers_is_understood(server: slack.FakeSlack, answer: DeliveryResult) -> None:
    """A success is the word ok, which Slack sends as HTML; too many messages are sent later, an archived channel never.

    Another success comes from a page in between, which may go away, or from what is no Slack at all.
    """
    async with server:
        assert [answer] == await send(server, a_message(an_incident()), timeout=0.2 if server.script else 5)


async def test_a_connection_that_ends_without_an_answer_means_later() -> None:
    """Slack knows no key, so that the message may be there twice: better than not at all."""
    async with slack.FakeSlack(CLOSE) as server:
        (answer,) = await send(server, a_message(an_incident()))
    assert isinstance(answer, Retry)
    assert not answer.is_definitely_undelivered


async def test_a_success_that_breaks_off_may_have_been_one() -> None:
    """The word is missing, and the message may be there: it is sent again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{slack.WEBHOOK_PATH}"
        receiver = Slack.model_validate({"type": "slack", "url": url})
        async with open_http_client(receiver) as http:
            told = await receiver.send(http, a_message(an_incident()), NOON)
    assert Retry(reason="HTTP 200, and the answer broke off") == told
