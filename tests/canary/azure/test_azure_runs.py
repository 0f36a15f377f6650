"""Runs against deployments of Azure, by key and by identity, with dated API versions and the v1 API."""

import json
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets import azure_target
from streamcanary.canary.targets.azure_identity import AccessToken, TokenRefused, TokenUnavailable
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import Blame, FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator, Timings

KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "eyJ0eXAiOiJKV1QifQ.eyJvaWQiOiJub2JvZHkifQ.c2lnbmF0dXJl"
VERSION = "2024-10-21"

every_version = pytest.mark.parametrize("version", [VERSION, None])


def azure(endpoint: str, **settings: Any) -> AzureTarget:
    credential = {} if "identity" in settings else {"api_key": KEY}
    return AzureTarget.model_validate({"type": "azure", "endpoint": endpoint, **credential, **settings})


async def run(target: AzureTarget, *, model: str = "sim-ok", **settings: Any) -> Outcome:
    settings = {"retry": {"max_attempts": 1}, "timeouts": {"total": "20s"}, **settings}
    canary = CanarySpec.model_validate({"target": "azure", "model": model, **settings})
    async with CanaryRunners({"azure": target}, {"chat": canary}, clock=SystemClock()) as runners:
        return await runners.by_name["chat"](0.0)


def issue(monkeypatch: pytest.MonkeyPatch, *answers: AccessToken | Exception) -> None:
    """Have the identity of targets get these tokens or errors, one for each request for a token."""
    left = list(answers)

    def fetch() -> AccessToken:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(azure_target, "credential_fetcher", lambda identity, target: fetch)


@pytest.mark.parametrize(
    ("version", "api", "path"),
    [
        (VERSION, "chat", "/openai/deployments/sim-ok/chat/completions"),
        (VERSION, "responses", "/openai/responses"),
        (None, "chat", "/openai/v1/chat/completions"),
        (None, "responses", "/openai/v1/responses"),
    ],
)
async def test_a_run_asks_the_deployment(version: str | None, api: str, path: str) -> None:
    """With a version the path of a chat names the deployment; elsewhere the model of the request does."""
    async with Simulator(api_key=KEY) as simulator:
        outcome = await run(azure(simulator.azure_endpoint, api_version=version), api=api)
    (request,) = simulator.requests
    assert (OutcomeKind.OK, path, "sim-ok", "azure.ai.openai") == (
        outcome.kind,
        request.path,
        json.loads(request.body)["model"],
        outcome.provider,
    )


@every_version
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_the_deployment_of_the_target_replaces_the_model(version: str | None, api: str) -> None:
    """A deployment of the target answers a canary whose model is that of the price list."""
    async with Simulator(api_key=KEY) as simulator:
        target = azure(simulator.azure_endpoint, api_version=version, deployment="sim-ok")
        outcome = await run(target, model="gpt-4.1-mini", api=api)
    assert (OutcomeKind.OK, ["sim-ok"]) == (outcome.kind, [attempt.route for attempt in outcome.attempts])


@every_version
@pytest.mark.parametrize(
    ("model", "kind", "blame"),
    [
        ("gone", FaultKind.NOT_FOUND, Blame.CONFIG),
        ("sim-content-policy", FaultKind.CONTENT_POLICY, Blame.CONTENT),
        ("sim-content-filter-empty", FaultKind.CONTENT_POLICY, Blame.CONTENT),
        ("sim-429-retry-after-ms", FaultKind.RATE_LIMITED, Blame.QUOTA),
        ("sim-401", FaultKind.AUTH_FAILED, Blame.CONFIG),
        ("sim-500", FaultKind.SERVER_ERROR, Blame.PROVIDER),
    ],
)
async def test_errors_of_azure_are_classified(version: str | None, model: str, kind: FaultKind, blame: Blame) -> None:
    """Errors of Azure, whose codes and bodies are its own, are the faults of the same name elsewhere."""
    async with Simulator(api_key=KEY, timings=Timings(retry_after=0.25)) as simulator:
        outcome = await run(azure(simulator.azure_endpoint, api_version=version), model=model)
    assert outcome.fault is not None
    assert (kind, blame) == (outcome.fault.kind, outcome.fault.blame)


async def test_retry_after_ms_is_kept() -> None:
    """The delay in milliseconds, which is more precise than ``Retry-After``, is that of the fault."""
    async with Simulator(api_key=KEY, timings=Timings(retry_after=0.25)) as simulator:
        outcome = await run(azure(simulator.azure_endpoint, api_version=VERSION), model="sim-429-retry-after-ms")
    assert outcome.fault is not None
    assert 0.25 == outcome.fault.retry_after


@every_version
async def test_a_wrong_key_is_a_fault_of_the_configuration(version: str | None) -> None:
    """A key that the resource rejects is the fault ``auth_failed``, without the key in it."""
    async with Simulator(api_key="another") as simulator:
        outcome = await run(azure(simulator.azure_endpoint, api_version=version))
    assert outcome.fault is not None
    assert (FaultKind.AUTH_FAILED, 401, False) == (outcome.fault.kind, outcome.fault.status, KEY in str(outcome))


@every_version
async def test_an_identity_sends_its_token(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The access token of the identity is sent as a bearer token, and is no key."""
    issue(monkeypatch, AccessToken(TOKEN, 1e12))
    async with Simulator(api_key=TOKEN) as simulator:
        outcome = await run(azure(simulator.azure_endpoint, api_version=version, identity={}))
    assert OutcomeKind.OK is outcome.kind


@every_version
@pytest.mark.parametrize(
    ("error", "kind", "blame"),
    [
        (TokenRefused("no access token: AADSTS700016"), FaultKind.AUTH_FAILED, Blame.CONFIG),
        (TokenUnavailable("no access token: unreachable"), FaultKind.CONNECT_FAILED, Blame.NETWORK),
    ],
)
async def test_a_missing_token_is_a_fault_without_a_request(
    version: str | None, error: Exception, kind: FaultKind, blame: Blame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token nothing is sent: the configuration is at fault, or the network on the way to the authority."""
    issue(monkeypatch, error)
    async with Simulator() as simulator:
        outcome = await run(azure(simulator.azure_endpoint, api_version=version, identity={}))
    assert outcome.fault is not None
    assert (kind, blame, (), True) == (
        outcome.fault.kind,
        outcome.fault.blame,
        simulator.requests,
        str(error) in outcome.fault.message,
    )


async def test_a_token_in_an_answer_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is a secret of the target, like a key of its configuration."""
    issue(monkeypatch, AccessToken(TOKEN, 1e12))
    async with Simulator() as simulator:
        target = azure(simulator.azure_endpoint, identity={})
        await run(target)
    assert (TOKEN,) == target.tokens
