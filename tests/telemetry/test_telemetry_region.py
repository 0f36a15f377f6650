"""The region of a daemon: a label at ``/metrics``, and an attribute of the resource over OTLP."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.metrics import Observation

from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.metric_labels import metric_labels
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.providers import Telemetry

CHAT = Canary(name="chat", target="t", provider="p", interval=60.0, labels={"region": "of-the-endpoint"})


async def scraped(
    accept: str = "text/plain",
    *,
    region: str | None = None,
    environ: Mapping[str, str] | None = None,
    **section: object,
) -> list[str]:
    """Return the samples of a daemon with one run, one observable gauge and a canary with a label of its own."""
    telemetry = Telemetry(region=region, environ=environ or {}, make_global=False)
    telemetry.prepare(TelemetryConfig(**section))
    telemetry.apply()
    assert telemetry.meter_provider is not None
    assert telemetry.scraper is not None
    meter = telemetry.meter_provider.get_meter("test")
    meter.create_counter(names.RUNS.name).add(1, {**metric_labels(CHAT), names.OUTCOME: "ok"})
    meter.create_histogram(names.MAX_GAP.name).record(0.1, metric_labels(CHAT))
    meter.create_gauge(names.CANARY_INFO.name).set(1, {**CHAT.labels, **metric_labels(CHAT)})
    meter.create_observable_gauge(names.STREAMS_ACTIVE.name, [lambda _: [Observation(1)]])
    parts = [part async for part in telemetry.scraper.scrape(accept)[1]]
    await telemetry.close()
    return [line for line in b"".join(parts).decode().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_every_series_has_the_region_as_a_label(accept: str) -> None:
    """So Prometheus can compare regions without a join; the info about the resource has the standard attribute."""
    lines = await scraped(accept, region="eu")
    [info], others = [line for line in lines if line.startswith("target_info")], lines[1:]
    assert 'cloud_region="eu"' in info
    assert [] == [line for line in others if 'region="' not in line]
    assert 'streamcanary_runs_total{canary="chat",outcome="ok",provider="p",region="eu",target="t"} 1' in lines
    assert 'streamcanary_streams_active{region="eu"} 1' in lines


async def test_a_label_of_a_canary_stays() -> None:
    """A canary may have the region of its endpoint as a label."""
    [info] = [line for line in await scraped(region="eu") if line.startswith("streamcanary_canary_info{")]
    assert 'region="of-the-endpoint"' in info


async def test_there_is_no_label_without_a_region() -> None:
    """Nothing changes for a daemon that is alone."""
    assert [] == [line for line in await scraped() if 'region="eu"' in line]
    assert "streamcanary_streams_active 1" in await scraped()


@pytest.mark.parametrize(
    "source",
    [
        {"resource": {"cloud.region": "eu"}},
        {"environ": {"OTEL_RESOURCE_ATTRIBUTES": "cloud.region=eu"}},
        {"region": "eu", "environ": {"OTEL_RESOURCE_ATTRIBUTES": "cloud.region=us"}},
    ],
    ids=["section", "variable", "key before variable"],
)
async def test_the_region_of_the_resource_is_the_label(source: dict[str, Any], monkeypatch) -> None:
    """The standard attribute has the same effect as the key ``region``, which comes first."""
    for name, value in (source.pop("environ", None) or {}).items():
        monkeypatch.setenv(name, value)
    assert 'streamcanary_streams_active{region="eu"} 1' in await scraped(**source)


async def test_hostile_regions_stay_values() -> None:
    """Quotes and line ends of a region are escaped."""
    assert 'streamcanary_streams_active{region="e\\"u\\n"} 1' in await scraped(region='e"u\n')


async def test_the_resource_has_the_region() -> None:
    """Traces, metrics and logs over OTLP have it there."""
    telemetry = Telemetry(region="eu", environ={}, make_global=False)
    telemetry.prepare(TelemetryConfig())
    telemetry.apply()
    assert telemetry.meter_provider is not None
    assert "eu" == telemetry.meter_provider._sdk_config.resource.attributes["cloud.region"]
    await telemetry.close()
