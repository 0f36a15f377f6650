"""The OpenAPI document, and a server that is asked everything that it allows, and more."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.checks import positive_data_acceptance

from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, OutcomeKind
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.openapi import openapi_document
from streamcanary.web.api.table import described_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from support.api_server import serve_api
from support.store.builders import NOON, make_outcome

DOCUMENT = json.loads(json.dumps(openapi_document(described_endpoints())))
EXAMPLES = 15
"""Requests of each kind to each endpoint."""

schema = schemathesis.openapi.from_dict(DOCUMENT)


def test_every_route_is_described() -> None:
    """The table of endpoints has all paths and methods, each with an id of its own."""
    routes = endpoint_routes(described_endpoints(), Authorizer(WebConfig()))
    served = {(route.path, method) for route in routes for method in route.methods or ()} - {
        (route.path, "HEAD") for route in routes
    }
    described = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert served == described
    ids = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_every_schema_is_valid() -> None:
    """They are JSON Schemas of the draft that OpenAPI 3.1 uses, and all references exist."""
    for each in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(each)
    text = json.dumps(DOCUMENT)
    for name in set(text.split('"#/components/schemas/')[1:]):
        assert name.partition('"')[0] in DOCUMENT["components"]["schemas"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the API in another thread, with a canary that answers, one that fails and one that has not run."""
    ready, stop = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        fault = make_fault(FaultKind.STALLED, Phase.STREAM, "no token", retry_after=1.5)
        attempt = Attempt(number=1, route="primary", started=NOON, duration=1.0, fault=fault)
        runs = [
            make_outcome(1),
            make_outcome(2, canary="bad", kind=OutcomeKind.FAILED, fault=fault, attempts=(attempt,)),
        ]
        canaries = [
            Canary(name=name, target="openai", provider="openai", interval=30.0, labels={"tier": "prod"})
            for name in ("chat", "bad", "idle")
        ]
        async with serve_api(tmp_path_factory.mktemp("api"), *canaries) as server:
            server.observe(*runs)
            await server.store.commit((), runs)
            found.append(server.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    stop.set()
    thread.join()


@schema.exclude(path="/api/v1/events").parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_every_response_is_as_described(case: Any, url: str) -> None:
    """No request causes a status, a type or a document that is not described, and invalid ones are rejected."""
    # A schema cannot say which texts are a cursor, a time or a matcher: these are rejected although it accepts them.
    case.call_and_validate(base_url=url, timeout=20, excluded_checks=[positive_data_acceptance])


def test_generated_documentation_is_the_served_document(url: str) -> None:
    """``docs/openapi.json`` is what a daemon serves."""
    served = httpx2.get(f"{url}/api/openapi.json", trust_env=False).json()
    assert json.loads(Path("docs/openapi.json").read_text()) == served == DOCUMENT
