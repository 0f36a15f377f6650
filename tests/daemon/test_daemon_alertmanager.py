"""A real Alertmanager gets the firing alert with its evidence, and the resolved one."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.programs.alertmanager import Alertmanager
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import FakeReceiver


class Forgetful(Alertmanager):
    """An Alertmanager that can be restarted on its port with empty data."""

    async def restart(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        """Stop it, wait for ``meanwhile``, delete its data, and start it."""
        await self._end()
        await meanwhile()
        shutil.rmtree(self.folder / "data")
        async with asyncio.timeout(30):
            with (self.folder / "log").open("ab") as log:
                while True:  # for a moment the port may be another's
                    self._process = await asyncio.create_subprocess_exec(*self.command(), stdout=log, stderr=log)
                    if await self._wait_until_ready():
                        return


def config(provider: FakeProvider, *alertmanagers: Alertmanager, **more: object) -> dict[str, Any]:
    """Return a configuration with one canary that can fail, and one that succeeds."""
    # Time for a run, on a machine that has none: one that is given up is another fault.
    pace = {"every": "1500ms", "timeouts": {"total": "1400ms"}, "retry": {"max_attempts": 2, "base_delay": "10ms"}}
    return {
        "instance": "staging-1",
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "chat-mini": {**pace, "target": "sim", "model": MODEL, "labels": {"tier": "prod"}},
            "steady": {**pace, "target": "sim", "model": "sim-ok", "labels": {"tier": "prod"}},
        },
        "alerts": {
            "group_wait": 0,
            "rules": {
                "NoData": {"enabled": False},
                "TargetRejected": {"enabled": False},
                "LLMErrorSpike": {
                    "match": ['tier="prod"'],
                    "detector": {"type": "consecutive", "failures": 3, "resolve_after": 1},
                    "labels": {"severity": "page"},
                    "annotations": {
                        "summary": "{canary}: {bad} of the last {total} runs failed",
                        "faults": "{faults}",
                        "blames": "{blames}",
                        "last": "{message}",
                        "requests": "{request_ids}",
                        "runbook_url": "https://runbooks.example.com/llm",
                    },
                },
            },
            "receivers": {"prom": {"type": "alertmanager", "urls": [one.url for one in alertmanagers], **more}},
        },
    }


@pytest.mark.real("alertmanager")
async def test_alertmanager_shows_the_alert_with_its_evidence_and_notifies_of_both_ends(tmp_path: Path) -> None:
    """A cut stream fires the rule, Alertmanager shows the alert and notifies, and the recovery resolves it."""
    async with (
        FakeProvider() as provider,
        FakeReceiver() as pager,
        Alertmanager(tmp_path, webhook=pager.url) as alertmanager,
        Daemon(tmp_path / "daemon", config(provider, alertmanager)) as daemon,
    ):
        await daemon.wait_for_log("run finished", canary="chat-mini", outcome="ok")
        assert [] == await alertmanager.alerts()
        provider.set_fault("cut")

        async def firing() -> dict[str, Any] | None:
            return next(iter(await alertmanager.alerts()), None)

        alert = await poll_until(firing, 60, lambda: daemon.stderr)
        assert {
            "alertname": "LLMErrorSpike",
            "canary": "chat-mini",
            "target": "sim",
            "provider": "simulator",
            "instance": "staging-1",
            "severity": "page",
            "tier": "prod",
        } == alert["labels"]
        asked = {request.id for request in provider.requests if request.fault == "cut"}
        named = alert["annotations"].pop("requests").split(", ")
        assert 5 == len(named)
        assert asked >= set(named)
        assert {
            "summary": "chat-mini: 3 of the last 3 runs failed",
            "faults": "stream cut off 3",
            "blames": "network 3",
            "last": alert["annotations"]["last"],
            "runbook_url": "https://runbooks.example.com/llm",
        }.items() <= alert["annotations"].items()
        assert alert["annotations"]["last"]
        assert "active" == alert["status"]["state"]

        provider.set_fault("ok")

        async def quiet() -> bool | None:
            return not await alertmanager.alerts() or None

        await poll_until(quiet, 60, lambda: daemon.stderr)
        told = [page.json for page in await pager.wait_for_deliveries(2)]
        assert ["firing", "resolved"] == [page["status"] for page in told]
        assert {alert["fingerprint"]} == {one["fingerprint"] for page in told for one in page["alerts"]}
        [began] = {datetime.fromisoformat(one["startsAt"]) for page in told for one in page["alerts"]}
        assert datetime.fromisoformat(alert["startsAt"]) == began
        assert alert["labels"] == told[1]["commonLabels"]
        assert ["chat-mini"] == [line["subject"] for line in daemon.log_lines("alert fired")]
        assert ["chat-mini"] == [line["subject"] for line in daemon.log_lines("alert resolved")]


@pytest.mark.real("alertmanager")
async def test_an_alertmanager_that_lost_its_data_gets_the_active_alerts_and_the_resolve(tmp_path: Path) -> None:
    """One of two peers restarts during an outage: both have the alert again, and both get the resolve."""
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver() as steady_pager,
        FakeReceiver() as pager,
        Alertmanager(tmp_path / "steady", webhook=steady_pager.url) as steady,
        Forgetful(tmp_path / "forgetful", webhook=pager.url) as forgetful,
        Daemon(tmp_path / "daemon", config(provider, steady, forgetful, resend="1s")) as daemon,
    ):

        async def both_know() -> list[dict[str, Any]] | None:
            known = [await steady.alerts(), await forgetful.alerts()]
            return [alert for [alert] in known] if all(known) else None

        async def neither_knows() -> bool | None:
            return not (await steady.alerts() or await forgetful.alerts()) or None

        before = await poll_until(both_know, 60, lambda: daemon.stderr)
        await steady_pager.wait_for_deliveries(1)
        await pager.wait_for_deliveries(1)
        await forgetful.restart(lambda: daemon.wait_for_log("notification failed", receiver="prom"))
        after = await poll_until(both_know, 60, lambda: daemon.stderr)
        assert 1 == len({(alert["fingerprint"], alert["startsAt"]) for alert in [*before, *after]})
        await pager.wait_for_deliveries(2)  # it pages anew: it has lost that it did

        provider.set_fault("ok")
        await poll_until(neither_knows, 60, lambda: daemon.stderr)
        await steady_pager.wait_for_deliveries(2)
        await pager.wait_for_deliveries(3)
        assert ["firing", "resolved"] == [page.json["status"] for page in steady_pager.accepted]
        assert ["firing", "firing", "resolved"] == [page.json["status"] for page in pager.accepted]

        failed = daemon.log_lines("notification failed", receiver="prom")
        peer = forgetful.url.removeprefix("http://")
        assert all((1, peer, "state") == (line["alerts"], line["address"], line["action"]) for line in failed)
        assert all(line["retry_in_seconds"] > 0 and line["attempt"] >= 1 and line["error"] for line in failed)
        assert ["chat-mini"] == [line["subject"] for line in daemon.log_lines("alert fired")]
        assert ["chat-mini"] == [line["subject"] for line in daemon.log_lines("alert resolved")]
