"""The rules about vantage points, with real daemons in three regions, a real Prometheus, and two Alertmanagers.

All daemons ask one provider, each through a network path of its own. Prometheus scrapes them, evaluates the rules that
``streamcanary rules --fleet`` prints, and sends its alerts to both members of a cluster of Alertmanager, which notifies
a webhook.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from ruamel.yaml import YAML

from support.programs.alertmanager import Alertmanager
from support.programs.daemon import Daemon, run_command
from support.programs.program import poll_until
from support.programs.prometheus import Prometheus
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import FakeReceiver
from support.servers.tcp import TcpForwarder

pytestmark = [pytest.mark.real("prometheus"), pytest.mark.real("alertmanager"), pytest.mark.timeout(300)]

REGIONS = ("ap", "eu", "us")
SECOND_NOTIFICATION = 4.0
"""Seconds after a notification in which the other Alertmanager would have sent its own: twice its peer timeout."""

SHORTER = {
    "[5m]": "[10s]",
    "offset 5m": "offset 10s",
    "for: 5m": "for: 4s",
    "[15m]": "[10s]",
}
"""Times of the rules, which would make the test last a quarter of an hour."""


class World(Struct, frozen=True):
    """The running programs; ``paths`` are the ways of the regions to the provider."""

    provider: FakeProvider
    paths: dict[str, TcpForwarder]
    daemons: dict[str, Daemon]
    alertmanagers: tuple[Alertmanager, Alertmanager]
    prometheus: Prometheus
    webhook: FakeReceiver

    def notifications(self) -> list[tuple[str, str, str]]:
        """Return status, alert and region of each alert of each notification, in the order in which they came."""
        return [
            (alert["status"], alert["labels"]["alertname"], alert["labels"].get("region", ""))
            for delivery in self.webhook.deliveries
            for alert in delivery.json["alerts"]
        ]

    async def wait_for(self, *notifications: tuple[str, str, str]) -> None:
        """Wait until these notifications have been sent, and until a second one of each would have been."""

        async def are_sent() -> bool | None:
            return set(notifications) <= set(self.notifications()) or None

        await poll_until(are_sent, 60, lambda: f"{self.notifications()}\n{self.prometheus.log[-2000:]}")
        await asyncio.sleep(SECOND_NOTIFICATION)


def config(region: str, base_url: str) -> dict[str, Any]:
    """Return the configuration of a region: a run every half second."""
    canary = {"target": "sim", "model": MODEL, "every": "500ms", "retry": {"max_attempts": 1}}
    return {
        "region": region,
        "targets": {"sim": {"base_url": base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {"chat": {**canary, "timeouts": {"total": "400ms"}}},
        "store": {"path": "store.db"},
        "web": {"port": 0},
    }


async def exported_rules(path: Path) -> dict[str, Any]:
    """Return the rules that the command prints for a configuration, with shorter times."""
    result = await run_command("rules", "-c", path, "--fleet", "--at-least", "2", "--of", "3")
    assert (0, "") == (result.code, result.stderr)
    text = result.stdout
    for long, short in SHORTER.items():
        assert long in text
        text = text.replace(long, short)
    rules: dict[str, Any] = YAML(typ="safe").load(text)
    return rules


@asynccontextmanager
async def running_world(folder: Path) -> AsyncIterator[World]:
    """Run all programs, until the cluster of Alertmanager is complete."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        webhook = await enter(FakeReceiver())
        options = {"webhook": webhook.url, "group_wait": "1s", "group_interval": "5s"}
        first = await enter(Alertmanager(folder / "am-0", is_clustered=True, **options))
        second = await enter(Alertmanager(folder / "am-1", peer=first, **options))
        provider = await enter(FakeProvider())
        port = int(provider.base_url.rpartition(":")[2].partition("/")[0])
        paths = {region: await enter(TcpForwarder(port)) for region in REGIONS}
        daemons = {region: Daemon(folder / region, config(region, paths[region].base_url)) for region in REGIONS}
        for daemon in daemons.values():
            await enter(daemon)
        ports = [(await daemon.wait_for_log("web server started"))["port"] for daemon in daemons.values()]
        static = {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": "monitoring"}}
        prometheus = await enter(
            Prometheus(
                folder,
                scrape={"job_name": "streamcanary", "static_configs": [static]},
                rules=await exported_rules(daemons["eu"].config),
                alertmanager=[each.url.removeprefix("http://") for each in (first, second)],
            )
        )

        async def is_complete() -> bool | None:
            return [2, 2] == [await each.cluster_size() for each in (first, second)] or None

        await poll_until(is_complete, 20, lambda: first.log + second.log)
        yield World(provider, paths, daemons, (first, second), prometheus, webhook)


async def test_an_outage_of_the_provider_is_one_page_and_that_of_a_path_one_ticket(tmp_path: Path) -> None:
    """Each is notified of once, and resolved once, by the cluster; neither causes the other alert.

    The last resolve comes from the Alertmanager that is left.
    """
    async with running_world(tmp_path) as world:
        for daemon in world.daemons.values():
            await daemon.wait_for_log("run finished", 6, outcome="ok")

        world.provider.set_fault("cut")
        page = [("firing", "ProviderDown", "")]
        await world.wait_for(*page)
        assert page == world.notifications()
        alert = world.webhook.deliveries[0].json["alerts"][0]
        assert {
            "alertname": "ProviderDown",
            "severity": "page",
            "canary": "chat",
            "target": "sim",
            "provider": "simulator",
            "job": "streamcanary",
            "namespace": "monitoring",
        } == alert["labels"]
        assert alert["annotations"]["summary"].startswith("chat: sim fails in ")

        world.provider.set_fault("ok")
        page.append(("resolved", "ProviderDown", ""))
        await world.wait_for(*page)
        assert page == world.notifications()

        world.paths["eu"].cut()
        ticket = [("firing", "VantagePointFailing", "eu")]
        await world.wait_for(*ticket)
        assert [*page, *ticket] == world.notifications()

        await world.alertmanagers[0].kill()
        world.paths["eu"].repair()
        ticket.append(("resolved", "VantagePointFailing", "eu"))
        await world.wait_for(*ticket)
        assert [*page, *ticket] == world.notifications()
        evaluated = await world.prometheus.rules()
        assert {"ok"} == {rule["health"] for rule in evaluated.values()}
