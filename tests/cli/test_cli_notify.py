"""``streamcanary notify``: what a receiver is sent, what is said of its answers, and how it ends."""

from pathlib import Path
from typing import Any

import pytest

from support.alerting.builders import webhook_config
from support.programs.alertmanager import Alertmanager
from support.programs.daemon import CommandResult, run_command, write_config
from support.servers.pagerduty import ROUTING_KEY, FakePagerDuty
from support.servers.receiver import CLOSE, HANG, FakeReceiver, Reply
from support.servers.slack import WEBHOOK_PATH, FakeSlack
from support.servers.smtp import FakeSmtpServer


async def notify(folder: Path, section: dict[str, Any], name: str = "oncall", **environ: str) -> CommandResult:
    """Notify a receiver of a configuration that has ``oncall`` alone."""
    config = {
        "instance": "staging-1",
        "targets": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {"chat": {"target": "local", "model": "sim-ok", "every": "30s"}},
        "alerts": {"receivers": {"oncall": section}},
    }
    return await run_command("notify", name, "-c", write_config(folder, config), **environ)


async def test_pagerduty_has_an_incident_that_is_over(tmp_path: Path) -> None:
    """One key for both, and another one with each test."""
    async with FakePagerDuty() as server:
        section = {"type": "pagerduty", "routing_key": ROUTING_KEY, "url": server.url}
        for _ in range(2):
            said = await notify(tmp_path, section)
            assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == said
    assert ["trigger", "resolve"] * 2 == [what for what, _ in server.log]
    assert 2 == len({key for _, key in server.log})
    payload = server.deliveries[0].json["payload"]
    assert ("A test page: nothing is wrong", "critical", "staging-1") == (
        payload["summary"],
        payload["severity"],
        payload["source"],
    )


async def test_slack_has_two_messages(tmp_path: Path) -> None:
    """That it fires, and that it is over."""
    async with FakeSlack() as server:
        said = await notify(tmp_path, {"type": "slack", "url": server.url + WEBHOOK_PATH})
    assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == said
    assert ["Firing: A", "Resolved "] == [delivery.json["text"][:9] for delivery in server.deliveries]


async def test_a_webhook_is_told_of_both(tmp_path: Path) -> None:
    """Signed, with ids of their own."""
    async with FakeReceiver() as server:
        section = webhook_config(server.url)
        said = await notify(tmp_path, section)
    assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == said
    assert ["alert.fired", "alert.resolved"] == [kind for kind, _ in server.accepted_notifications()]
    assert all(delivery.signed_with(section["secret"]) for delivery in server.deliveries)


async def test_each_peer_of_alertmanager_is_told_of_both(tmp_path: Path) -> None:
    """Each on its own line; one that fails costs the exit code, and not the other its alert."""
    async with FakeReceiver(Reply(500, body=b"no disk")) as first, FakeReceiver() as second:
        said = await notify(tmp_path, {"type": "alertmanager", "urls": [first.url, second.url]})
        one, other = (server.url.removeprefix("http://") for server in (first, second))
    assert (1, "") == (said.code, said.stderr)
    assert [
        f"{one} firing: not taken, the daemon would try again: HTTP 500: no disk",
        f"{other} firing: accepted",
        f"{other} resolved: accepted",
    ] == said.stdout.splitlines()
    assert (1, 2) == (len(first.deliveries), len(second.deliveries))


@pytest.mark.real("alertmanager")
async def test_a_real_alertmanager_notifies_of_the_test(tmp_path: Path) -> None:
    """And has nothing left that fires."""
    async with FakeReceiver() as pager, Alertmanager(tmp_path, webhook=pager.url) as alertmanager:
        said = await notify(tmp_path / "config", {"type": "alertmanager", "urls": [alertmanager.url]})
        assert (0, "") == (said.code, said.stderr)
        assert [] == await alertmanager.alerts()


