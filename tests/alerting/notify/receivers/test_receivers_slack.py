"""Slack is sent valid messages, in which the text of others mentions no one and is not formatted."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.message import Message
from streamcanary.alerting.notify.receivers import Slack
from streamcanary.model.alerts.incident import Evidence
from support.alerting.builders import NOON, a_message
from support.alerting.messages import HOSTILE_TEXT, a_full_incident, an_incident, lifecycle_messages
from support.servers import slack
from support.servers.receiver import CLOSE, HANG, Reply


async def send(server: slack.FakeSlack, *messages: Message, **more: Any) -> list[DeliveryResult]:
    """Send messages, one after the other."""
    receiver = Slack.model_validate({"type": "slack", "url": server.url + slack.WEBHOOK_PATH, **more})
    async with open_http_client(receiver) as http:
        return [await receiver.send(http, message, NOON + 120) for message in messages]


def last_message(server: slack.FakeSlack) -> dict[str, Any]:
    """Return the last message."""
    content: dict[str, Any] = server.deliveries[-1].json
    return content


async def test_each_notification_is_a_message_with_its_status() -> None:
    """Each notification is a message that begins with its status, also in the text without blocks."""
    async with slack.FakeSlack() as server:
        assert [Accepted()] * 3 == await send(server, *lifecycle_messages(a_full_incident()))
    said = [delivery.json["text"] for delivery in server.deliveries]
    assert ["Firing: chat: 3 of", "Still firing: chat", "Resolved after 13m"] == [text[:18] for text in said]
    headers = [delivery.json["blocks"][0]["text"]["text"] for delivery in server.deliveries]
    assert said == headers


async def test_message_contains_all_details() -> None:
    """A message has a header, and for each alert its details, quoted texts and links."""
    async with slack.FakeSlack() as server:
        await send(server, lifecycle_messages(a_full_incident())[0])
    header, section, notes, context = last_message(server)["blocks"]
    summary = "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing"
    assert {
        "type": "header",
        "text": {"type": "plain_text", "text": f"Firing: {summary}", "emoji": False},
    } == header
    assert "text" not in section, "the header has the summary"
    assert [
        "*Since*\n2027-01-15 07:59:00 UTC (3m ago)",
        "*Failed runs*\n3 of 5 (60%) after retries, 4 (80%) at the first attempt",
        "*Users see*\nerrors, or answers of a fallback: it answered 1 of 3 failed runs",
        "*Tried*\n3 attempts, then the fallback gpt-4.1-mini",
        "*Faults*\noverloaded 2, stalled 1",
        "*Can be fixed by*\nthe provider",
        "*Request ids*\n`req_1, req_2`",
    ] == [field["text"] for field in section["fields"]]
    assert (
        "Resolves after: 3 good runs in a row\nDescription: Look.\nLast message: upstream said: too many\n"
        "Diagnosis: TCP: connection refused"
    ) == notes["text"]["text"]
    assert (
        "`Errors` `chat` firing · <https://runbooks.example/a?b=1&amp;c|Runbook> · "
        "<https://traces.example/1bf7651916cd43dd8448eb211c80319c|Trace 1bf76519> · "
        "<https://traces.example/0af7651916cd43dd8448eb211c80319c|Trace 0af76519>"
    ) == context["elements"][0]["text"]


async def test_provider_text_neither_mentions_nor_formats() -> None:
    """Text of others has no mention and no bare special character, and is only in plain text or in code."""
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
    assert last_message(server)["mrkdwn"] is False


async def test_control_characters_of_an_annotation_are_removed() -> None:
    """Control and bidirectional characters of an annotation are removed."""
    incident = an_incident(annotations={"summary": "{message}"}, evidence=Evidence(message="\u202e\x1b[31mred"))
    async with slack.FakeSlack() as server:
        await send(server, a_message(incident))
    assert "\u202e" not in json.dumps(last_message(server)["blocks"][1], ensure_ascii=False)


async def test_largest_message_is_valid() -> None:
    """A message contains as many alerts as fit, and the number of the others."""
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


async def test_text_is_cut_between_escaped_characters() -> None:
    """A text is never cut within an escaped character."""
    async with slack.FakeSlack() as server:
        await send(server, a_message(an_incident(annotations={"summary": "x" + "&" * 400})))
    header = last_message(server)["blocks"][0]["text"]["text"]
    assert header.endswith("&amp;…")
    assert len(header) <= 150


async def test_alert_about_the_daemon_is_a_valid_message() -> None:
    """An alert without canary and evidence is a message without empty parts, which Slack would refuse."""
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
            Retry(
                reason="HTTP 200 with a web page: a proxy or portal answered instead of the receiver",
                is_definitely_undelivered=True,
            ),
        ),
        (
            slack.FakeSlack(Reply(200, {"Content-Type": "application/json"}, b'{"success":true}')),
            Refused('HTTP 200 without the response `ok` of Slack; check the URL: {"success":true}'),
        ),
        (
            slack.FakeSlack(Reply(204)),
            Refused("HTTP 204 without the response `ok` of Slack; check the URL: empty body"),
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
async def test_responses_are_classified(server: slack.FakeSlack, answer: DeliveryResult) -> None:
    """Only ``ok`` is accepted, with any content type; 429 and web pages are retried, other responses refused."""
    async with server:
        assert [answer] == await send(server, a_message(an_incident()), timeout=0.2 if server.script else 5)


async def test_lost_connection_is_retried() -> None:
    """A connection lost without a response is retried, as the message may have been posted."""
    async with slack.FakeSlack(CLOSE) as server:
        (answer,) = await send(server, a_message(an_incident()))
    assert isinstance(answer, Retry)
    assert not answer.is_definitely_undelivered


async def test_success_with_a_lost_connection_is_retried() -> None:
    """A 2xx response whose body is incomplete is retried."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{slack.WEBHOOK_PATH}"
        receiver = Slack.model_validate({"type": "slack", "url": url})
        async with open_http_client(receiver) as http:
            result = await receiver.send(http, a_message(an_incident()), NOON)
    assert Retry(reason="HTTP 200, but the connection was lost during the response") == result


async def test_a_summary_that_the_header_cuts_off_is_in_the_message() -> None:
    """A header has 150 characters; the section below it has the whole summary."""
    summary = "chat is slow " * 20
    async with slack.FakeSlack() as server:
        await send(server, a_message(an_incident(annotations={"summary": summary})))
    header, section = last_message(server)["blocks"][:2]
    assert header["text"]["text"].endswith("…")
    assert summary.strip() == section["text"]["text"].strip()
