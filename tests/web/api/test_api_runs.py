"""The JSON API of finished runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from streamcanary.telemetry.runs.store import RunStore
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.runs import run_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock
from support.telemetry.run_traces import NOON, make_run

TOKEN = "0123456789abcdef"
RUN_ID, TRACE_ID = f"{2:032d}", f"f{2:031d}"


@asynccontextmanager
async def served(**web: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve four runs: a good one, two failed ones of ``chat``, and a failed one of ``other``."""
    store = RunStore()
    store.add(make_run(1))
    store.add(make_run(2, outcome="failed", fault="stalled", message="stalled: no token", attempts=3))
    store.add(make_run(3, outcome="failed_over"))
    store.add(make_run(4, "other", "failed"))
    config = WebConfig.model_validate({"port": 0, **web})
    routes = endpoint_routes(run_endpoints(store, ManualClock(wall=NOON + 10)), Authorizer(config))
    async with WebServer(config, routes) as site:
        assert site.address is not None
        async with httpx2.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{site.address[1]}") as http:
            yield http


async def listed(http: httpx2.AsyncClient, query: str = "") -> list[int]:
    """Return the numbers of the listed runs."""
    answer = await http.get(f"/api/v1/runs{query}")
    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    return [int(run["run_id"]) for run in answer.json()["runs"]]


async def test_runs_are_listed_the_latest_first() -> None:
    """A listed run has its ids, canary, outcome, times and fault, and no spans."""
    async with served() as http:
        assert [4, 3, 2, 1] == await listed(http)
        answer = await http.get("/api/v1/runs?canary=chat&outcome=failed")
    assert {
        "runs": [
            {
                "run_id": RUN_ID,
                "trace_id": TRACE_ID,
                "canary": "chat",
                "target": "openai",
                "outcome": "failed",
                "started": "2027-01-15T08:00:02Z",
                "duration": 0.5,
                "attempts": 3,
                "fault": "stalled",
                "message": "stalled: no token",
            }
        ],
        "next": None,
        "kept_by": "",
    } == answer.json()
    assert "no-store" == answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?canary=other", [4]),
        ("?outcome=failed,failed_over", [4, 3, 2]),
        ("?since=2027-01-15T08:00:03Z", [4, 3]),
        ("?since=6500ms", [4]),
        ("?limit=2", [4, 3]),
        ("?limit=2&before=3", [2, 1]),
        ("?outcome=&canary=chat", [3, 2, 1]),
    ],
)
async def test_parameters_select_runs(query: str, numbers: list[int]) -> None:
    """``canary``, ``outcome``, ``since``, ``limit`` and ``before`` select."""
    async with served() as http:
        assert numbers == await listed(http, query)


async def test_the_cursor_leads_to_the_next_page() -> None:
    """``next`` of a page is ``before`` of the following one."""
    async with served() as http:
        cursor = (await http.get("/api/v1/runs?limit=3")).json()["next"]
        assert [1] == await listed(http, f"?limit=3&before={cursor}")


@pytest.mark.parametrize("name", [RUN_ID, TRACE_ID, TRACE_ID.upper()])
async def test_a_run_is_returned_with_its_spans(name: str) -> None:
    """A run is found by its run id and by its trace id."""
    async with served() as http:
        answer = (await http.get(f"/api/v1/runs/{name}")).json()
    assert (RUN_ID, "streamcanary.run", 0) == (answer["run"]["run_id"], answer["root"]["name"], answer["omitted_spans"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?color=red", "color: not a parameter; there are canary, outcome, since, limit, before"),
        ("?outcome=bad", "outcome: bad is none of ok, slow, failed_over, failed, internal_error"),
        ("?outcome=ok&outcome=failed", "outcome: is given twice; give one value"),
        ("?limit=0", "limit: 0 is invalid: expected int >= 1"),
        ("?limit=501", "limit: 501 is invalid: expected int <= 500"),
        ("?limit=x%1B%5B1m", "limit: x [1m is invalid: expected int, got str"),
        ("?before=-1", "before: -1 is invalid: expected int >= 1"),
        (
            "?since=yesterday",
            (
                "since: yesterday is not a time: write one such as 2027-01-15T08:00:00Z (UTC unless it has an offset), "
                "or a duration before now, such as 24h"
            ),
        ),
    ],
)
async def test_an_invalid_parameter_is_rejected_with_the_reason(query: str, message: str) -> None:
    """Status 400, and a message that says which parameter is wrong and what would be right."""
    async with served() as http:
        answer = await http.get(f"/api/v1/runs{query}")
    assert (400, message) == (answer.status_code, answer.json()["detail"])


async def test_an_unknown_run_is_not_found() -> None:
    """Status 404, and a message that says which runs are kept."""
    async with served() as http:
        answer = await http.get("/api/v1/runs/nothing%1B")
    message = (
        "no run nothing is kept; kept are the last good run and the latest failed ones of each canary: see "
        "GET /api/v1/runs"
    )
    assert (404, message) == (answer.status_code, answer.json()["detail"])


@pytest.mark.parametrize("path", ["/api/v1/runs", f"/api/v1/runs/{RUN_ID}"])
async def test_runs_need_the_token_and_a_known_host(path: str) -> None:
    """The rules are those of all reads: the token if one is set, and a host by which the server is known."""
    async with served(token=TOKEN) as http:
        assert 401 == (await http.get(path)).status_code
        assert 200 == (await http.get(path, headers={"Authorization": f"Bearer {TOKEN}"})).status_code
        assert 421 == (await http.get(path, headers={"Host": "rebound.example"})).status_code
