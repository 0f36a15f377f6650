"""One run of a canary, from the request to its outcome."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary import __version__
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.events import ContentDelta, Event
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import Blame, FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator
from support.servers.simulator import FAST_TIMINGS, HANGING_TIMINGS, wait_until
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()
SHORT_TIMEOUTS = {
    "timeouts": {"connect": 2, "headers": 0.3, "first_token": 0.3, "stall": 0.3, "total": 5},
    "retry": {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001},
}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


async def run_canary(simulator: Simulator, model: str, on_event: Any = None, **spec: Any) -> Outcome:
    """Run one canary once against ``simulator``."""
    canary = CanarySpec.model_validate({"target": "sim", "model": model, "every": "10s", **SHORT_TIMEOUTS, **spec})
    target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x", "provider": "sim"})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK, on_event=on_event) as runners:
        return await runners.by_name["c"](CLOCK.time())


@pytest.mark.parametrize(
    ("model", "spec", "kind", "fault"),
    [
        ("sim-ok", {"expect": {"contains": "pong"}}, OutcomeKind.OK, None),
        ("sim-ok", {"expect": {"regex": "^Pong!.*sings"}}, OutcomeKind.OK, None),
        ("sim-ok", {"expect": {"equals": "Pong! The canary sings.\n"}}, OutcomeKind.OK, None),
        ("sim-ok", {"expect": {"contains": "ping"}}, OutcomeKind.FAILED, FaultKind.UNEXPECTED_ANSWER),
        ("sim-refusal", {}, OutcomeKind.FAILED, FaultKind.UNEXPECTED_ANSWER),
        ("sim-ok", {"slo": {"first_token": "0.001ms"}}, OutcomeKind.SLOW, None),
        ("sim-ok", {"slo": {"duration": "0.001ms"}}, OutcomeKind.SLOW, None),
        ("sim-ok", {"slo": {"first_token": "60s", "max_gap": "60s"}}, OutcomeKind.OK, None),
        ("sim-cut@1", {}, OutcomeKind.OK, None),
        ("sim-cut", {}, OutcomeKind.FAILED, FaultKind.STREAM_CUT),
        ("sim-cut", {"fallbacks": [{"model": "sim-ok"}]}, OutcomeKind.FAILED_OVER, FaultKind.STREAM_CUT),
        ("sim-cut", {"fallbacks": [{"model": "sim-500"}]}, OutcomeKind.FAILED, FaultKind.STREAM_CUT),
        ("sim-json-200", {}, OutcomeKind.FAILED_OVER, FaultKind.NOT_A_STREAM),
        ("sim-cut@2", {"fallbacks": [{"non_streaming": True}]}, OutcomeKind.FAILED_OVER, FaultKind.STREAM_CUT),
        ("sim-ok", {"api": "responses", "expect": {"contains": "pong"}}, OutcomeKind.OK, None),
        ("sim-tool-call", {}, OutcomeKind.OK, None),
        ("sim-tool-call", {"api": "responses"}, OutcomeKind.OK, None),
        ("sim-tool-call", {"expect": {"contains": "pong"}}, OutcomeKind.FAILED, FaultKind.UNEXPECTED_ANSWER),
        ("sim-failed", {"api": "responses"}, OutcomeKind.FAILED, FaultKind.SERVER_ERROR),
        ("sim-truncated", {"api": "responses"}, OutcomeKind.FAILED, FaultKind.STREAM_TRUNCATED),
    ],
)
async def test_a_run_ends_as_exactly_one_outcome(
    simulator: Simulator, model: str, spec: dict[str, Any], kind: OutcomeKind, fault: FaultKind | None
) -> None:
    """The result of the primary route decides the outcome, and the fault is the one of the primary route."""
    outcome = await run_canary(simulator, model, **spec)
    assert (kind, fault) == (outcome.kind, outcome.fault.kind if outcome.fault else None)


async def test_an_outcome_has_attempts_and_timings(simulator: Simulator) -> None:
    """An outcome has the attempts, the timings and the answering model."""
    outcome = await run_canary(simulator, "sim-cut@1")
    assert ("c", "sim", "sim", "sim-cut@1", [FaultKind.STREAM_CUT, None]) == (
        outcome.canary,
        outcome.target,
        outcome.provider,
        outcome.model,
        [attempt.fault.kind if attempt.fault else None for attempt in outcome.attempts],
    )
    assert True is (outcome.duration >= (outcome.time_to_first_token or 0) > 0)


async def test_an_unmet_expectation_at_the_token_limit_is_a_fault_of_the_configuration(simulator: Simulator) -> None:
    """A response that was cut at the token limit before it met ``expect`` names the limit and blames nobody else."""
    outcome = await run_canary(
        simulator, "sim-length", expect={"equals": "something else"}, request={"max_completion_tokens": 7}
    )
    assert outcome.fault is not None
    assert (FaultKind.TOKEN_LIMIT_REACHED, Blame.CONFIG) == (outcome.fault.kind, outcome.fault.blame)
    assert (
        "the response is not 'something else' within the token limit (7); raise max_completion_tokens: 'Pong! The'"
    ) == outcome.fault.message


async def test_the_nonce_differs_in_each_run(simulator: Simulator) -> None:
    """Each run has another nonce, so that no cache can answer."""
    for _ in range(2):
        await run_canary(simulator, "sim-ok", prompt="pong ({nonce})")
    first, second = (request.body for request in simulator.requests)
    assert (True, False) == (first != second, "{nonce}" in first)


async def test_request_parameters_are_sent(simulator: Simulator) -> None:
    """The parameters in ``request`` are sent to the endpoint, and the usage is on the outcome."""
    outcome = await run_canary(
        simulator, "sim-ok", request={"max_tokens": 7, "stream_options": {"include_usage": True}}
    )
    assert True is ('"max_tokens":7' in simulator.requests[0].body.replace(" ", ""))
    assert outcome.usage is not None
    assert True is (outcome.usage.output_tokens > 0)


async def test_on_event_is_called_for_each_event(simulator: Simulator) -> None:
    """The callback gets every event with its canary."""
    events: list[tuple[str, Event]] = []

    def on_event(canary: Canary, event: Event) -> None:
        events.append((canary.name, event))

    await run_canary(simulator, "sim-ok", on_event=on_event)
    text = "".join(event.delta for _, event in events if isinstance(event, ContentDelta))
    assert ({"c"}, "Pong! The canary sings.") == ({name for name, _ in events}, text)


async def test_an_exception_in_the_canary_is_an_internal_error(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in streamcanary itself is a logged ``internal_error`` without a fault."""

    def broken(canary: Canary, event: Event) -> None:
        raise ZeroDivisionError("in the callback")

    outcome = await run_canary(simulator, "sim-ok", on_event=broken)
    assert (OutcomeKind.INTERNAL_ERROR, None, ()) == (outcome.kind, outcome.fault, outcome.attempts)
    assert "ZeroDivisionError: in the callback" == outcome.reason
    assert "canary run failed internally" in caplog.text


