"""A diagnosis of the way to an endpoint for which no key is set, and how its list of models is told."""

from typing import Any

import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Diagnosis, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.servers.tcp import FixedHttpServer, http_response

KEY = "sk-live-5up3rs3cr3tk3y"


async def walk(base_url: str, key: str = "none", model: str = "sim-ok", **more: Any) -> Diagnosis:
    """Diagnose the way to ``base_url``."""
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": key, **more})
    return await diagnose(target, model, clock=SystemClock(), timeout=20.0)


async def test_an_endpoint_that_wants_no_key() -> None:
    """That none is set breaks nothing and asks for nothing, and nobody says that one is accepted."""
    async with Simulator() as simulator:
        key, *_, models, _ = (await walk(simulator.base_url)).steps
    assert (StepState.UNKNOWN, True, "") == (key.state, key.message.startswith("no key is set; "), key.remedy)
    assert (StepState.OK, True) == (models.state, models.message.startswith("no key is required; "))


async def test_an_endpoint_that_wants_a_key() -> None:
    """Then the verdict is not that the key is wrong, and the remedy says where to set one."""
    async with Simulator(api_key=KEY) as simulator:
        verdict = (await walk(simulator.base_url)).first_failure
    assert verdict is not None
    assert (FaultKind.AUTH_FAILED, "the endpoint requires a key, and none is set, HTTP 401", True) == (
        verdict.kind,
        verdict.message,
        "api_key_file" in verdict.remedy,
    )


async def test_a_header_may_stand_for_the_key() -> None:
    """Where there are headers, one of them may be what is refused: it is not said that nothing was shown."""
    async with Simulator(api_key=KEY) as simulator:
        verdict = (await walk(simulator.base_url, headers={"X-Team": "search"})).first_failure
    assert verdict is not None
    assert True is verdict.message.startswith("the endpoint rejects the key, HTTP 401")


async def test_none_is_no_secret() -> None:
    """The word stays readable in what the endpoint says."""
    refusal = http_response(400, {"error": {"message": "none of the models is loaded"}})
    async with FixedHttpServer({"models": refusal}) as endpoint:
        verdict = (await walk(endpoint.base_url)).first_failure
    assert verdict is not None
    assert True is verdict.message.endswith(": none of the models is loaded")


@pytest.mark.parametrize(
    ("names", "count", "place"),
    [
        (["alpha"], "1 model is listed", "alpha is the only listed model"),
        (["alpha", "beta"], "2 models are listed", "alpha is one of the 2 listed models"),
    ],
)
async def test_models_are_counted_in_english(names: list[str], count: str, place: str) -> None:
    """One model is one model, and the asked one among them is told in the same way."""
    listed = {"data": [{"id": name} for name in names]}
    async with FixedHttpServer({"models": http_response(200, listed)}) as endpoint:
        *_, models, model = (await walk(endpoint.base_url, KEY, "alpha")).steps
    assert (f"the key is accepted; {count}", place) == (models.message, model.message)
