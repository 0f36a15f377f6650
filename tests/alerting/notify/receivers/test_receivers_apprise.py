"""Apprise delivers to real targets: an HTTP endpoint and a mail server; it blocks, and nothing else does for it."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from streamcanary.alerting.notify.receivers import Apprise
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Retry
from streamcanary.alerting.notify.receivers.http import open_http_client
from support.alerting.builders import NOON, a_message
from support.alerting.messages import HOSTILE_TEXT, a_full_incident, an_incident, lifecycle_messages
from support.programs.program import free_ports
from support.servers.receiver import CLOSE, HANG, FakeReceiver, Reply
from support.servers.smtp import FakeSmtpServer


def chat(*urls: str, **more: Any) -> Apprise:
    """Configure a receiver."""
    return Apprise.model_validate({"type": "apprise", **({"urls": urls} if urls else {}), **more})


def at(server: FakeReceiver, path: str = "") -> str:
    """Write the address of ``server`` as Apprise does."""
    return f"{server.url.replace('http', 'json')}/{path}"


async def send(receiver: Apprise, *told: Any) -> list[DeliveryResult]:
    """Send pages, one after the other."""
    async with open_http_client() as http:
        return [await receiver.send(http, page, NOON + 120) for page in told]


async def test_each_change_is_a_message_in_words() -> None:
    """The title says how things stand, the text what is known; that it is over is a message as well."""
    async with FakeReceiver() as server:
        assert [Accepted()] * 3 == await send(chat(at(server)), *lifecycle_messages(a_full_incident()))
    told = [delivery.json for delivery in server.deliveries]
    summary = "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing"
    assert [
        ("Firing: chat: 3 of", "failure"),
        ("Still firing: chat", "warning"),
        ("Resolved after 12m", "success"),
    ] == [(message["title"][:18], message["type"]) for message in told]
    assert [
        summary,
        "Errors, chat: firing",
        "Since: 2027-01-15T07:59:00.000Z",
        "Bad runs: 3 of 5 after retries, 4 at the first attempt",
        "Fallback: answered 1 of the 3 bad runs",
        "Faults: overloaded 2, stalled 1",
        "To be mended by: provider 3",
        "Would resolve it: 3 good runs in a row",
        "Last message: upstream said: too many",
        "Diagnosis: TCP: connection refused",
        "Request ids: req_1, req_2",
        "Trace ids: 0af7651916cd43dd8448eb211c80319c, 1bf7651916cd43dd8448eb211c80319c",
        "Description: Look.",
        "Runbook: https://runbooks.example/a?b=1&c",
        "Trace 1bf76519: https://traces.example/1bf7651916cd43dd8448eb211c80319c",
        "Trace 0af76519: https://traces.example/0af7651916cd43dd8448eb211c80319c",
    ] == told[0]["message"].split("\n")


async def test_a_mail_arrives() -> None:
    """With the title as its subject, over SMTP as it is spoken."""
    async with FakeSmtpServer() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=canary@example.com&to=oncall@example.com"
        assert [Accepted()] == await send(chat(url), a_message(an_incident()))
    (mail,) = server.messages
    assert "oncall@example.com" in mail["To"]
    assert mail["Subject"].startswith("Firing: chat: 3 of the last 5 runs failed")
    body = mail.get_body(("html", "plain"))
    assert body is not None
    assert "Last message: late" in body.get_content()


async def test_a_mail_server_that_refuses_is_a_reason_to_try_later(caplog: pytest.LogCaptureFixture) -> None:
    """Apprise does not tell what is for good; the reason is told, and no password with it."""
    async with FakeSmtpServer(refusing=True) as server:
        url = f"mailto://oncall:s3cr3t-word@127.0.0.1:{server.port}?from=canary@example.com&to=oncall@example.com"
        (answer,) = await send(chat(url), a_message(an_incident()))
    assert isinstance(answer, Retry)
    assert answer.reason.startswith("E-Mail: ")
    assert "s3cr3t-word" not in answer.reason + caplog.text


async def test_a_token_in_the_place_of_a_host_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many services are addressed like that, and Apprise names the host that it cannot reach."""
    (port,) = free_ports(1)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")  # so that nobody looks up the name
    (answer,) = await send(chat("json://T0kenT0kenT0ken/"), a_message(an_incident()))
    assert Retry(reason="JSON: A Connection error occurred sending JSON notification to [redacted].") == answer


async def test_what_apprise_logs_is_told_by_us_alone() -> None:
    """Its own log lines have addresses in them that nobody scrubs."""

    class Root(logging.Handler):
        seen: ClassVar[list[str]] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.seen.append(record.name)

    root = Root()
    logging.getLogger().addHandler(root)
    try:
        async with FakeReceiver(always=Reply(500)) as server:
            (answer,) = await send(chat(at(server)), a_message(an_incident()))
    finally:
        logging.getLogger().removeHandler(root)
    assert isinstance(answer, Retry)
    assert "500" in answer.reason
    assert "apprise" not in Root.seen


async def test_what_a_provider_says_mentions_nobody() -> None:
    """Chat services ring everybody for a word; it is broken without being seen."""
    async with FakeReceiver() as server:
        await send(chat(at(server)), a_message(an_incident(annotations={"summary": HOSTILE_TEXT[:900]})))
    told = server.deliveries[0].json
    for call in ("@channel", "<!here", "<@U0"):
        assert call not in told["title"] + told["message"]
    assert "@\u200bchannel" in told["title"]