async def test_cancellation_closes_the_connection(simulator: Simulator) -> None:
    """A cancelled run ends at once and closes its connection."""
    patient = {"timeouts": {"total": 9}}
    task = asyncio.create_task(run_canary(simulator, "sim-stall", **patient))
    await wait_until(lambda: bool(simulator.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: simulator.connection_count == 0)


async def test_a_rotated_key_is_used(tmp_path: Any) -> None:
    """A key file is read again when it changes, so that the next run has the new key."""
    path = tmp_path / "key"
    path.write_text("old-key-of-no-worth")
    async with Simulator(timings=FAST_TIMINGS, api_key="new-key-of-no-worth") as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key_file": str(path)})
        canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", **SHORT_TIMEOUTS})
        async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as runners:
            before = await runners.by_name["c"](CLOCK.time())
            path.write_text("new-key-of-no-worth")
            after = await runners.by_name["c"](CLOCK.time())
    assert before.fault is not None
    assert (FaultKind.AUTH_FAILED, OutcomeKind.OK) == (before.fault.kind, after.kind)
    assert False is ("key-of-no-worth" in before.fault.message)


async def test_a_header_file_is_read_again(tmp_path: Any, simulator: Simulator) -> None:
    """The header has the current content of its file; a missing file is ``auth_failed`` with its path."""
    file = tmp_path / "token"
    file.write_text("trace-of-no-worth-1")
    target = TargetSpec.model_validate(
        {"base_url": simulator.base_url, "api_key": "sk-x", "headers": {"traceparent": {"file": file}}}
    )
    canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", **SHORT_TIMEOUTS})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as runners:
        for content in ("trace-of-no-worth-1", "trace-of-no-worth-2"):
            file.write_text(content)
            assert OutcomeKind.OK is (await runners.by_name["c"](CLOCK.time())).kind
        file.unlink()
        outcome = await runners.by_name["c"](CLOCK.time())
    assert ["trace-of-no-worth-1", "trace-of-no-worth-2"] == [r.headers["traceparent"] for r in simulator.requests]
    assert outcome.fault is not None
    assert (FaultKind.AUTH_FAILED, Blame.CONFIG) == (outcome.fault.kind, outcome.fault.blame)
    assert f"cannot read the secret file {file}" in outcome.fault.message


async def test_a_header_from_a_file_is_redacted(tmp_path: Any, simulator: Simulator) -> None:
    """The header value is redacted in messages, also after its file has changed."""
    file = tmp_path / "token"
    file.write_text("sim-500")
    headers = {"X-Model": {"file": file}}
    target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x", "headers": headers})
    canary = CanarySpec.model_validate(
        {"target": "sim", "model": "sim-no-such-model", "every": "10s", **SHORT_TIMEOUTS}
    )
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as runners:
        before = await runners.by_name["c"](CLOCK.time())
        file.write_text("keepalive-stall")
        after = await runners.by_name["c"](CLOCK.time())
    assert before.fault is not None
    assert after.fault is not None
    assert (True, False) == tuple("keepalive-stall" in fault.message for fault in (before.fault, after.fault))


async def test_a_missing_key_file_is_auth_failed(tmp_path: Any, simulator: Simulator) -> None:
    """A missing key file is ``auth_failed`` with blame ``config`` and its path."""
    target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key_file": str(tmp_path / "gone")})
    canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", **SHORT_TIMEOUTS})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as runners:
        outcome = await runners.by_name["c"](CLOCK.time())
    assert outcome.fault is not None
    assert (FaultKind.AUTH_FAILED, Blame.CONFIG) == (outcome.fault.kind, outcome.fault.blame)
    assert True is ("cannot read the secret file" in outcome.fault.message)


async def test_the_span_tree_has_three_levels(simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """The run is the root span of the call, and the call the parent of the attempts; the outcome has the trace id."""
    outcome = await run_canary(simulator, "sim-cut@1")
    ((name, run, calls),) = recorded.trees("streamcanary.outcome", "user_agent.synthetic.type", "error.type")
    assert (
        "streamcanary.run",
        {"status": "UNSET", "streamcanary.outcome": "ok", "user_agent.synthetic.type": "test"},
    ) == (
        name,
        run,
    )
    ((call_name, _, attempts),) = calls
    assert ("chat sim-cut@1", ["POST", "POST"]) == (call_name, [attempt[0] for attempt in attempts])
    assert {outcome.trace_id} == {f"{span.context.trace_id:032x}" for span in recorded.spans}


async def test_spans_and_metrics_have_the_scope_and_its_version(
    simulator: Simulator, recorded: RecordedTelemetry
) -> None:
    """The instrumentation scope of spans and metrics is ``streamcanary`` with the version of the package."""
    await run_canary(simulator, "sim-cut@1")
    assert {("streamcanary", __version__)} == recorded.scopes()


async def test_failures_are_counted_by_outcome_and_fault(simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """The counter of failures has the outcome, the blame, and the same ``error.type`` as the span."""
    labels = {"canary": "c", "outcome": "failed", "error__type": "stream_cut", "blame": "network"}
    before = recorded.value("streamcanary.failures", **labels)
    await run_canary(simulator, "sim-cut")
    assert 1 == recorded.value("streamcanary.failures", **labels) - before
    assert ["stream_cut"] == [
        span.attributes["error.type"] for span in recorded.spans if span.name == "streamcanary.run" and span.attributes
    ]


async def test_responses_are_not_stored_by_default(simulator: Simulator) -> None:
    """Responses requests have ``store: false`` unless the canary sets it."""
    await run_canary(simulator, "sim-ok", api="responses")
    await run_canary(simulator, "sim-ok", api="responses", request={"store": True})
    assert ["/v1/responses", "/v1/responses"] == [request.path for request in simulator.requests]
    assert [False, True] == [json.loads(request.body)["store"] for request in simulator.requests]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"request": {"no_such_argument": 1}}, "request.no_such_argument\n  is not a parameter of the SDK"),
        ({"request": {"max_output_tokens": 1}}, "request.max_output_tokens\n  is not a parameter of the SDK"),
        ({"request": {"stream": True}}, "request.stream\n  cannot be set here"),
        ({"request": {"extra_body": {"n": 2}}}, "request.extra_body.n\n  cannot be set here"),
        ({"fallbacks": [{}]}, "needs either model"),
        ({"fallbacks": [{"model": "m", "non_streaming": True}]}, "needs either model"),
        ({"fallbacks": [{"non_streaming": True, "target": "t"}]}, "remove target"),
        ({"timeouts": {"total": 10}}, "timeouts.total\n  10s must be shorter than every (10s)"),
        ({"cron": "* * * * *", "every": 5}, "cron\n  cannot be combined with every; remove one of them"),
        (
            {"timezone": "Europe/Berlin", "every": 5},
            "timezone\n  applies only to cron; remove it",
        ),
        ({"cron": "0 9 * * 8"}, "cron\n  Value error, the field day-of-week takes 0 to 7 (0 and 7 are"),
        ({"cron": "0 9 * *"}, "cron\n  Value error, a cron expression has five fields"),
        ({"cron": "0 9 * * *", "timezone": "Berlin"}, "timezone\n  Value error, there is no time zone"),
        (
            {"cron": "0,1 * * * *", "timeouts": {"total": 60}},
            "timeouts.total\n  1m must be shorter than the 1m between two runs of cron",
        ),
        ({"labels": {"canary": "x"}}, "labels.canary\n  is a built-in label of canaries"),
        ({"labels": {"instance": "x"}}, "labels.instance\n  is a built-in label of alerts"),
        ({"expect": {"contains": "a", "regex": "b"}}, "takes only one condition, not contains and regex"),
        ({"expect": {"regex": "("}}, "not a regular expression"),
        ({"expect": {"regex": "(?<!un)sure"}}, "at character 1: (?<!un)sure; lookbehinds are not supported"),
    ],
)
def test_an_invalid_canary_is_rejected(spec: dict[str, Any], message: str) -> None:
    """An invalid canary is a config error with a remedy."""
    with pytest.raises(ValidationError) as caught:
        CanarySpec.model_validate({"target": "t", "model": "m", **({} if "cron" in spec else {"every": "10s"}), **spec})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "total", "interval"),
    [
        ({}, 48.0, 60.0),
        ({"every": "10s"}, 8.0, 10.0),
        ({"every": "10m"}, 60.0, 600.0),
        ({"cron": "* * * * *"}, 48.0, 60.0),
        ({"cron": "0,1 * * * *", "timezone": "Europe/Berlin"}, 48.0, 1800.0),
        ({"cron": "0 9-17 * * 1-5", "timezone": "Europe/Berlin"}, 60.0, 7 * 86400 / 45),
    ],
)
def test_the_default_total_timeout_follows_from_the_schedule(
    schedule: dict[str, Any], total: float, interval: float
) -> None:
    """The default is the lesser of 60 s and 80 % of the shortest time between two runs."""
    spec = CanarySpec.model_validate({"target": "t", "model": "m", **schedule})
    canary = spec.to_canary("c", TargetSpec.model_validate({"api_key": "x"}))
    assert (total, total, pytest.approx(interval)) == (spec.timeouts.total, canary.timeout, canary.interval)
    assert spec.schedule == canary.schedule
