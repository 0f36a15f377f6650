"""``/metrics`` of a real daemon, and the logs that it exports."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from prometheus_client.samples import Sample

from streamcanary.model import names
from support.http_client import loopback_client
from support.programs.collector import Collector
from support.programs.daemon import Daemon, write_config
from support.servers.provider import MODEL, FakeProvider

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
TOKEN = "0123456789abcdef"


def config(provider: FakeProvider, **further: Any) -> dict[str, Any]:
    """Return a canary that runs often, and a rule that fires at its first failure."""
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {"chat": {"target": "sim", "model": MODEL, "every": "1s", "retry": {"max_attempts": 1}}},
        "alerts": {"rules": {"Down": {"detector": {"type": "consecutive", "failures": 1, "resolve_after": 1}}}},
        **further,
    }


async def scrape(daemon: Daemon, **headers: str) -> str:
    """Return the text of ``/metrics``."""
    port = (await daemon.wait_for_log("web server started"))["port"]
    async with loopback_client() as client:
        response = await client.get(f"http://127.0.0.1:{port}/metrics", headers=headers)
    return response.raise_for_status().text


def samples_of(text: str) -> dict[str, list[Sample]]:
    """Return the samples of a text in OpenMetrics, by name."""
    found: dict[str, list[Sample]] = {}
    for family in parse_openmetrics(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


async def test_metrics_are_served_by_default(tmp_path: Path) -> None:
    """Without a section on telemetry, ``/metrics`` has runs, alerts, the process and the build, in both formats."""
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        provider.set_fault("500")
        await daemon.wait_for_log("alert fired")
        samples = samples_of(await scrape(daemon, **OPENMETRICS))
        classic = {sample.name for family in parse_classic(await scrape(daemon)) for sample in family.samples}
        assert 0 == (await daemon.terminate()).code
    labels = {"canary": "chat", "target": "sim", "provider": "simulator"}
    [failed] = [each for each in samples["streamcanary_runs_total"] if each.labels["outcome"] == "failed"]
    assert ({**labels, "outcome": "failed"}, True) == (failed.labels, failed.value >= 1)
    active = {each.labels["alert"]: each.value for each in samples["streamcanary_alert_active"]}
    assert (1.0, 0.0) == (active["Down"], active["StoreFailing"])
    counts = {each.labels["type"]: each.value for each in samples["streamcanary_config_objects"]}
    assert (1.0, 1.0) == (counts["target"], counts["canary"])
    assert 1.0 == samples["streamcanary_build_info"][0].value
    assert 20e6 < samples["process_memory_usage_bytes"][0].value < 1e9
    assert classic == samples.keys()


async def test_the_last_success_is_kept_through_a_restart(tmp_path: Path) -> None:
    """A daemon that restarts in an outage knows since when each canary fails."""
    name = "streamcanary_last_success_time_seconds"
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        await daemon.wait_for_log("run finished", outcome="ok")
        provider.set_fault("500")
        await daemon.wait_for_log("run finished", 2, outcome="failed")
        [before] = samples_of(await scrape(daemon, **OPENMETRICS))[name]
        assert 0 == (await daemon.terminate()).code
        await daemon.start()
        await daemon.wait_for_log("run finished", 2, outcome="failed")
        [after] = samples_of(await scrape(daemon, **OPENMETRICS))[name]
        assert 0 == (await daemon.terminate()).code
    assert (before.labels, pytest.approx(before.value, abs=0.1)) == (after.labels, after.value)


async def test_a_cron_canary_fails_through_a_restart(tmp_path: Path) -> None:
    """Before its first run after a restart, its last run is still later than its last success."""
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        await daemon.wait_for_log("run finished", outcome="ok")
        provider.set_fault("500")
        await daemon.wait_for_log("run finished", outcome="failed")
        assert 0 == (await daemon.terminate()).code
        rare = config(provider)
        del rare["canaries"]["chat"]["every"]
        rare["canaries"]["chat"]["cron"] = "0 0 29 2 *"
        write_config(tmp_path, rare)
        await daemon.start()
        await daemon.wait_until_ready()
        samples = samples_of(await scrape(daemon, **OPENMETRICS))
        assert 0 == (await daemon.terminate()).code
    [last_run] = samples["streamcanary_last_run_time_seconds"]
    [last_success] = samples["streamcanary_last_success_time_seconds"]
    assert last_run.labels == last_success.labels
    assert last_run.value > last_success.value


async def test_exemplars_lead_to_the_traces_of_runs(tmp_path: Path) -> None:
    """Latencies and failures have the trace ids of runs in the log, if their traces are sampled."""
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        await daemon.wait_for_log("run finished", outcome="ok")
        provider.set_fault("500")
        await daemon.wait_for_log("run finished", 2, outcome="failed")
        samples = samples_of(await scrape(daemon, **OPENMETRICS))
        runs = {line["trace_id"] for line in daemon.log_lines("run finished")}
    for name in (
        "streamcanary_first_token_seconds_bucket",
        "streamcanary_attempt_duration_seconds_bucket",
        "gen_ai_client_operation_duration_seconds_bucket",
        "streamcanary_failures_total",
        "streamcanary_attempts_total",
    ):
        exemplars = [sample.exemplar for sample in samples[name] if sample.exemplar is not None]
        assert exemplars, name
        assert {exemplar.labels["trace_id"] for exemplar in exemplars} <= runs


async def test_metrics_can_be_switched_off(tmp_path: Path) -> None:
    """With ``prometheus: false`` there is no ``/metrics``."""
    async with FakeProvider() as provider:
        telemetry = {"prometheus": False}
        async with Daemon(tmp_path, config(provider, telemetry=telemetry)) as daemon:
            port = (await daemon.wait_for_log("web server started"))["port"]
            async with loopback_client() as client:
                assert 404 == (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code


async def test_metrics_need_the_token_of_the_api(tmp_path: Path) -> None:
    """A daemon with a token serves ``/metrics`` to those who send it."""
    async with FakeProvider() as provider:
        web = {"port": 0, "token": TOKEN}
        async with Daemon(tmp_path, config(provider, web=web)) as daemon:
            port = (await daemon.wait_for_log("web server started"))["port"]
            async with loopback_client() as client:
                assert 401 == (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code
            assert "streamcanary_runs_total" in await scrape(daemon, Authorization=f"Bearer {TOKEN}")


@pytest.mark.real("otelcol")
async def test_alerts_are_log_events_with_a_trace(tmp_path: Path) -> None:
    """An alert that fires and resolves arrives as two events; the first has the trace of the failed run."""
    async with FakeProvider() as provider, Collector(tmp_path) as collector:
        telemetry = {"otlp": {"endpoint": collector.otlp_endpoint, "interval": "1s"}}
        async with Daemon(tmp_path / "daemon", config(provider, telemetry=telemetry)) as daemon:
            provider.set_fault("500")
            await daemon.wait_for_log("alert fired", alert="Down")
            provider.set_fault("ok")
            await daemon.wait_for_log("alert resolved", alert="Down")
            assert 0 == (await daemon.terminate()).code
        [fired] = await collector.logs(event=names.ALERT_FIRED_EVENT)
        [resolved] = await collector.logs(event=names.ALERT_RESOLVED_EVENT)
        spans = await collector.spans(name=names.RUN_SPAN)
    failed = {span.trace_id for span in spans if span.attributes[names.RUN_OUTCOME] == "failed"}
    assert fired.trace_id in failed
    expected = {"alert": "Down", "subject": "chat", "canary": "chat", "target": "sim", "provider": "simulator"}
    assert expected == {name: fired.attributes[name] for name in expected}
    assert ("Down", True) == (resolved.attributes["alert"], bool(resolved.attributes["reason"]))
