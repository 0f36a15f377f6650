"""Diagnosis of targets of Azure: the credential, and the deployment, which no list has."""

from typing import Any

import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.targets import azure_target
from streamcanary.canary.targets.azure_identity import AccessToken, TokenRefused, TokenUnavailable
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Diagnosis, DiagnosisStep, StepName, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.servers.tcp import FixedHttpServer, http_response

KEY = "0123456789abcdef0123456789abcdef"
every_version = pytest.mark.parametrize("version", ["2024-10-21", None])


async def run_diagnosis(endpoint: str, model: str = "sim-ok", **settings: Any) -> Diagnosis:
    credential = {} if "identity" in settings else {"api_key": KEY}
    target = AzureTarget.model_validate({"type": "azure", "endpoint": endpoint, **credential, **settings})
    return await diagnose(target, model, clock=SystemClock(), timeout=20.0)


@every_version
async def test_the_deployment_is_asked_for(version: str | None) -> None:
    """A deployment that exists refuses the empty request; the list of models is only the proof of the key."""
    async with Simulator(api_key=KEY) as simulator:
        diagnosis = await run_diagnosis(simulator.azure_endpoint, api_version=version)
    *_, models, model = diagnosis.steps
    assert (None, StepState.OK, StepState.OK) == (diagnosis.first_failure, models.state, model.state)
    assert "the deployment sim-ok answers: it refuses an empty request, HTTP 400" == model.message
    assert "the credential is accepted; the list has the models of the region, not the deployments" == models.message


@every_version
@pytest.mark.parametrize("settings", [{}, {"deployment": "gone"}])
async def test_a_missing_deployment_is_reported(version: str | None, settings: dict[str, str]) -> None:
    """``DeploymentNotFound`` is the failure of the step model, with the name of the deployment."""
    model = "sim-ok" if settings else "gone"
    async with Simulator(api_key=KEY) as simulator:
        failure = (await run_diagnosis(simulator.azure_endpoint, model, api_version=version, **settings)).first_failure
    assert failure is not None
    assert (StepName.MODEL, FaultKind.NOT_FOUND, 404) == (failure.name, failure.kind, failure.status)
    assert True is failure.message.startswith("there is no deployment gone: The API deployment")


@every_version
async def test_a_rejected_key_is_reported(version: str | None) -> None:
    """The key fails at the list of models, and is in no message."""
    async with Simulator(api_key="another") as simulator:
        diagnosis = await run_diagnosis(simulator.azure_endpoint, api_version=version)
    failure = diagnosis.first_failure
    assert failure is not None
    assert (StepName.MODELS, FaultKind.AUTH_FAILED, False) == (failure.name, failure.kind, KEY in str(diagnosis))


@pytest.mark.parametrize(
    ("error", "kind"),
    [(TokenRefused("AADSTS700016"), FaultKind.AUTH_FAILED), (TokenUnavailable("down"), FaultKind.CONNECT_FAILED)],
)
async def test_an_identity_without_a_token_is_reported(
    error: Exception, kind: FaultKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token the diagnosis ends at the step key, and no request is sent."""

    def fetch() -> AccessToken:
        raise error

    monkeypatch.setattr(azure_target, "credential_fetcher", lambda identity, target: fetch)
    async with Simulator() as simulator:
        failure = (await run_diagnosis(simulator.azure_endpoint, identity={})).first_failure
    assert failure is not None
    assert (StepName.KEY, kind, str(error), ()) == (failure.name, failure.kind, failure.message, simulator.requests)


async def test_an_identity_is_diagnosed_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the identity is sent, and accepted."""
    monkeypatch.setattr(azure_target, "credential_fetcher", lambda identity, target: lambda: AccessToken(KEY, 1e12))
    async with Simulator(api_key=KEY) as simulator:
        diagnosis = await run_diagnosis(simulator.azure_endpoint, identity={})
    assert (None, "an access token was issued to the identity") == (diagnosis.first_failure, diagnosis.steps[0].message)


LISTED = http_response(200, {"object": "list", "data": [{"id": "gpt-4.1-mini"}]})


async def diagnose_responses(models: bytes, chat: bytes, **settings: Any) -> DiagnosisStep:
    """Return the last step that was made, with these responses to the list of models and the empty request."""
    async with FixedHttpServer({"models": models, "chat/completions": chat}) as server:
        diagnosis = await run_diagnosis(server.base_url.removesuffix("/v1"), "chat-prod", **settings)
    return [step for step in diagnosis.steps if step.state is not StepState.SKIPPED][-1]


@pytest.mark.parametrize(
    ("status", "body", "state", "message"),
    [
        (400, {"error": {"message": "Missing required parameter: 'messages'."}}, StepState.OK, "it refuses an empty"),
        (
            422,
            {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]},
            StepState.OK,
            "it refuses an empty",
        ),
        (
            400,
            {"error": {"code": "BadRequest", "message": "API version not supported"}},
            StepState.UNKNOWN,
            "cannot determine whether the deployment chat-prod exists, HTTP 400: API version not supported",
        ),
        (
            400,
            {"error": {"code": "unknown_model", "message": "Unknown model: chat-prod"}},
            StepState.FAILED,
            "there is no deployment chat-prod: Unknown model: chat-prod",
        ),
        (
            404,
            {"error": {"type": "invalid_request_error", "message": "The model `chat-prod` does not exist"}},
            StepState.FAILED,
            "there is no deployment chat-prod: The model `chat-prod` does not exist",
        ),
        (
            404,
            {"error": {"code": "404", "message": "Resource not found"}},
            StepState.UNKNOWN,
            "cannot determine whether the deployment chat-prod exists, HTTP 404: Resource not found",
        ),
        (404, "", StepState.UNKNOWN, "cannot determine whether the deployment chat-prod exists, HTTP 404"),
    ],
)
async def test_a_response_proves_no_more_than_it_says(status: int, body: Any, state: StepState, message: str) -> None:
    """A deployment exists if it misses the messages, and is missing if the error says so; a path may be wrong, too."""
    step = await diagnose_responses(LISTED, http_response(status, body))
    assert (StepName.MODEL, state, status) == (step.name, step.state, step.status)
    assert message in step.message
    assert (status == 404 and state is StepState.UNKNOWN) is ("check endpoint and api_version" in step.remedy)


@pytest.mark.parametrize(
    ("status", "code", "settings", "message", "remedy"),
    [
        (401, "PermissionDenied", {"identity": {}}, "rejects the access token", "role Cognitive Services OpenAI User"),
        (
            403,
            "Forbidden",
            {"identity": {}},
            "denies permission to the identity",
            "role Cognitive Services OpenAI User",
        ),
        (403, "AuthenticationTypeDisabled", {}, "accepts no keys", "use identity instead of api_key"),
        (401, "401", {}, "rejects the key", "check that the key is not revoked"),
    ],
)
async def test_the_remedy_fits_the_credential(
    status: int, code: str, settings: dict[str, Any], message: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a key lacks is no remedy for an identity, and a resource without keys needs one."""
    monkeypatch.setattr(azure_target, "credential_fetcher", lambda identity, target: lambda: AccessToken(KEY, 1e12))
    refusal = http_response(status, {"error": {"code": code, "message": "no"}})
    for models in (refusal, LISTED):
        step = await diagnose_responses(models, refusal, **settings)
        assert StepState.FAILED is step.state
        assert message in step.message
        assert remedy in step.remedy
