"""``alerts``, as whoever is woken by a page reads it."""

import argparse
import asyncio
import json
from typing import Any

import pytest

from streamcanary.cli.commands import alerts
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


class Daemon(FakeReceiver):
    """What a daemon answers."""

    def __init__(self, board: dict[str, Any], *silences: dict[str, Any]) -> None:
        super().__init__()
        self._board, self._silences = board, silences

    def reply(self, delivery: Any) -> Reply:
        """Answer what is asked for."""
        said = self._board if delivery.path.endswith("/incidents") else {"silences": self._silences}
        return Reply(body=json.dumps(said).encode())


async def asked(daemon: Daemon, *, as_json: bool = False) -> int:
    """Run the verb."""
    async with daemon as server:
        arguments = argparse.Namespace(url=server.url, token_file=None, json=as_json)
        return await asyncio.to_thread(alerts.main, arguments)


def board(*incidents: dict[str, Any], undelivered: tuple[dict[str, Any], ...] = (), **more: int) -> dict[str, Any]:
    """Write what the API says."""
    counted = {"firing": len(incidents), "owed": len(undelivered)}
    return {"incidents": incidents, "undelivered": undelivered, **counted, **more}


async def test_an_alert_is_shown_with_all_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """When it began and when it fired, who silenced it, what was seen, and what would end it; nothing is forged."""
    assert 0 == await asked(Daemon(board(INCIDENT), SILENCE))
    assert [
        f"FIRING  Errors  chat  fired {NOON}, bad since 2027-01-15T07:58:30Z  3 of 4  it stalled FIRING  Forged",
        "        silenced: s-1  me, deploy",
        "        overloaded 2, stalled 1, 4 before retries; 2 answered by a fallback",
        "        to be mended by: provider 3",
        "        diagnosis: tcp: refused",
        "        request ids: req-1, req-2",
        "        runbook: https://run.book/x",
        "        resolves after 3 good runs in a row",
        'SILENCE s-1  canary="chat"  active until 2027-01-15T10:00:00Z  me, deploy',
    ] == capsys.readouterr().out.splitlines()


async def test_what_mutes_an_alert_is_said_if_it_is_no_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """A maintenance window, or another alert."""
    assert 0 == await asked(Daemon(board({**INCIDENT, "silences": [], "muted": "inhibited by TargetRejected"})))
    assert "        muted: inhibited by TargetRejected\n" in capsys.readouterr().out


async def test_a_page_that_went_nowhere_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Under the alerts, or under none: what each receiver has not accepted, and why."""
    assert 0 == await asked(Daemon(board(undelivered=(BEHIND, LATE, REFUSED), owed=12)))
    assert [
        "nothing fires",
        "",
        "not delivered: 12",
        "RECEIVER  ACTION   WHAT                           SINCE                 TRIES  NEXT TRY"
        + 14 * " "
        + "LAST ERROR",
        f"prom      state    1 of 2 addresses take nothing  {NOON}         {LATER}  HTTP 500",
        f"oncall    trigger  chat: bad                      {NOON}  3      {LATER}  HTTP 500",
        f"chat      trigger  chat: bad                      {NOON}  1      parked                HTTP 404",
        "and 9 more",
    ] == capsys.readouterr().out.splitlines()


async def test_a_machine_gets_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """``--json``: one object, as the API has it."""
    said = board(INCIDENT, undelivered=(LATE,))
    assert 0 == await asked(Daemon(said, SILENCE), as_json=True)
    assert json.loads(json.dumps({**said, "silences": [SILENCE]})) == json.loads(capsys.readouterr().out)


async def test_what_is_no_daemon_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Something else may listen there."""
    for said in ({}, [], {"incidents": 7}, {"incidents": [7]}, {"incidents": [], "firing": "x", "undelivered": []}):
        assert 1 == await asked(Daemon(said))  # type: ignore[arg-type]
    assert 5 * "streamcanary: that is no streamcanary\n" == capsys.readouterr().err
