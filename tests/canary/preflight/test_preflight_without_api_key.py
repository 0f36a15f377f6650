"""Diagnosis of an endpoint without a key, and the messages about its list of models."""

from typing import Any

import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Diagnosis, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.servers.tcp import FixedHttpServer, http_response

KEY = "sk-live-5up3rs3cr3tk3y"


async def run_diagnosis(base_url: str, key: str = "none", model: str = "sim-ok", **more: Any) -> Diagnosis:
    """Diagnose the endpoint at ``base_url``."""
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": key, **more})
    return await diagnose(target, model, clock=SystemClock(), timeout=20.0)


async def test_an_endpoint_without_authentication_needs_no_key() -> None:
    """A missing key is no failure, and the step models reports that no key is required."""
    async with Simulator() as simulator:
        key, *_, models, _ = (await run_diagnosis(simulator.base_url)).steps
    assert (StepState.UNKNOWN, True, "") == (key.state, key.message.startswith("no key is set; "), key.remedy)
    assert (StepState.OK, True) == (models.state, models.message.startswith("no key is required; "))


async def test_a_missing_key_is_reported_as_missing() -> None:
    """An endpoint that requires a key fails with "none is set" and a remedy, not with a rejected key."""
    async with Simulator(api_key=KEY) as simulator:
        failure = (await run_diagnosis(simulator.base_url)).first_failure
    assert failure is not None
    assert (FaultKind.AUTH_FAILED, "the endpoint requires a key, and none is set, HTTP 401", True) == (
        failure.kind,
        failure.message,
        "api_key_file" in failure.remedy,
    )


async def test_with_headers_a_missing_key_is_reported_as_rejected() -> None:
    """With headers, which may be credentials, the failure is a rejected key."""
    async with Simulator(api_key=KEY) as simulator:
        failure = (await run_diagnosis(simulator.base_url, headers={"X-Team": "search"})).first_failure
    assert failure is not None
    assert True is failure.message.startswith("the endpoint rejects the key, HTTP 401")


async def test_the_placeholder_none_is_not_redacted() -> None:
    """The word ``none`` is not redacted in messages of the endpoint."""
    refusal = http_response(400, {"error": {"message": "none of the models is loaded"}})
    async with FixedHttpServer({"models": refusal}) as endpoint:
        failure = (await run_diagnosis(endpoint.base_url)).first_failure
    assert failure is not None
    assert True is failure.message.endswith(": none of the models is loaded")


@pytest.mark.parametrize(
    ("names", "count", "place"),
    [
        (["alpha"], "1 model is listed", "alpha is the only listed model"),
        (["alpha", "beta"], "2 models are listed", "alpha is one of the 2 listed models"),
    ],
)
async def test_messages_use_singular_and_plural(names: list[str], count: str, place: str) -> None:
    """One listed model is reported in the singular, several in the plural."""
    listed = {"data": [{"id": name} for name in names]}
    async with FixedHttpServer({"models": http_response(200, listed)}) as endpoint:
        *_, models, model = (await run_diagnosis(endpoint.base_url, KEY, "alpha")).steps
    assert (f"the key is accepted; {count}", place) == (models.message, model.message)
