"""``alerts``: firing alerts, silences and undelivered notifications, as text and JSON."""

import argparse
import asyncio
import json
import re
from typing import Any

import pytest

from streamcanary.cli.commands.operating import alerts
from streamcanary.cli.daemon_client import UNEXPECTED_ANSWER
from support.servers.receiver import FakeReceiver, Reply

NOON, LATER = "2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z"
INCIDENT: dict[str, Any] = {
    "key": "k",
    "alert": "Errors",
    "subject": "chat",
    "labels": {},
    "opened": NOON,
    "since": "2027-01-15T07:58:30Z",
    "muted": "silence s-1",
    "silences": ["s-1"],
    "resolves": "3 good runs in a row",
    "bad": 3,
    "total": 4,
    "first_attempts": 4,
    "rescued": 2,
    "faults": {"stalled": 1, "overloaded": 2},
    "blames": {"provider": 3},
    "message": "it stalled\nFIRING  Forged",
    "diagnosis": "tcp: refused",
    "request_ids": ["req-1", "req-2"],
    "trace_ids": ["t-1"],
    "runbook_url": "https://run.book/x",
    "annotations": {},
}
SILENCE = {
    "id": "s-1",
    "state": "active",
    "match": ['canary="chat"'],
    "starts": NOON,
    "until": "2027-01-15T10:00:00Z",
    "by": "me",
    "why": "deploy",
}
LATE = {
    "receiver": "oncall",
    "action": "trigger",
    "title": "chat: bad",
    "since": NOON,
    "tries": 3,
    "state": "pending",
    "next_try": LATER,
    "last_error": "HTTP 500",
}
REFUSED = {**LATE, "receiver": "chat", "tries": 1, "state": "parked", "next_try": None, "last_error": "HTTP 404"}
BEHIND = {**LATE, "receiver": "prom", "action": "state", "title": "1 of 2 addresses take nothing", "tries": None}


class FakeDaemon(FakeReceiver):
    """Answers as the API of a daemon."""

    def __init__(self, status: dict[str, Any], *silences: dict[str, Any]) -> None:
        super().__init__()
        self._status, self._silences = status, silences

    def reply(self, delivery: Any) -> Reply:
        """Return the status or the silences."""
        body = self._status if delivery.path.endswith("/incidents") else {"silences": self._silences}
        return Reply(body=json.dumps(body).encode())


async def run_alerts(daemon: FakeDaemon, *, as_json: bool = False, learned: bool = False) -> int:
    """Run the verb and return its exit code."""
    async with daemon as server:
        arguments = argparse.Namespace(url=server.url, token_file=None, json=as_json, learned=learned)
        return await asyncio.to_thread(alerts.main, arguments)


def make_status(
    *incidents: dict[str, Any], undelivered: tuple[dict[str, Any], ...] = (), **more: int
) -> dict[str, Any]:
    """Return the response of the API."""
    counts = {"firing": len(incidents), "owed": len(undelivered)}
    return {"incidents": incidents, "undelivered": undelivered, **counts, **more}


