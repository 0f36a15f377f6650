"""One run of a canary, from the question to its outcome."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.events import ContentDelta, Event
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import Blame, FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator
from support.servers.simulator import FAST_TIMINGS, HANGING_TIMINGS, wait_until
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()
QUICKLY = {
    "timeouts": {"connect": 2, "headers": 0.3, "first_token": 0.3, "stall": 0.3, "total": 5},
    "retry": {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001},
}
Ask = Callable[..., Any]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


async def ask(simulator: Simulator, model: str, watch: Any = None, **spec: Any) -> Outcome:
    """Run one canary once against ``simulator``."""
    canary = CanarySpec.model_validate({"target": "sim", "model": model, "every": "10s", **QUICKLY, **spec})
    target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x", "provider": "sim"})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK, on_event=watch) as fleet:
        return await fleet.by_name["c"](CLOCK.time())


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
        ("sim-failed", {"api": "responses"}, OutcomeKind.FAILED, FaultKind.SERVER_ERROR),
        ("sim-truncated", {"api": "responses"}, OutcomeKind.FAILED, FaultKind.STREAM_TRUNCATED),
    ],
)
async def test_a_run_ends_as_exactly_one_outcome(
    simulator: Simulator, model: str, spec: dict[str, Any], kind: OutcomeKind, fault: FaultKind | None
) -> None:
    """What the primary did, and not what a fallback saved, decides; the fault is the primary's."""
    outcome = await ask(simulator, model, **spec)
    assert (kind, fault) == (outcome.kind, outcome.fault.kind if outcome.fault else None)


async def test_an_outcome_carries_the_evidence(simulator: Simulator) -> None:
    """Attempts, timings and who answered are in it."""
    outcome = await ask(simulator, "sim-cut@1")
    assert ("c", "sim", "sim", "sim-cut@1", [FaultKind.STREAM_CUT, None]) == (
        outcome.canary,
        outcome.target,
        outcome.provider,
        outcome.model,
        [attempt.fault.kind if attempt.fault else None for attempt in outcome.attempts],
    )
    assert True is (outcome.duration >= (outcome.time_to_first_token or 0) > 0)


async def test_an_answer_cut_at_its_token_limit_says_so(simulator: Simulator) -> None:
    """An unexpected answer that ended for length names the limit: it is the canary that asks for too few tokens."""
    outcome = await ask(simulator, "sim-length", expect={"equals": "something else"})
    assert outcome.fault is not None
    assert True is ("truncated at its token limit" in outcome.fault.message)
    assert Blame.CONTENT is outcome.fault.blame


async def test_every_question_is_fresh(simulator: Simulator) -> None:
    """The nonce differs from run to run, so that no cache on the way can answer."""
    for _ in range(2):
        await ask(simulator, "sim-ok", prompt="pong ({nonce})")
    first, second = (request.body for request in simulator.requests)
    assert (True, False) == (first != second, "{nonce}" in first)


async def test_the_request_is_passed_on(simulator: Simulator) -> None:
    """What the canary's request section says goes to the endpoint; usage comes back."""
    outcome = await ask(simulator, "sim-ok", request={"max_tokens": 7, "stream_options": {"include_usage": True}})
    assert True is ('"max_tokens":7' in simulator.requests[0].body.replace(" ", ""))
    assert outcome.usage is not None
    assert True is (outcome.usage.output_tokens > 0)


async def test_a_watcher_sees_the_stream(simulator: Simulator) -> None:
    """Events are told as they happen, with the canary they belong to."""
    seen: list[tuple[str, Event]] = []

    def watch(canary: Canary, event: Event) -> None:
        seen.append((canary.name, event))

    await ask(simulator, "sim-ok", watch=watch)
    text = "".join(event.delta for _, event in seen if isinstance(event, ContentDelta))
    assert ({"c"}, "Pong! The canary sings.") == ({name for name, _ in seen}, text)


