"""The PrometheusRule of the chart in a real Prometheus: an outage arrives in a real Alertmanager, and ends there."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from support.programs.alertmanager import Alertmanager
from support.programs.daemon import Daemon
from support.programs.helm import MINIMAL, merged, object_of, rendered
from support.programs.program import poll_until
from support.programs.prometheus import Prometheus
from support.servers.provider import MODEL, FakeProvider

pytestmark = [pytest.mark.real("prometheus"), pytest.mark.real("alertmanager"), pytest.mark.real("helm")]

NAME = "canary-streamcanary"


def values(provider: FakeProvider) -> dict[str, Any]:
    """Return values of a release that is scraped, with a rule, and whose canary can fail."""
    target = {"base_url": provider.base_url, "api_key": "none", "api_key_file": None, "provider": "simulator"}
    canary = {"model": MODEL, "every": "1s", "timeouts": {"total": "900ms"}, "retry": {"max_attempts": 1}}
    detector = {"type": "consecutive", "failures": 3, "resolve_after": 3}
    rule = {"detector": detector, "labels": {"severity": "page"}, "annotations": {"runbook_url": "https://r.example/x"}}
    rules = {"ChatFailing": rule, "NoData": {"enabled": False}}
    config = {"targets": {"openai": target}, "canaries": {"chat": canary}, "alerts": {"rules": rules}}
    return merged(MINIMAL, {"config": config, "podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}})


async def test_an_outage_arrives_in_alertmanager_and_ends_there(tmp_path: Path) -> None:
    """Prometheus scrapes as the PodMonitor says, with the token of the Secret, and evaluates the PrometheusRule.

    The alert has the name and severity of the rule in the configuration, and is resolved after the outage; no other
    alert fires, and every rule can be evaluated.
    """
    async with FakeProvider() as provider, Alertmanager(tmp_path) as alertmanager:
        objects = rendered(tmp_path, values=values(provider))
        [endpoint] = object_of(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
        credentials = endpoint["authorization"]["credentials"]
        token = b64decode(object_of(objects, "Secret", credentials["name"])["data"][credentials["key"]]).decode()
        config = object_of(objects, "ConfigMap")["data"]["streamcanary.yaml"]
        environ = {"STREAMCANARY_WEB__PORT": "0", "STREAMCANARY_WEB__TOKEN": token}
        async with Daemon(tmp_path / "daemon", config, **environ) as daemon:
            address = await daemon.wait_for_log("web server started")
            scrape = {
                "job_name": "monitoring/canary",
                "metrics_path": endpoint["path"],
                "authorization": {"type": "Bearer", "credentials": token},
                "static_configs": [
                    {"targets": [f"127.0.0.1:{address['port']}"], "labels": {"namespace": "monitoring"}}
                ],
            }
            rules = object_of(objects, "PrometheusRule")["spec"]
            receiver = alertmanager.url.removeprefix("http://")
            async with Prometheus(tmp_path, scrape=scrape, rules=rules, alertmanager=receiver) as prometheus:
                await daemon.wait_for_log("run finished", outcome="ok", count=2)
                provider.set_fault("cut")

                async def firing() -> list[dict[str, Any]] | None:
                    return await alertmanager.alerts() or None

                [alert] = await poll_until(firing, 60, lambda: daemon.stderr + prometheus.log)
                assert {
                    "alertname": "ChatFailing",
                    "severity": "page",
                    "canary": "chat",
                    "target": "openai",
                    "provider": "simulator",
                    "job": "monitoring/canary",
                    "namespace": "monitoring",
                } == alert["labels"]
                assert {
                    "summary": "chat: streamcanary reports ChatFailing",
                    "runbook_url": "https://r.example/x",
                } == alert["annotations"]
                evaluated = await prometheus.rules()
                assert {"ok"} == {rule["health"] for rule in evaluated.values()}
                assert {"ChatFailing"} == {name for name, rule in evaluated.items() if rule["state"] == "firing"}
                provider.set_fault("ok")

                async def quiet() -> bool | None:
                    return not await alertmanager.alerts() or None

                await poll_until(quiet, 90, lambda: daemon.stderr + prometheus.log)


async def test_a_daemon_that_is_not_scraped_is_an_alert(tmp_path: Path) -> None:
    """Without metrics of any daemon, the alert ``StreamcanaryAbsent`` is pending: it fires after five minutes."""
    async with FakeProvider() as provider, Alertmanager(tmp_path) as alertmanager:
        rules = object_of(rendered(tmp_path, values=values(provider)), "PrometheusRule")["spec"]
        scrape = {"job_name": "nothing", "static_configs": []}
        receiver = alertmanager.url.removeprefix("http://")
        async with Prometheus(tmp_path, scrape=scrape, rules=rules, alertmanager=receiver) as prometheus:

            async def pending() -> set[str] | None:
                states = await prometheus.rules()
                return {name for name, rule in states.items() if rule["state"] == "pending"} or None

            assert {"StreamcanaryAbsent"} == await poll_until(pending, 60, lambda: prometheus.log)
