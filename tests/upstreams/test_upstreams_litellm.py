"""The client and a canary through a real LiteLLM proxy in front of the simulator."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary import AsyncStreamClient, RetryPolicy, StreamFailed, Timeouts
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator
from support.programs.litellm_proxy import LiteLlmProxy
from support.servers.simulator import HANGING_TIMINGS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.real("litellm")]

_PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
_ROW = re.compile(
    r"^\| [^|]+ \| `(?P<fault>[\w-]+)` \| \**`(?P<chat>\w+)`\** \| \**`(?P<responses>\w+)`\** \|$", re.MULTILINE
)
_TIMEOUTS = Timeouts(connect=5, headers=3, first_token=3, stall=2, total=20)


def documented_results() -> Iterator[tuple[str, str, str]]:
    """Yield fault, API and result of each cell of the table in ``docs/proxies.md``."""
    for row in _ROW.finditer(_PAGE.read_text()):
        for api in ("chat", "responses"):
            yield row["fault"], api, row[api]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiteLlmProxy]:
    folder = tmp_path_factory.mktemp("proxy")
    async with (
        Simulator(timings=HANGING_TIMINGS) as simulator,
        LiteLlmProxy(folder, upstream=simulator.base_url) as proxy,
    ):
        for api in ("chat", "responses"):  # the first request of each imports more of the proxy
            await result_of(proxy, "sim-ok", api, Timeouts(headers=30, total=60))
        yield proxy


async def result_of(proxy: LiteLlmProxy, model: str, api: str, timeouts: Timeouts = _TIMEOUTS) -> str:
    """Return the kind of the fault of one call, or ``ok``."""
    transport = DefaultAsyncHttpxClient(trust_env=False)
    question: dict[str, Any] = (
        {"input": "ping"} if api == "responses" else {"messages": [{"role": "user", "content": "ping"}]}
    )
    async with AsyncOpenAI(base_url=proxy.base_url, api_key=proxy.key, http_client=transport) as sdk:
        client = AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1), timeouts=timeouts)
        try:
            await client.complete(model=model, **question)
        except StreamFailed as failed:
            return failed.fault.kind
    return "ok"


async def run_canary(proxy: LiteLlmProxy, model: str, **spec: Any) -> Outcome:
    """Run a canary of the proxy once."""
    timeouts = {"connect": 5, "headers": 3, "first_token": 3, "stall": 2, "total": 8}
    canary = CanarySpec.model_validate({"target": "t", "model": model, "every": "10s", "timeouts": timeouts, **spec})
    target = TargetSpec.model_validate({"base_url": proxy.base_url, "api_key": proxy.key, "provider": "litellm"})
    clock = SystemClock()
    async with CanaryRunners({"t": target}, {"c": canary}, clock=clock) as runners:
        return await runners.by_name["c"](clock.time())


@pytest.mark.parametrize(("fault", "api", "result"), list(documented_results()))
async def test_the_documented_result_of_each_fault(proxy: LiteLlmProxy, fault: str, api: str, result: str) -> None:
    """The table of ``docs/proxies.md`` says what the client makes of each fault behind the proxy."""
    assert result == await result_of(proxy, f"sim-{fault}", api)


async def test_a_canary_succeeds_through_the_proxy(proxy: LiteLlmProxy) -> None:
    """A healthy provider behind the proxy is healthy, with its answer, model and usage."""
    outcome = await run_canary(
        proxy, "sim-ok", expect={"contains": "pong"}, request={"stream_options": {"include_usage": True}}
    )
    assert (OutcomeKind.OK, None, "sim-ok") == (outcome.kind, outcome.fault, outcome.model)
    assert outcome.usage is not None
    assert True is (outcome.usage.output_tokens > 0)


@pytest.mark.parametrize(
    ("expect", "kind", "fault"),
    [
        ({}, OutcomeKind.OK, None),
        ({"regex": r"sings\W*$"}, OutcomeKind.FAILED, FaultKind.UNEXPECTED_ANSWER),
    ],
)
async def test_only_a_condition_on_its_end_detects_a_truncated_answer(
    proxy: LiteLlmProxy, expect: dict[str, str], kind: OutcomeKind, fault: FaultKind | None
) -> None:
    """The proxy ends a truncated answer with ``stop``; a condition on the end of the text detects it."""
    outcome = await run_canary(proxy, "sim-truncated", expect=expect)
    assert (kind, fault) == (outcome.kind, outcome.fault.kind if outcome.fault else None)