async def test_a_broken_probe_is_not_a_broken_target(simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """What breaks in our own code is an internal_error, logged, and no fault of anybody's."""

    def broken(canary: Canary, event: Event) -> None:
        raise ZeroDivisionError("in our own code")

    outcome = await ask(simulator, "sim-ok", watch=broken)
    assert (OutcomeKind.INTERNAL_ERROR, None, ()) == (outcome.kind, outcome.fault, outcome.attempts)
    assert "ZeroDivisionError: in our own code" == outcome.reason
    assert "canary run failed internally" in caplog.text


async def test_cancellation_leaves_nothing_open(simulator: Simulator) -> None:
    """A run that is cancelled at shutdown ends at once and closes its connection."""
    patient = {"timeouts": {"total": 9}}
    task = asyncio.create_task(ask(simulator, "sim-stall", **patient))
    await wait_until(lambda: bool(simulator.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: simulator.connection_count == 0)


async def test_a_rotated_key_is_used(tmp_path: Any) -> None:
    """A key file is read again when it changes: the next run has the new key."""
    path = tmp_path / "key"
    path.write_text("old-key-of-no-worth")
    async with Simulator(timings=FAST_TIMINGS, api_key="new-key-of-no-worth") as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key_file": str(path)})
        canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", **QUICKLY})
        async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as fleet:
            before = await fleet.by_name["c"](CLOCK.time())
            path.write_text("new-key-of-no-worth")
            after = await fleet.by_name["c"](CLOCK.time())
    assert before.fault is not None
    assert (FaultKind.AUTH_FAILED, OutcomeKind.OK) == (before.fault.kind, after.kind)
    assert False is ("key-of-no-worth" in before.fault.message)


async def test_a_header_follows_its_file(tmp_path: Any, simulator: Simulator) -> None:
    """What is sent is what the file holds now; one that is gone is auth_failed, and named."""
    file = tmp_path / "token"
    file.write_text("trace-of-no-worth-1")
    target = TargetSpec.model_validate(
        {"base_url": simulator.base_url, "api_key": "sk-x", "headers": {"traceparent": {"file": file}}}
    )
    canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", **QUICKLY})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as fleet:
        for content in ("trace-of-no-worth-1", "trace-of-no-worth-2"):
            file.write_text(content)
            assert OutcomeKind.OK is (await fleet.by_name["c"](CLOCK.time())).kind
        file.unlink()
        outcome = await fleet.by_name["c"](CLOCK.time())
    assert ["trace-of-no-worth-1", "trace-of-no-worth-2"] == [r.headers["traceparent"] for r in simulator.requests]
    assert outcome.fault is not None
    assert (FaultKind.AUTH_FAILED, Blame.CONFIG) == (outcome.fault.kind, outcome.fault.blame)
    assert f"cannot read the secret file {file}" in outcome.fault.message


async def test_a_header_from_a_file_is_kept_out_of_messages(tmp_path: Any, simulator: Simulator) -> None:
    """A provider that repeats it in an error shows it to nobody, also after the file has changed."""
    file = tmp_path / "token"
    file.write_text("sim-500")
    headers = {"X-Model": {"file": file}}
    target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x", "headers": headers})
    canary = CanarySpec.model_validate({"target": "sim", "model": "sim-unheard-of", "every": "10s", **QUICKLY})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as fleet:
        before = await fleet.by_name["c"](CLOCK.time())
        file.write_text("sim-unheard-of")
        after = await fleet.by_name["c"](CLOCK.time())
    assert before.fault is not None
    assert after.fault is not None
    assert (True, False) == tuple("sim-unheard-of" in fault.message for fault in (before.fault, after.fault))


async def test_a_key_file_that_is_gone(tmp_path: Any, simulator: Simulator) -> None:
    """A key that cannot be read is auth_failed, blamed on the configuration, and names the file."""
    target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key_file": str(tmp_path / "gone")})
    canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", **QUICKLY})
    async with CanaryRunners({"sim": target}, {"c": canary}, clock=CLOCK) as fleet:
        outcome = await fleet.by_name["c"](CLOCK.time())
    assert outcome.fault is not None
    assert (FaultKind.AUTH_FAILED, Blame.CONFIG) == (outcome.fault.kind, outcome.fault.blame)
    assert True is ("cannot read the secret file" in outcome.fault.message)


async def test_the_span_tree_has_three_levels(simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """A run is the root, the call its child, the attempts the call's; the outcome names the trace."""
    outcome = await ask(simulator, "sim-cut@1")
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


async def test_runs_are_counted_by_outcome_and_fault(simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """The counter says how runs ended, with the same error.type as the span."""
    labels = {"canary": "c", "outcome": "failed", "error__type": "stream_cut"}
    before = recorded.value("streamcanary.runs", **labels)
    await ask(simulator, "sim-cut")
    assert 1 == recorded.value("streamcanary.runs", **labels) - before
    assert ["stream_cut"] == [
        span.attributes["error.type"] for span in recorded.spans if span.name == "streamcanary.run" and span.attributes
    ]


async def test_responses_are_not_stored(simulator: Simulator) -> None:
    """A canary leaves nothing at the provider, unless it is told to."""
    await ask(simulator, "sim-ok", api="responses")
    await ask(simulator, "sim-ok", api="responses", request={"store": True})
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
        ({"timezone": "Europe/Berlin", "every": 5}, "timezone\n  applies only to cron; remove it, or replace every with cron"),
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
    ],
)
def test_a_bad_canary_is_refused(spec: dict[str, Any], message: str) -> None:
    """What cannot work is told when the configuration is read, and what would be right."""
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
def test_the_total_time_follows_from_the_schedule(schedule: dict[str, Any], total: float, interval: float) -> None:
    """It is the lesser of a minute and 80 % of the shortest time between two runs."""
    spec = CanarySpec.model_validate({"target": "t", "model": "m", **schedule})
    canary = spec.to_canary("c", TargetSpec.model_validate({"api_key": "x"}))
    assert (total, total, pytest.approx(interval)) == (spec.timeouts.total, canary.timeout, canary.interval)
    assert spec.schedule == canary.schedule