async def test_an_alert_is_printed_with_its_details(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines have times, silences, faults, blame, diagnosis and resolve condition; a line break forges no line."""
    assert 0 == await run_alerts(FakeDaemon(make_status(INCIDENT), SILENCE))
    assert [
        "1 alert firing",
        f"FIRING  Errors  chat  fired {NOON}, failing since 2027-01-15T07:58:30Z  3 of 4  it stalled FIRING  Forged",
        "        silenced by: s-1  me, deploy",
        "        faults: overloaded 2, stalled 1, 4 before retries; 2 answered by a fallback",
        "        blame: provider 3",
        "        diagnosis: tcp: refused",
        "        request ids: req-1, req-2",
        "        traces: t-1",
        "        runbook: https://run.book/x",
        "        resolves after 3 good runs in a row",
        'SILENCE s-1  canary="chat"  active until 2027-01-15T10:00:00Z  me, deploy',
    ] == capsys.readouterr().out.splitlines()


async def test_a_pooled_alert_names_its_canaries(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of a pooled alert name the canaries that fail, and those that do not."""
    failing = [{"canary": "a", "bad": 3, "total": 5}, {"canary": "b", "bad": 1, "total": 4}]
    members = {"scope": "target", "members": 8, "failing": failing, "failing_count": 3}
    pooled = {**INCIDENT, "subject": "target openai", **members, "unaffected": ["c"], "unaffected_count": 5}
    assert 0 == await run_alerts(FakeDaemon(make_status(pooled), SILENCE))
    lines = capsys.readouterr().out.splitlines()
    assert "        failing canaries: 3 of 8: a (3 of 5 runs), b (1 of 4 runs) and 1 more" in lines
    assert "        unaffected: c and 4 more" in lines


async def test_maintenance_and_inhibition_are_printed_as_muted(capsys: pytest.CaptureFixture[str]) -> None:
    """An alert without a silence that is muted has a line with the reason."""
    assert 0 == await run_alerts(
        FakeDaemon(make_status({**INCIDENT, "silences": [], "muted": "inhibited by TargetRejected"}))
    )
    assert "        muted: inhibited by TargetRejected\n" in capsys.readouterr().out


async def test_undelivered_notifications_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A table below the alerts has the notifications that receivers have not accepted, with the last error."""
    assert 0 == await run_alerts(FakeDaemon(make_status(undelivered=(BEHIND, LATE, REFUSED), owed=12)))
    assert [
        "no alert is firing",
        "",
        "undelivered notifications: 12",
        "RECEIVER  ACTION   NOTIFICATION                   SINCE                 ATTEMPTS  NEXT ATTEMPT"
        + 10 * " "
        + "LAST ERROR",
        f"prom      state    1 of 2 addresses take nothing  {NOON}            {LATER}  HTTP 500",
        f"oncall    trigger  chat: bad                      {NOON}  3         {LATER}  HTTP 500",
        f"chat      trigger  chat: bad                      {NOON}  1         parked                HTTP 404",
        "and 9 more",
    ] == capsys.readouterr().out.splitlines()


async def test_json_has_the_whole_response(capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` prints one object with the status of the API and the silences."""
    status = make_status(INCIDENT, undelivered=(LATE,))
    assert 0 == await run_alerts(FakeDaemon(status, SILENCE), as_json=True)
    assert json.loads(json.dumps({**status, "silences": [SILENCE]})) == json.loads(capsys.readouterr().out)


async def test_an_unexpected_answer_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer of another program gives one message and exit code 1."""
    for answer in ({}, [], {"incidents": 7}, {"incidents": [7]}, {"incidents": [], "firing": "x", "undelivered": []}):
        assert 1 == await run_alerts(FakeDaemon(answer))  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert 5 == len(lines)
    assert all(re.fullmatch(f"streamcanary: http://[^ ]+: {UNEXPECTED_ANSWER}", line) for line in lines)


async def test_what_was_learned_is_counted_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says for how many alerts something was learned; ``--learned`` lists it."""
    known = {"alert": "Slower", "subject": "chat", "base_rate": 0.11, "learned": NOON, "text": "90% take 730ms or less"}
    unknown = {"alert": "Slower", "subject": "new", "base_rate": None, "learned": None, "text": ""}
    status = {**make_status(), "baselines": [known, unknown], "baseline_count": 3}
    assert 0 == await run_alerts(FakeDaemon(status))
    assert 0 == await run_alerts(FakeDaemon(status), learned=True)
    assert [
        "no alert is firing",
        "learned what is normal for 1 of 3 alerts; list it with --learned",
        "no alert is firing",
        "",
        "ALERT   SUBJECT  LEARNED               NORMAL",
        f"Slower  chat     {NOON}  90% take 730ms or less",
        "Slower  new      not yet",
        "and 1 more",
    ] == capsys.readouterr().out.splitlines()
