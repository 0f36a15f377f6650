"""A real Jaeger receives the traces of the daemon, and its API returns them as trees."""

import json
from pathlib import Path
from typing import Any

import pytest

from streamcanary.model import names
from support.programs.daemon import Daemon
from support.programs.jaeger import Jaeger
from support.servers.provider import FakeProvider

pytestmark = pytest.mark.real("jaeger")


def config(provider: FakeProvider, jaeger: Jaeger, protocol: str) -> dict[str, Any]:
    """Return three canaries: one that a retry rescues, one that fails over, and one that fails."""
    canary = {"target": "sim", "every": "2s", "retry": {"max_attempts": 2, "base_delay": "10ms"}}
    endpoint = jaeger.otlp_grpc_endpoint if protocol == "grpc" else jaeger.otlp_endpoint
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "rescued": {**canary, "model": "sim-500@1"},
            "failed-over": {**canary, "model": "sim-truncated", "fallbacks": [{"model": "sim-ok"}]},
            "failed": {**canary, "model": "sim-cut"},
        },
        "telemetry": {"otlp": {"endpoint": endpoint, "protocol": protocol}},
    }


def tree(spans: list[dict[str, Any]]) -> list[Any]:
    """Return the operation names as nested lists: a span, followed by the list of its children if it has some."""

    def children(parent: str) -> list[Any]:
        found: list[Any] = []
        for span in sorted(spans, key=lambda span: span["startTime"]):
            if (span["references"][0]["spanID"] if span["references"] else "") == parent:
                found.append(span["operationName"])
                if below := children(span["spanID"]):
                    found.append(below)
        return found

    return children("")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_jaeger_returns_each_run_as_a_tree(tmp_path: Path, protocol: str) -> None:
    """The trace of a run, by the id in the log, is run, call and attempts; a search finds it by its attributes."""
    async with FakeProvider() as provider, Jaeger(tmp_path) as jaeger:
        async with Daemon(tmp_path / "daemon", config(provider, jaeger, protocol)) as daemon:
            lines = {
                canary: (await daemon.wait_for_log("run finished", canary=canary))
                for canary in ("rescued", "failed-over", "failed")
            }
            assert 0 == (await daemon.terminate()).code
        attempts = {"rescued": 2, "failed-over": 3, "failed": 2}
        traces = {
            canary: await jaeger.trace(lines[canary]["trace_id"], 2 + count) for canary, count in attempts.items()
        }
        models = {"rescued": "sim-500@1", "failed-over": "sim-truncated", "failed": "sim-cut"}
        assert {
            canary: [names.RUN_SPAN, [f"chat {models[canary]}", [names.ATTEMPT_SPAN] * count]]
            for canary, count in attempts.items()
        } == {canary: tree(spans) for canary, spans in traces.items()}
        assert ["streamcanary"] == await jaeger.services()
        tags = {names.RUN_CANARY: "failed", names.ERROR_TYPE: "stream_cut"}
        found = await jaeger.search("streamcanary", names.RUN_SPAN, json.dumps(tags))
        assert lines["failed"]["trace_id"] in found
        assert lines["rescued"]["trace_id"] not in found
