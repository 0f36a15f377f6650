"""The series of a reload: what they show, and that starting thousands of them delays nothing else."""

import asyncio
import itertools

import pytest
from msgspec import structs
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, alerts
from support.clock import ManualClock

MANY = [structs.replace(CHAT, name=f"chat-{number}") for number in range(300)]


def engine_of(*canaries: Canary) -> Engine:
    """Return an engine with one rule for each canary."""
    return Engine(alerts(), "default", list(canaries))


def active_alerts(reader: InMemoryMetricReader) -> dict[str, int]:
    """Return the values of the gauge of active alerts by canary."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        str((point.attributes or {})["canary"]): int(point.value)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
        if metric.name == "streamcanary.alert.active" and "canary" in (point.attributes or {})
    }


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch):
    """Yield a reader of the metrics."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    yield reader
    provider.shutdown()


async def test_a_reload_starts_few_series_in_a_turn_of_the_event_loop(reader: InMemoryMetricReader) -> None:
    """Other tasks run between them; in the end each possible alert has a series, and the firing one is 1."""
    meters = AlertMetrics(engine_of(CHAT), ["hook"], ManualClock())
    task = asyncio.create_task(meters.run())
    engine = engine_of(*MANY)
    meters.configure(engine, ["hook"])
    key = next(binding.key for binding in engine.bindings if binding.canaries[0].name == "chat-7")
    meters.update(State(incidents={key: Incident(key=key, rule="Errors", subject="chat-7", opened=0.0)}))
    counts = [len(active_alerts(reader))]
    for _ in range(100):
        await asyncio.sleep(0)
        counts.append(len(active_alerts(reader)))
    task.cancel()
    assert 1 + len(MANY) == counts[-1]
    assert 10 >= max(after - before for before, after in itertools.pairwise(counts))
    assert {"chat-7"} == {name for name, value in active_alerts(reader).items() if value == 1}


async def test_a_second_reload_continues_what_the_first_has_left(reader: InMemoryMetricReader) -> None:
    """An alert that two reloads keep has a series, and one that fired and is gone is 0."""
    engine = engine_of(CHAT)
    meters = AlertMetrics(engine, ["hook"], ManualClock())
    (key,) = (binding.key for binding in engine.bindings)
    meters.update(State(incidents={key: Incident(key=key, rule="Errors", subject="chat", opened=0.0)}))
    assert {"chat": 1} == active_alerts(reader)
    for canaries in (MANY[:30], MANY[:40]):
        meters.configure(engine_of(*canaries), ["hook"])
    meters.update(State())
    task = asyncio.create_task(meters.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    assert dict.fromkeys(["chat", *(canary.name for canary in MANY[:40])], 0) == active_alerts(reader)
