"""Metrics of the process, by the semantic conventions."""

import os
import sys
import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.telemetry import process_metrics

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def collected() -> dict[str, dict[str, float]]:
    """Return the values of the metrics by the mode of their attributes, empty without one."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    process_metrics.observe_process(provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return {
        metric.name: {str(point.attributes.get("cpu.mode", "")): point.value for point in metric.data.data_points}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }


@LINUX
def test_the_process_is_measured() -> None:
    """CPU time is split by mode; memory, file descriptors, threads and uptime are single values."""
    found = collected()
    assert {"user", "system"} == found["process.cpu.time"].keys()
    assert 0 < found["process.cpu.time"]["user"] <= os.times().user
    assert 10e6 < found["process.memory.usage"][""] < 100e9
    assert 3 <= found["process.unix.file_descriptor.count"][""]
    assert threading.active_count() <= found["process.thread.count"][""]
    assert 0 <= found["process.uptime"][""] < 60


@LINUX
def test_an_open_file_is_counted() -> None:
    """The number of file descriptors is that before the folder is read."""
    before = process_metrics.open_file_descriptors()
    assert before is not None
    with open(os.devnull):  # noqa: PTH123 - any file descriptor
        assert before + 1 == process_metrics.open_file_descriptors()


def test_a_value_that_the_system_does_not_tell_is_missing(monkeypatch, tmp_path) -> None:
    """Without ``/proc`` there is no metric of memory; threads are those of Python."""
    monkeypatch.setattr(process_metrics, "_PROC", tmp_path / "none")
    monkeypatch.setattr(process_metrics, "_FD_FOLDERS", (tmp_path / "none",))
    found = collected()
    assert {"process.cpu.time", "process.thread.count", "process.uptime"} == found.keys()
    assert {"": threading.active_count()} == found["process.thread.count"]