async def test_a_mail_is_sent_for_both(tmp_path: Path) -> None:
    """Apprise knows no resolve: it is a mail as well."""
    async with FakeSmtpServer() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=canary@example.com&to=oncall@example.com"
        said = await notify(tmp_path, {"type": "apprise", "urls": [url]})
    assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == said
    assert ["Firing: A", "Resolved "] == [mail["Subject"][:9] for mail in server.messages]


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (Reply(404, body=b"no_service"), "trigger: refused: HTTP 404: no_service"),
        (
            Reply(429, {"Retry-After": "7"}),
            "trigger: not taken, the daemon would try again, after 7 s: HTTP 429",
        ),
        (CLOSE, "trigger: not taken, the daemon would try again: connection failed: RemoteProtocolError"),
    ],
)
async def test_what_is_not_taken_is_told(tmp_path: Path, reply: Any, line: str) -> None:
    """With the reason and exit code 1; the resolve of a page that was not taken is not sent."""
    async with FakeSlack(reply) as server:
        said = await notify(tmp_path, {"type": "slack", "url": server.url + WEBHOOK_PATH})
    assert (1, "", True) == (said.code, said.stderr, said.stdout.startswith(line))
    assert 1 == len(said.stdout.splitlines()) == len(server.deliveries)
    assert "tok3n" not in said.stdout


async def test_the_end_does_not_wait_for_what_hangs_in_a_thread(tmp_path: Path) -> None:
    """Apprise blocks for as long as its address says; the process ends all the same."""
    async with FakeReceiver(HANG) as server:
        url = f"{server.url.replace('http', 'json')}?rto=300"
        said = await notify(tmp_path, {"type": "apprise", "urls": [url], "timeout": "1s"})
    line = "trigger: not taken, the daemon would try again: no answer within 1 s\n"
    assert CommandResult(1, line, "") == said


async def test_a_receiver_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    """A typing error is seen at once."""
    said = await notify(tmp_path, webhook_config(), name="oncal")
    assert CommandResult(2, "", "streamcanary: there is no receiver 'oncal'; known: oncall\n") == said


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            {"type": "pagerduty", "routing_key_file": "secret"},
            "the content of a file of secrets must be the 32 letters and digits of an integration",
        ),
        ({"type": "slack", "url_file": "secret"}, "the content of a file of secrets must be an http:// or https://"),
        ({"type": "apprise", "urls_file": "secret"}, "the content of a file of secrets is no address that Apprise"),
    ],
)
async def test_what_is_in_the_way_is_told_in_a_sentence(tmp_path: Path, section: dict[str, Any], says: str) -> None:
    """And nothing is sent, and no secret shown."""
    (tmp_path / "secret").write_text("nonsense-5up3rs3cr3t")
    named = {key: str(tmp_path / value) if value == "secret" else value for key, value in section.items()}
    said = await notify(tmp_path, named)
    assert (2, "") == (said.code, said.stdout)
    assert said.stderr.startswith(f"streamcanary: receiver oncall: {says}")
    assert 1 == len(said.stderr.splitlines())
    assert "5up3rs3cr3t" not in said.stderr


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"type": "slack", "url_file": "/no/such/file"}, "url_file: cannot read the secret file /no/such/file"),
        (
            {**webhook_config(), "ca_file": "/no/such/file"},
            "ca_file: ca_file /no/such/file cannot be read: No such file",
        ),
    ],
)
async def test_a_file_that_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, section: dict[str, Any], says: str
) -> None:
    """As by every verb that reads the configuration."""
    said = await notify(tmp_path, section)
    assert (2, "") == (said.code, said.stdout)
    assert f"alerts.receivers.oncall.{says}" in said.stderr


async def test_a_configuration_that_is_wrong_is_told_as_by_check(tmp_path: Path) -> None:
    """A receiver without its secret, with its place."""
    said = await notify(tmp_path, {"type": "pagerduty"})
    assert (2, "") == (said.code, said.stdout)
    assert "alerts.receivers.oncall: needs exactly one of routing_key and routing_key_file" in said.stderr
