"""Pooled alerts outside of the engine: the status snapshot, its JSON, and the metric of active alerts."""

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.status.snapshot import StatusBuilder
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from support.alerting.pooled import PooledHarness, fleet
from support.clock import ManualClock


def snapshot(harness: PooledHarness) -> StatusSnapshot:
    """Return the status snapshot of ``harness``."""
    return StatusBuilder(harness.config, harness.engine).snapshot(harness.state, {}, harness.now, 1000.0)


def test_the_status_says_by_which_alert_the_others_are_muted() -> None:
    """The alerts of canaries are muted by that of their target, with its name."""
    harness = PooledHarness()
    harness.rounds("ABCD")
    harness.wait(10)
    harness.notified()
    harness.rounds("ABCD", "ABCD")
    muted = {one.incident.subject: one.muted_by for one in snapshot(harness).incidents}
    assert {"target openai": None, **dict.fromkeys("abcd", "inhibited by Errors of target openai")} == muted


def test_the_status_has_the_failing_canaries() -> None:
    """The evidence of a pooled alert in the status is the current one."""
    harness = PooledHarness()
    harness.rounds("dABC", "D")
    (one,) = snapshot(harness).incidents
    assert ("target", 4) == (one.incident.scope, one.incident.member_count)
    assert ["a", "b", "c", "d"] == sorted(member.name for member in one.incident.evidence.failing)


def test_the_metric_of_a_pooled_alert_has_its_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """``streamcanary.alert.active`` has ``scope`` and ``scope_value`` in place of ``canary``."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    harness = PooledHarness((*fleet("ab"), *fleet("xy", "azure")))
    meters = AlertMetrics(harness.engine, [], ManualClock())
    harness.rounds("AB", "AB")
    meters.update(harness.state)
    data = reader.get_metrics_data()
    assert data is not None
    points = {
        tuple(sorted((str(key), str(value)) for key, value in (point.attributes or {}).items())): point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
        if metric.name == "streamcanary.alert.active"
    }
    provider.shutdown()
    shared = {"alert": "Errors", "severity": "page", "scope": "target"}
    expected = {
        name: tuple(sorted({**shared, "scope_value": name, "target": name, "provider": name}.items()))
        for name in ("openai", "azure")
    }
    assert {"openai": 1, "azure": 0} == {name: points[labels] for name, labels in expected.items()}
