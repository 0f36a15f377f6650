"""The span tree of every behaviour of the simulator, and of every fault that it cannot cause.

The expected trees are in ``tests/fixtures/span_trees/``. After a wanted change,
``UPDATE_SPAN_TREES=1 make test ARGS=tests/telemetry/test_telemetry_span_trees.py`` writes them again: review the
difference.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from streamcanary import BreakerPolicy, RetryPolicy
from streamcanary.canary.run import CanaryRunner
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.events import ContentDelta, Event
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import FAULTS as BEHAVIOURS
from streamcanary.simulator import Simulator, Timings
from streamcanary.transport.name_lookups import NameLookups
from support.client.fault_matrix import TIMINGS, ClientVariant
from support.client.fault_scenarios import SCENARIOS
from support.client.fault_table import timeouts_for
from support.open_files import soft_limit
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


NETWORK = (
    "connection refused",
    "name without an address",
    "name that is too long",
    "untrusted certificate",
    "no TLS where it is expected",
    "handshake without an answer",
)
"""The scenarios of the client that a canary meets in the same way: by the address alone."""


async def test_every_fault_of_the_network_has_its_span_tree(recorded: RecordedTelemetry) -> None:
    """A run that reaches no server has its call and attempts, with the phase in which it failed."""
    trees = {}
    for name in NETWORK:
        recorded.clear()
        async with SCENARIOS[name](ClientVariant("chat", "async")) as call:
            target = TargetSpec.model_validate({"base_url": call.base_url, "api_key": "none"})
            spec = CanarySpec.model_validate(
                {"target": "sim", "model": "sim-ok", "every": "30s", "retry": RETRY, "timeouts": {"connect": "300ms"}}
            )
            with NameLookups():
                async with CanaryRunners({"sim": target}, {"chat": spec}, clock=SystemClock()) as runners:
                    await runners.by_name["chat"](SystemClock().time())
        trees[name] = format_trees(recorded.spans)
    compare("network", trees)


@pytest.mark.process_lag
async def test_every_fault_of_this_process_has_its_span_tree(recorded: RecordedTelemetry) -> None:
    """A cancelled run, a late event loop, no file descriptors, an open circuit; and an answer that is not expected."""
    trees = {}
    for name, scenario in {
        "cancelled run": _cancelled_run,
        "late event loop": _late_loop,
        "no file descriptors": _no_descriptors,
        "open circuit": _open_circuit,
        "unexpected answer": _unexpected_answer,
    }.items():
        recorded.clear()
        await scenario()
        trees[name] = format_trees(recorded.spans)
    compare("local", trees)


@asynccontextmanager
async def _runner(model: str, timings: Timings = TIMINGS, **more: Any) -> AsyncIterator[CanaryRunner]:
    on_event = more.pop("on_event", None)
    async with Simulator(timings=timings) as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "none"})
        spec = CanarySpec.model_validate(
            {"target": "sim", "model": model, "every": "30s", "retry": {"max_attempts": 1}, **more}
        )
        runners = CanaryRunners({"sim": target}, {"chat": spec}, clock=SystemClock(), on_event=on_event)
        async with runners:
            yield runners.by_name["chat"]


async def _cancelled_run() -> None:
    text_came = asyncio.Event()

    def on_event(canary: Canary, event: Event) -> None:
        if isinstance(event, ContentDelta):
            text_came.set()

    async with _runner("sim-keepalive-stall", on_event=on_event) as run:
        task = asyncio.create_task(run(SystemClock().time()))
        await text_came.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _late_loop() -> None:
    def block(canary: Canary, event: Event) -> None:
        if isinstance(event, ContentDelta):
            asyncio.get_running_loop().call_soon(time.sleep, 1.2)

    async with _runner("sim-keepalive-stall", on_event=block, timeouts={"total": "900ms"}) as run:
        await run(SystemClock().time())


async def _no_descriptors() -> None:
    async with _runner("sim-ok", connection="reuse") as run:
        with soft_limit(None):
            await run(SystemClock().time())


async def _unexpected_answer() -> None:
    async with _runner("sim-ok", expect={"contains": "another answer"}) as run:
        await run(SystemClock().time())


async def _open_circuit() -> None:
    async with Simulator(timings=TIMINGS) as simulator:
        await ClientVariant("chat", "async").call(
            simulator.base_url,
            "sim-500",
            times=2,
            retry=RetryPolicy(max_attempts=1),
            breaker=BreakerPolicy(min_calls=1, failure_rate=1, first_open_for=30),
        )


def test_every_kind_of_fault_has_a_span_tree() -> None:
    """A new kind of fault needs a scenario, and its tree."""
    text = "".join(path.read_text() for path in FOLDER.glob("*.txt"))
    assert {kind.value for kind in FaultKind} == set(re.findall(r" (?:fault|error)=(\w+)", text))