async def test_who_has_taken_it_is_not_told_again() -> None:
    """One address of two fails: the retry goes to that one alone, and the next page to both."""
    async with FakeReceiver() as well, FakeReceiver(Reply(500), CLOSE) as failing:
        receiver = chat(at(well), at(failing))
        answers = await send(receiver, *[a_message(an_incident())] * 3)
        assert [False, False, True] == [answer == Accepted() for answer in answers]
        assert (1, 3) == (len(well.deliveries), len(failing.deliveries))
        assert [Accepted()] == await send(receiver, replace(a_message(an_incident()), id="another"))
        assert (2, 4) == (len(well.deliveries), len(failing.deliveries))


async def test_a_server_that_hangs_is_given_up_and_holds_up_nobody() -> None:
    """The answer comes in time; while the thread waits there is no other, and when it is through, all goes on."""
    before = threading.enumerate()
    async with FakeReceiver(HANG) as server:
        receiver = chat(f"{at(server)}?rto=1&cto=1", timeout=0.1)
        assert [Retry(reason="no answer within 0.1 s")] == await send(receiver, a_message(an_incident()))
        assert [Retry(reason="the delivery before is still under way")] == await send(
            receiver, a_message(an_incident())
        )
        begun = [thread for thread in threading.enumerate() if thread not in before]
        assert [("apprise", True)] == [(thread.name, thread.daemon) for thread in begun]  # the exit waits for no daemon
        async with asyncio.timeout(20):
            while any(thread.name == "apprise" for thread in threading.enumerate()):
                await asyncio.sleep(0.01)
        slow = receiver.model_copy(update={"timeout": 30.0})
        assert [Accepted()] == await send(slow, a_message(an_incident()))


async def test_what_arrives_after_the_timeout_is_not_sent_again() -> None:
    """The thread goes on; when the page is tried again it has been taken, and nothing goes out."""
    gate = asyncio.Event()

    class Slow(FakeReceiver):
        async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            await gate.wait()
            return await super()._answer(reader, writer)

    async with Slow() as server:
        receiver = chat(at(server), timeout=0.1)
        assert [Retry(reason="no answer within 0.1 s")] == await send(receiver, a_message(an_incident()))
        gate.set()
        await server.wait_for_deliveries(1)
        async with asyncio.timeout(20):
            while await send(receiver, a_message(an_incident())) != [Accepted()]:
                await asyncio.sleep(0.01)
    assert 1 == len(server.deliveries)


async def test_a_delivery_that_is_cancelled_leaves_nothing_behind() -> None:
    """A shutdown does not wait for the thread; its end is no error."""
    async with FakeReceiver(HANG) as server:
        task = asyncio.create_task(send(chat(f"{at(server)}?rto=1"), a_message(an_incident())))
        await server.wait_for_deliveries(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_addresses_from_a_file_are_read_again(tmp_path: Path) -> None:
    """One on each line, with comments; missing or wrong, it is a reason to try later."""
    file = tmp_path / "urls"
    receiver = chat(urls_file=str(file))
    async with FakeReceiver() as first, FakeReceiver() as second:
        (missing,) = await send(receiver, a_message(an_incident()))
        assert (
            receiver.delivery_obstacle()
            == missing.reason
            == f"cannot read the secret file {file}: No such file or directory"
        )  # type: ignore[union-attr]
        file.write_text("# nobody yet\n")
        (empty,) = await send(receiver, a_message(an_incident()))
        assert "the content of a file of secrets must be 1 to 16 addresses, one on each line" == empty.reason  # type: ignore[union-attr]
        file.write_text("nonsense-w1th-a-t0ken\n")
        (wrong,) = await send(receiver, a_message(an_incident()))
        assert isinstance(wrong, Retry)
        assert "is no address that Apprise knows" in wrong.reason
        assert "t0ken" not in wrong.reason + (receiver.delivery_obstacle() or "")
        file.write_text(f"# two\n{at(first)}\n\n{at(second)}\n{at(first)}\n")
        assert receiver.delivery_obstacle() is None
        assert [Accepted()] == await send(receiver, a_message(an_incident()))
    assert (1, 1) == (len(first.deliveries), len(second.deliveries))


async def test_a_long_page_is_cut_to_what_the_service_takes() -> None:
    """Ten alerts at most, and how many there are besides."""
    incidents = [a_full_incident(key=str(number)) for number in range(50)]
    async with FakeReceiver() as server:
        assert [Accepted()] == await send(chat(at(server)), replace(a_message(*incidents), alert_count=60))
    text = server.deliveries[0].json["message"]
    assert (10, "and 50 more") == (text.count("Errors, chat: firing"), text.splitlines()[-1])
    assert len(text) <= 16_000


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "needs exactly one of urls and urls_file"),
        ({"urls": ["json://localhost"], "urls_file": "f"}, "needs exactly one of urls and urls_file"),
        ({"urls": []}, "at least 1 item"),
        ({"urls": ["slack://t0ken-t0ken"]}, "is no address that Apprise knows, such as mailtos://"),
        ({"urls": ["https-no-scheme-t0ken"]}, "is no address that Apprise knows, such as mailtos://"),
        ({"urls": ["json://localhost"], "timeout": "2m"}, "less than or equal to 60"),
    ],
)
def test_a_receiver_that_cannot_be_meant(section: dict[str, Any], words: str) -> None:
    """Told when the configuration is read, without the address."""
    with pytest.raises(ValidationError) as caught:
        Apprise.model_validate({"type": "apprise", **section})
    told = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in told
    assert "t0ken" not in told


def test_two_that_are_configured_alike_are_equal() -> None:
    """What a delivery is about to do is no part of the configuration."""
    assert chat("json://localhost") == chat("json://localhost")
    assert chat("json://localhost") != chat("json://localhost/other")
