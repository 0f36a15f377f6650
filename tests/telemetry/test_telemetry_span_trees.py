"""The span tree of every behaviour of the simulator, and of every fault that it cannot cause.

The expected trees are in ``tests/fixtures/span_trees/``. After a wanted change,
``UPDATE_SPAN_TREES=1 make test ARGS=tests/telemetry/test_telemetry_span_trees.py`` writes them again: review the
difference.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.simulator import FAULTS as BEHAVIOURS
from streamcanary.simulator import Simulator
from support.client.fault_matrix import TIMINGS, ClientVariant
from support.client.fault_scenarios import SCENARIOS
from support.client.fault_table import timeouts_for
from support.servers.simulator import APIS, Api
from support.telemetry.in_memory import RecordedTelemetry
from support.telemetry.span_trees import format_trees, read_trees, write_trees

FOLDER = Path(__file__).parents[1] / "fixtures" / "span_trees"
RETRY = {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001}
MODELS = [*(f"sim-{behaviour}" for behaviour in BEHAVIOURS), "sim-cut@1", "sim-500@1", "sim-stall@1"]
FALLBACKS: dict[str, list[dict[str, Any]]] = {
    "sim-401": [{"model": "sim-ok"}],
    "sim-truncated": [{"non_streaming": True}],
}
"""Canaries with fallbacks, in addition to those without."""


def compare(name: str, actual: dict[str, str]) -> None:
    """Compare trees with those in a file, or write the file if that is wanted."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_SPAN_TREES"):
        path.write_text(write_trees(actual))
    assert read_trees(path.read_text()) == actual, "if the change is wanted: UPDATE_SPAN_TREES=1, see above"


def canary(model: str, api: Api, **more: Any) -> CanarySpec:
    """Return a canary of ``model`` whose timeouts are exceeded by its fault only."""
    timeouts = {**timeouts_for(model.removeprefix("sim-")).model_dump(), "total": 25.0}
    fields = {"target": "sim", "model": model, "api": api, "every": "30s", "retry": RETRY, "timeouts": timeouts}
    return CanarySpec.model_validate({**fields, "expect": {"not_empty": True}, **more})


@pytest.mark.parametrize("api", APIS)
async def test_every_behaviour_has_its_span_tree(recorded: RecordedTelemetry, api: Api) -> None:
    """A run has its call, which has an attempt for each request, with the same kind of fault on all of them."""
    canaries = {model: canary(model, api) for model in MODELS}
    canaries |= {f"{model} with a fallback": canary(model, api, fallbacks=each) for model, each in FALLBACKS.items()}
    clock = SystemClock()
    async with Simulator(timings=TIMINGS) as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "none"})
        async with CanaryRunners({"sim": target}, canaries, clock=clock) as runners:
            await asyncio.gather(*(run(clock.time()) for run in runners.by_name.values()))
    by_trace: dict[int, list[ReadableSpan]] = {}
    for span in recorded.spans:
        by_trace.setdefault(span.context.trace_id, []).append(span)
    trees = {}
    for spans in by_trace.values():
        root = next(span for span in spans if span.parent is None)
        trees[str((root.attributes or {})["streamcanary.canary"])] = format_trees(spans)
    assert set(canaries) == set(trees)
    compare(api, trees)


async def test_every_other_fault_has_its_span_tree(recorded: RecordedTelemetry) -> None:
    """Faults of the configuration, of the network and of the limits have a call and its attempts, too."""
    variant = ClientVariant("chat", "async")
    trees = {}
    for name, scenario in SCENARIOS.items():
        recorded.clear()
        async with scenario(variant) as call:
            await call.run(variant)
        trees[name] = format_trees(recorded.spans)
    compare("without_simulator", trees)


@pytest.mark.parametrize("name", ["chat", "responses", "without_simulator"])
def test_each_failed_tree_has_one_kind_of_fault(name: str) -> None:
    """A failed run, its call and its last attempt have the same ``error.type``: what an alert says is in the trace."""
    for heading, tree in read_trees((FOLDER / f"{name}.txt").read_text()).items():
        lines = tree.split("\n")
        if (
            " ERROR " in lines[0] and "fallback" not in heading
        ):  # a run has the fault of the primary, the call the last one
            kinds = {word for line in (*lines[:2], lines[-1]) for word in line.split() if word.startswith("error=")}
            assert (heading, 1) == (heading, len(kinds))
