"""The API of the configuration: its status, and its reload."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.status.config_reload import ConfigChange, ConfigError, ConfigStatus, ReloadKind, ReloadResult
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.reload import reload_endpoints
from streamcanary.web.api.status import status_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock

JSON = {"Content-Type": "application/json"}
TOKEN = "0123456789abcdef"


class Reloads:
    """Reloads with a fixed result."""

    def __init__(self, result: ReloadResult) -> None:
        self.result = result
        self.count = 0
        self.status = ConfigStatus(file="/etc/c.yaml", content_hash="ab12", loaded=1_800_000_000.0)

    async def reload(self) -> ReloadResult:
        """Count a reload."""
        self.count += 1
        return self.result


@asynccontextmanager
async def served(reloads: Reloads | None, **web: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the routes."""
    config = WebConfig.model_validate({"port": 0, **web})
    statuses = CanaryStatuses((), instance="test", clock=ManualClock())
    endpoints = [*status_endpoints(statuses, reloads), *reload_endpoints(reloads)]
    async with WebServer(config, endpoint_routes(endpoints, Authorizer(config))) as site:
        assert site.address is not None
        async with httpx2.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{site.address[1]}") as http:
            yield http


async def test_the_status_shows_what_is_loaded() -> None:
    """Before the first reload there is no result."""
    async with served(Reloads(ReloadResult(kind=ReloadKind.APPLIED))) as http:
        answer = (await http.get("/api/v1/status")).json()
    assert {
        "file": "/etc/c.yaml",
        "hash": "ab12",
        "loaded": "2027-01-15T08:00:00Z",
        "last_reload": None,
        "last_result": None,
        "last_error": None,
        "errors": [],
    } == answer["config"]


async def test_an_applied_reload_lists_the_changes() -> None:
    """Keys only: a value may be a secret."""
    result = ReloadResult(
        kind=ReloadKind.APPLIED, content_hash="cd34", changes=(ConfigChange("canaries.chat", "added"),)
    )
    async with served(Reloads(result)) as http:
        answer = await http.post("/-/reload", headers=JSON)
    assert 200 == answer.status_code
    assert {
        "result": "applied",
        "hash": "cd34",
        "changes": [{"key": "canaries.chat", "change": "added"}],
        "restart_needed": [],
        "errors": [],
    } == answer.json()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ReloadKind.INVALID, 422),
        (ReloadKind.RESTART_NEEDED, 409),
        (ReloadKind.FAILED, 500),
        (ReloadKind.STOPPING, 503),
    ],
)
async def test_a_reload_that_fails_is_a_problem_document(kind: ReloadKind, status: int) -> None:
    """It has the members of RFC 9457, and every error of the file."""
    errors = (ConfigError(message="unknown key", key="wob", line=3, column=1),)
    async with served(Reloads(ReloadResult(kind=kind, message="why", errors=errors))) as http:
        answer = await http.post("/-/reload", headers=JSON)
    assert (status, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    problem = answer.json()
    assert (status, "why", kind.value) == (problem["status"], problem["detail"], problem["result"])
    assert [{"key": "wob", "line": 3, "column": 1, "message": "unknown key"}] == problem["errors"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({**JSON, "Host": "evil.example"}, 421),
    ],
)
async def test_no_website_can_reload(headers: dict[str, str], status: int) -> None:
    """A form, a request without a type, and one to another name are rejected before anything is loaded."""
    reloads = Reloads(ReloadResult(kind=ReloadKind.APPLIED))
    async with served(reloads) as http:
        assert status == (await http.post("/-/reload", headers=headers)).status_code
        assert 405 == (await http.get("/-/reload")).status_code
    assert 0 == reloads.count


async def test_a_token_is_needed_if_one_is_set() -> None:
    """As for every other change; with it, any content type is accepted."""
    reloads = Reloads(ReloadResult(kind=ReloadKind.UNCHANGED))
    async with served(reloads, token=TOKEN) as http:
        assert 401 == (await http.post("/-/reload", headers=JSON)).status_code
        assert 401 == (await http.get("/api/v1/status")).status_code
        assert 200 == (await http.post("/-/reload", headers={"Authorization": f"Bearer {TOKEN}"})).status_code
    assert 1 == reloads.count


async def test_without_a_file_there_is_nothing_to_reload() -> None:
    """The demo has no file that is its own."""
    async with served(None) as http:
        assert None is (await http.get("/api/v1/status")).json()["config"]
        assert 404 == (await http.post("/-/reload", headers=JSON)).status_code
