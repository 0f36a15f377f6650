"""``notify``: the notifications that a receiver gets, the printed results, and the exit codes."""

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
    """Run the verb with a configuration whose only receiver is ``oncall``."""
    config = {
        "instance": "staging-1",
        "targets": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {"chat": {"target": "local", "model": "sim-ok", "every": "30s"}},
        "alerts": {"receivers": {"oncall": section}},
    }
    return await run_command("notify", name, "-c", write_config(folder, config), **environ)


async def test_pagerduty_gets_a_trigger_and_its_resolve(tmp_path: Path) -> None:
    """Both events have the same key, and each test has a new key."""
    async with FakePagerDuty() as server:
        section = {"type": "pagerduty", "routing_key": ROUTING_KEY, "url": server.url}
        for _ in range(2):
            result = await notify(tmp_path, section)
            assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == result
    assert ["trigger", "resolve"] * 2 == [action for action, _ in server.log]
    assert 2 == len({key for _, key in server.log})
    payload = server.deliveries[0].json["payload"]
    assert ("Test notification: nothing is broken", "critical", "staging-1") == (
        payload["summary"],
        payload["severity"],
        payload["source"],
    )


async def test_slack_gets_two_messages(tmp_path: Path) -> None:
    """Slack gets a firing and a resolved message."""
    async with FakeSlack() as server:
        result = await notify(tmp_path, {"type": "slack", "url": server.url + WEBHOOK_PATH})
    assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == result
    assert ["Firing: T", "Resolved "] == [delivery.json["text"][:9] for delivery in server.deliveries]


async def test_a_webhook_gets_both_notifications(tmp_path: Path) -> None:
    """Both deliveries are signed."""
    async with FakeReceiver() as server:
        section = webhook_config(server.url)
        result = await notify(tmp_path, section)
    assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == result
    assert ["alert.fired", "alert.resolved"] == [kind for kind, _ in server.accepted_notifications()]
    assert all(delivery.signed_with(section["secret"]) for delivery in server.deliveries)


async def test_each_peer_of_alertmanager_gets_both_states(tmp_path: Path) -> None:
    """Each peer has its own lines; a failing peer gives exit code 1, and the other still gets the alert."""
    async with FakeReceiver(Reply(500, body=b"no disk")) as first, FakeReceiver() as second:
        result = await notify(tmp_path, {"type": "alertmanager", "urls": [first.url, second.url]})
        one, other = (server.url.removeprefix("http://") for server in (first, second))
    assert (1, "") == (result.code, result.stderr)
    assert [
        f"{one} firing: failed, the daemon would retry: HTTP 500: no disk",
        f"{other} firing: accepted",
        f"{other} resolved: accepted",
    ] == result.stdout.splitlines()
    assert (1, 2) == (len(first.deliveries), len(second.deliveries))


@pytest.mark.real("alertmanager")
async def test_a_real_alertmanager_accepts_the_test(tmp_path: Path) -> None:
    """The test alert is no longer active in Alertmanager at the end."""
    async with FakeReceiver() as pager, Alertmanager(tmp_path, webhook=pager.url) as alertmanager:
        result = await notify(tmp_path / "config", {"type": "alertmanager", "urls": [alertmanager.url]})
        assert (0, "") == (result.code, result.stderr)
        assert [] == await alertmanager.alerts()


async def test_apprise_sends_an_email_for_both(tmp_path: Path) -> None:
    """Apprise has no resolve, so the resolve is a second email."""
    async with FakeSmtpServer() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=canary@example.com&to=oncall@example.com"
        result = await notify(tmp_path, {"type": "apprise", "urls": [url]})
    assert CommandResult(0, "trigger: accepted\nresolve: accepted\n", "") == result
    assert ["Firing: T", "Resolved "] == [mail["Subject"][:9] for mail in server.messages]


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (Reply(404, body=b"no_service"), "trigger: refused: HTTP 404: no_service"),
        (
            Reply(429, {"Retry-After": "7"}),
            "trigger: failed, the daemon would retry after 7 s: HTTP 429",
        ),
        (CLOSE, "trigger: failed, the daemon would retry: connection failed: RemoteProtocolError"),
    ],
)
async def test_a_failed_delivery_is_exit_code_1(tmp_path: Path, reply: Any, line: str) -> None:
    """The line has the reason, and no resolve is sent after a failed trigger."""
    async with FakeSlack(reply) as server:
        result = await notify(tmp_path, {"type": "slack", "url": server.url + WEBHOOK_PATH})
    assert (1, "", True) == (result.code, result.stderr, result.stdout.startswith(line))
    assert 1 == len(result.stdout.splitlines()) == len(server.deliveries)
    assert "tok3n" not in result.stdout


async def test_the_process_exits_despite_a_blocked_thread(tmp_path: Path) -> None:
    """The process exits after ``timeout``, although Apprise still blocks."""
    async with FakeReceiver(HANG) as server:
        url = f"{server.url.replace('http', 'json')}?rto=300"
        result = await notify(tmp_path, {"type": "apprise", "urls": [url], "timeout": "1s"})
    line = "trigger: failed, the daemon would retry: no answer within 1 s\n"
    assert CommandResult(1, line, "") == result


async def test_an_unknown_receiver_is_exit_code_2(tmp_path: Path) -> None:
    """The message has the unknown name and lists the known receivers."""
    result = await notify(tmp_path, webhook_config(), name="oncal")
    assert CommandResult(2, "", "streamcanary: unknown receiver 'oncal'; known: oncall\n") == result


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"type": "pagerduty", "routing_key_file": "secret"},
            "the content of a file of secrets must be the 32 letters and digits of an integration",
        ),
        ({"type": "slack", "url_file": "secret"}, "the content of a file of secrets must be an http:// or https://"),
        ({"type": "apprise", "urls_file": "secret"}, "the content of a file of secrets is no address that Apprise"),
    ],
)
async def test_an_invalid_secret_file_is_exit_code_2(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    """Nothing is sent, and the message has the reason without the secret."""
    (tmp_path / "secret").write_text("nonsense-5up3rs3cr3t")
    receiver = {key: str(tmp_path / value) if value == "secret" else value for key, value in section.items()}
    result = await notify(tmp_path, receiver)
    assert (2, "") == (result.code, result.stdout)
    assert result.stderr.startswith(f"streamcanary: receiver oncall: {message}")
    assert 1 == len(result.stderr.splitlines())
    assert "5up3rs3cr3t" not in result.stderr


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "slack", "url_file": "/no/such/file"}, "url_file: cannot read the secret file /no/such/file"),
        (
            {**webhook_config(), "ca_file": "/no/such/file"},
            "ca_file: ca_file /no/such/file cannot be read: No such file",
        ),
    ],
)
async def test_an_unreadable_file_is_reported_with_its_key(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    """The message has the path of the key of the file that cannot be read."""
    result = await notify(tmp_path, section)
    assert (2, "") == (result.code, result.stdout)
    assert f"alerts.receivers.oncall.{message}" in result.stderr


async def test_an_invalid_configuration_is_exit_code_2(tmp_path: Path) -> None:
    """A receiver without a secret is reported with its key, as by ``check``."""
    result = await notify(tmp_path, {"type": "pagerduty"})
    assert (2, "") == (result.code, result.stdout)
    assert "alerts.receivers.oncall: needs exactly one of routing_key and routing_key_file" in result.stderr
