"""Apprise delivers to real servers over HTTP and SMTP; it blocks in a thread, and blocks nothing else."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Retry
from streamcanary.alerting.notify.receivers import Apprise
from support.alerting.builders import NOON, a_message
from support.alerting.messages import HOSTILE_TEXT, a_full_incident, an_incident, lifecycle_messages
from support.programs.program import free_ports
from support.servers.receiver import CLOSE, HANG, FakeReceiver, Reply
from support.servers.smtp import FakeSmtpServer


def chat(*urls: str, **more: Any) -> Apprise:
    """Configure a receiver."""
    return Apprise.model_validate({"type": "apprise", **({"urls": urls} if urls else {}), **more})


def apprise_url(server: FakeReceiver, path: str = "") -> str:
    """Return the URL of ``server`` in the notation of Apprise."""
    return f"{server.url.replace('http', 'json')}/{path}"


async def send(receiver: Apprise, *messages: Any) -> list[DeliveryResult]:
    """Send messages, one after the other."""
    async with open_http_client() as http:
        return [await receiver.send(http, message, NOON + 120) for message in messages]


async def test_each_notification_is_a_text_message() -> None:
    """Trigger, update and resolve are text messages with the status in the title and the details in the body."""
    async with FakeReceiver() as server:
        assert [Accepted()] * 3 == await send(chat(apprise_url(server)), *lifecycle_messages(a_full_incident()))
    received = [delivery.json for delivery in server.deliveries]
    summary = "chat: 3 of the last 5 runs failed (overloaded 2, stalled 1); 2m, firing"
    assert [
        ("Firing: chat: 3 of", "failure"),
        ("Still firing: chat", "warning"),
        ("Resolved after 13m", "success"),
    ] == [(message["title"][:18], message["type"]) for message in received]
    assert [
        summary,
        "Errors, chat: firing",
        "Since: 2027-01-15 07:59:00 UTC (3m ago)",
        "Failed runs: 3 of 5 (60%) after retries, 4 (80%) at the first attempt",
        "Users see: errors, or answers of a fallback: it answered 1 of 3 failed runs",
        "Tried: 3 attempts, then the fallback gpt-4.1-mini",
        "Faults: overloaded 2, stalled 1",
        "Can be fixed by: the provider",
        "Resolves after: 3 good runs in a row",
        "Description: Look.",
        "Last message: upstream said: too many",
        "Diagnosis: TCP: connection refused",
        "Request ids: req_1, req_2",
        "Runbook: https://runbooks.example/a?b=1&c",
        "Trace 1bf76519: https://traces.example/1bf7651916cd43dd8448eb211c80319c",
        "Trace 0af76519: https://traces.example/0af7651916cd43dd8448eb211c80319c",
    ] == received[0]["message"].split("\n")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    """The server that a redirect leads to sees no request."""
    async with FakeReceiver() as elsewhere, FakeReceiver(always=Reply(status, {"Location": elsewhere.url})) as server:
        [result] = await send(chat(apprise_url(server)), a_message(an_incident()))
        assert isinstance(result, Retry)
        assert [] == elsewhere.deliveries


async def test_email_is_delivered() -> None:
    """An email has the title as its subject and the details in its body."""
    async with FakeSmtpServer() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=canary@example.com&to=oncall@example.com"
        assert [Accepted()] == await send(chat(url), a_message(an_incident()))
    (mail,) = server.messages
    assert "oncall@example.com" in mail["To"]
    assert mail["Subject"].startswith("Firing: chat: 3 of the last 5 runs failed")
    body = mail.get_body(("html", "plain"))
    assert body is not None
    assert "Last message: late" in body.get_content()


async def test_refusal_of_a_mail_server_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal of the mail server is retried, and its reason contains no password."""
    async with FakeSmtpServer(refusing=True) as server:
        url = f"mailto://oncall:s3cr3t-word@127.0.0.1:{server.port}?from=canary@example.com&to=oncall@example.com"
        (answer,) = await send(chat(url), a_message(an_incident()))
    assert isinstance(answer, Retry)
    assert answer.reason.startswith("E-Mail: ")
    assert "s3cr3t-word" not in answer.reason + caplog.text


