"""A provider repeats the key in every field of a response: no outcome, span, metric or log line has a slice of it."""

import logging

import msgspec
import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import OutcomeKind
from support.servers.planted_secrets import FORMS, KEY, Api, Encoder, PlantingServer, leaked_slices, planted_responses
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()
SPEC = {
    "target": "t",
    "every": "60s",
    "retry": {"max_attempts": 1},
    "expect": {"equals": "pong"},
    "timeouts": {"connect": 5, "headers": 5, "first_token": 5, "stall": 5, "total": 20},
}


def target(server: PlantingServer) -> TargetSpec:
    """Return the target at ``server``, whose key it repeats."""
    return TargetSpec.model_validate({"base_url": server.base_url, "api_key": KEY, "provider": "planting"})


def responses_in_turn(api: Api, first: int) -> dict[str, bytes]:
    """Return each response with the key in another form: the first one with the form number ``first``."""
    by_form = [planted_responses(encode(KEY), api) for encode in FORMS.values()]
    return {name: by_form[(first + index) % len(FORMS)][name] for index, name in enumerate(by_form[0])}


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("first", [0, 3])
async def test_no_output_of_a_run_has_a_slice_of_the_key(
    api: Api, first: int, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """Every response that a provider can send with the key in it leaves no slice of it in outcome, telemetry or log."""
    caplog.set_level(logging.INFO)
    responses = responses_in_turn(api, first)
    leaks: dict[str, set[str]] = {}
    async with PlantingServer(responses, KEY) as server:
        specs = {f"c{i}": {**SPEC, "model": name, "api": api} for i, name in enumerate(responses)}
        canaries = {name: CanarySpec.model_validate(spec) for name, spec in specs.items()}
        async with CanaryRunners({"t": target(server)}, canaries, clock=CLOCK) as runners:
            for name, runner in runners.by_name.items():
                recorded.clear()
                outcome = await runner(CLOCK.time())
                assert outcome.kind not in (OutcomeKind.OK, OutcomeKind.INTERNAL_ERROR), (canaries[name].model, outcome)
                spans = " ".join(span.to_json() for span in recorded.spans)
                if found := leaked_slices(msgspec.json.encode(outcome).decode() + spans):
                    leaks[canaries[name].model] = found
    assert {} == leaks
    assert set(responses) == set(server.served)
    assert set() == leaked_slices(recorded.metrics_text)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("streamcanary")]
    assert set() == leaked_slices(str(ours))


@pytest.mark.parametrize("encode", FORMS.values(), ids=FORMS)
async def test_no_diagnosis_has_a_slice_of_the_key(encode: Encoder) -> None:
    """A list of models and an error with the key in every field leave no slice of it in a diagnosis."""
    async with PlantingServer({}, encode(KEY)) as server:
        diagnosis = await diagnose(target(server), "gpt-test", clock=CLOCK)
    assert set() == leaked_slices(msgspec.json.encode(diagnosis).decode() + str(diagnosis))
    assert "[redacted]" in str(diagnosis.steps)
