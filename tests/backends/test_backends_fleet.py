"""The rules about a fleet in a real Prometheus: real members fail together, and one page arrives in Alertmanager."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamcanary.alerting.prometheus.fleet_rules import FleetRuleOptions, export_fleet_rules
from support.programs.alertmanager import Alertmanager
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.programs.prometheus import Prometheus
from support.servers.provider import MODEL, FakeProvider

pytestmark = [pytest.mark.real("prometheus"), pytest.mark.real("alertmanager"), pytest.mark.timeout(300)]

MEMBERS = 5


def config(provider: FakeProvider, member: str) -> dict[str, Any]:
    """Build the configuration of a member: together, they run every half second."""
    return {
        "fleet": {"replicas": MEMBERS, "member": member},
        "instance": "shop",
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {"app": {"target": "sim", "model": MODEL, "every": "500ms", "retry": {"max_attempts": 1}}},
        "store": {"path": "store.db"},
        "web": {"port": 0},
    }


@asynccontextmanager
async def fleet(folder: Path, providers: list[FakeProvider]) -> AsyncIterator[dict[str, Daemon]]:
    """Run a member for each of ``providers``; yield them by their addresses."""
    async with AsyncExitStack() as stack:
        members = [
            Daemon(folder / f"pod-{number}", config(provider, f"pod-{number}"))
            for number, provider in enumerate(providers)
        ]
        for member in members:
            await stack.enter_async_context(member)
        ports = [(await member.wait_for_log("web server started"))["port"] for member in members]
        yield {f"127.0.0.1:{port}": member for port, member in zip(ports, members, strict=True)}


async def test_an_outage_of_all_members_is_one_page(tmp_path: Path) -> None:
    """When one member fails, nobody is paged; when all do, there is one alert, which ends after the outage."""
    async with AsyncExitStack() as stack:
        alertmanager = await stack.enter_async_context(Alertmanager(tmp_path))
        providers = [await stack.enter_async_context(FakeProvider()) for _ in range(MEMBERS)]
        members = await stack.enter_async_context(fleet(tmp_path, providers))
        static = [
            {"targets": [address], "labels": {"namespace": "shop", "pod": f"pod-{number}"}}
            for number, address in enumerate(members)
        ]
        prometheus = await stack.enter_async_context(
            Prometheus(
                tmp_path,
                scrape={"job_name": "shop", "static_configs": static},
                rules=YAML(typ="safe").load(export_fleet_rules(FleetRuleOptions())),
                alertmanager=alertmanager.url.removeprefix("http://"),
            )
        )

        async def alerts() -> list[dict[str, Any]] | None:
            return await alertmanager.alerts() or None

        async def quiet() -> bool | None:
            return not await alertmanager.alerts() or None

        for member in members.values():
            await member.wait_for_log("run finished", 3, outcome="ok")
        providers[0].set_fault("cut")
        await next(iter(members.values())).wait_for_log("run finished", 6, outcome="failed")
        await asyncio.sleep(3)  # several scrapes and evaluations
        assert [] == await alertmanager.alerts()

        for provider in providers:
            provider.set_fault("cut")
        [alert] = await poll_until(alerts, 90, lambda: prometheus.log)
        assert {
            "alertname": "FleetFailing",
            "severity": "page",
            "canary": "app",
            "target": "sim",
            "provider": "simulator",
            "job": "shop",
            "namespace": "shop",
        } == alert["labels"]
        assert alert["annotations"]["summary"].startswith("app of shop: ")
        evaluated = await prometheus.rules()
        assert {"ok"} == {rule["health"] for rule in evaluated.values()}
        assert {"FleetFailing"} == {name for name, rule in evaluated.items() if rule.get("state") == "firing"}
        for provider in providers:
            provider.set_fault("ok")
        await poll_until(quiet, 90, lambda: prometheus.log)
