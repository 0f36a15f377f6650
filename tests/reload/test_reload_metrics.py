"""Metrics of the configuration: the number of members that a fleet has."""

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamcanary.model import names
from streamcanary.reload.metrics import ConfigMetrics
from streamcanary.settings import Settings
from support.telemetry.in_memory import RecordedTelemetry


def settings(**sections: Any) -> Settings:
    """Build settings with one canary."""
    canaries = {"chat": {"target": "sim", "model": "m"}}
    return Settings.model_validate({"targets": {"sim": {"api_key": "none"}}, "canaries": canaries, **sections})


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> RecordedTelemetry:
    """Return what is exported by instruments of this test alone: what is observed ends with its provider."""
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    return RecordedTelemetry(InMemorySpanExporter(), reader)


def test_a_fleet_exports_its_configured_members(exported: RecordedTelemetry) -> None:
    """The metric follows a reload; also a fleet of one has it, which tells it from a daemon that is alone."""
    config = ConfigMetrics(settings(fleet={"replicas": 7, "member": "a"}), 0.0)
    assert 7 == exported.value(names.FLEET_MEMBERS.name)
    config.record_reload(settings(fleet={"replicas": 1, "member": "a"}), 1.0, is_successful=True)
    assert 1 == exported.value(names.FLEET_MEMBERS.name)


def test_a_daemon_that_is_alone_does_not_export_members(exported: RecordedTelemetry) -> None:
    """Without a fleet there is no series, also after a reload that removes it."""
    config = ConfigMetrics(settings(fleet={"replicas": 7, "member": "a"}), 0.0)
    config.record_reload(settings(), 1.0, is_successful=True)
    assert names.FLEET_MEMBERS.name not in exported.metrics_text