async def test_token_in_place_of_a_host_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in the host part of a URL is redacted from the reason, which names the host."""
    (port,) = free_ports(1)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")  # so that nobody looks up the name
    (answer,) = await send(chat("json://T0kenT0kenT0ken/"), a_message(an_incident()))
    assert Retry(reason="JSON: A Connection error occurred sending JSON notification to [redacted].") == answer


async def test_log_lines_of_apprise_are_not_propagated() -> None:
    """Log lines of Apprise, which contain URLs, do not reach the root logger."""

    class Root(logging.Handler):
        seen: ClassVar[list[str]] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.seen.append(record.name)

    root = Root()
    logging.getLogger().addHandler(root)
    try:
        async with FakeReceiver(always=Reply(500)) as server:
            (answer,) = await send(chat(apprise_url(server)), a_message(an_incident()))
    finally:
        logging.getLogger().removeHandler(root)
    assert isinstance(answer, Retry)
    assert "500" in answer.reason
    assert "apprise" not in Root.seen


async def test_provider_text_cannot_mention_anyone() -> None:
    """Mentions in the text of a provider are broken by a zero-width space."""
    async with FakeReceiver() as server:
        await send(chat(apprise_url(server)), a_message(an_incident(annotations={"summary": HOSTILE_TEXT[:900]})))
    received = server.deliveries[0].json
    for call in ("@channel", "<!here", "<@U0"):
        assert call not in received["title"] + received["message"]
    assert "@\u200bchannel" in received["title"]


async def test_retry_omits_urls_that_have_accepted() -> None:
    """A retry is sent only to the URL that failed, and the next message to both."""
    async with FakeReceiver() as well, FakeReceiver(Reply(500), CLOSE) as failing:
        receiver = chat(apprise_url(well), apprise_url(failing))
        answers = await send(receiver, *[a_message(an_incident())] * 3)
        assert [False, False, True] == [answer == Accepted() for answer in answers]
        assert (1, 3) == (len(well.deliveries), len(failing.deliveries))
        assert [Accepted()] == await send(receiver, replace(a_message(an_incident()), id="another"))
        assert (2, 4) == (len(well.deliveries), len(failing.deliveries))


async def test_hanging_server_times_out_and_blocks_no_other_delivery() -> None:
    """A hanging server times out, blocks a second delivery only until its thread ends, and then deliveries continue."""
    before = threading.enumerate()
    async with FakeReceiver(HANG) as server:
        receiver = chat(f"{apprise_url(server)}?rto=1&cto=1", timeout=0.1)
        assert [Retry(reason="no answer within 0.1 s")] == await send(receiver, a_message(an_incident()))
        assert [Retry(reason="the previous delivery is still running")] == await send(
            receiver, a_message(an_incident())
        )
        begun = [thread for thread in threading.enumerate() if thread not in before]
        assert [("apprise", True)] == [(thread.name, thread.daemon) for thread in begun]  # the exit waits for no daemon
        async with asyncio.timeout(20):
            while any(thread.name == "apprise" for thread in threading.enumerate()):
                await asyncio.sleep(0.01)
        slow = receiver.model_copy(update={"timeout": 30.0})
        assert [Accepted()] == await send(slow, a_message(an_incident()))


async def test_delivery_that_completes_after_the_timeout_is_not_repeated() -> None:
    """A retry sends nothing if the thread has delivered the message after the timeout."""
    gate = asyncio.Event()

    class Slow(FakeReceiver):
        async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            await gate.wait()
            return await super()._answer(reader, writer)

    async with Slow() as server:
        receiver = chat(apprise_url(server), timeout=0.1)
        assert [Retry(reason="no answer within 0.1 s")] == await send(receiver, a_message(an_incident()))
        gate.set()
        await server.wait_for_deliveries(1)
        async with asyncio.timeout(20):
            while await send(receiver, a_message(an_incident())) != [Accepted()]:
                await asyncio.sleep(0.01)
    assert 1 == len(server.deliveries)


async def test_cancelled_delivery_does_not_wait_for_its_thread() -> None:
    """A cancelled delivery ends at once, and the end of its thread raises no error."""
    async with FakeReceiver(HANG) as server:
        task = asyncio.create_task(send(chat(f"{apprise_url(server)}?rto=1"), a_message(an_incident())))
        await server.wait_for_deliveries(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_urls_file_is_read_again(tmp_path: Path) -> None:
    """A file with URLs and comments is read for each delivery; a missing or invalid one is retried."""
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
        file.write_text(f"# two\n{apprise_url(first)}\n\n{apprise_url(second)}\n{apprise_url(first)}\n")
        assert receiver.delivery_obstacle() is None
        assert [Accepted()] == await send(receiver, a_message(an_incident()))
    assert (1, 1) == (len(first.deliveries), len(second.deliveries))


async def test_long_message_is_truncated() -> None:
    """A message contains at most ten alerts, and the number of the others."""
    incidents = [a_full_incident(key=str(number)) for number in range(50)]
    async with FakeReceiver() as server:
        assert [Accepted()] == await send(chat(apprise_url(server)), replace(a_message(*incidents), alert_count=60))
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
def test_invalid_configuration_is_rejected(section: dict[str, Any], words: str) -> None:
    """An invalid configuration is rejected by a message that does not contain the URL."""
    with pytest.raises(ValidationError) as caught:
        Apprise.model_validate({"type": "apprise", **section})
    received = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in received
    assert "t0ken" not in received


def test_receivers_with_equal_settings_are_equal() -> None:
    """Two receivers with equal settings are equal, whatever they are delivering."""
    assert chat("json://localhost") == chat("json://localhost")
    assert chat("json://localhost") != chat("json://localhost/other")
