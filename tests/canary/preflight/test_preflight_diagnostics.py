"""Diagnoses that are started when canaries begin to fail."""

import asyncio
import contextlib
from typing import Any

import pytest

from streamcanary.canary.preflight.diagnostics import MAX_CONCURRENT, FailureDiagnostics
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator


def make_diagnostics(
    base_url: str, *canaries: str, models: dict[str, str] | None = None
) -> tuple[FailureDiagnostics, list[tuple[str, str]]]:
    """Return diagnostics for ``canaries`` on one target, and the list of their results."""
    results: list[tuple[str, str]] = []
    targets = {"sim": TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x"})}
    specs = {
        name: CanarySpec.model_validate({"target": "sim", "model": (models or {}).get(name, "sim-ok")})
        for name in canaries
    }
    return FailureDiagnostics(
        targets, specs, clock=SystemClock(), on_diagnosis=lambda *result: results.append(result)
    ), results


def make_outcome(canary: str, fault: Fault | None = None) -> Outcome:
    """Return the outcome of a successful run, or of one that failed with ``fault``."""
    kind = OutcomeKind.FAILED if fault else OutcomeKind.OK
    common: dict[str, Any] = {"run_id": "r", "target": "sim", "provider": "sim", "scheduled": 0.0, "started": 0.0}
    return Outcome(canary=canary, kind=kind, fault=fault, **common)


REFUSED = make_fault(FaultKind.CONNECT_FAILED, Phase.CONNECT, "refused")
STALLED = make_fault(FaultKind.STALLED, Phase.STREAM, "stalled")
NOT_PONG = make_fault(FaultKind.UNEXPECTED_ANSWER, Phase.END, "no pong")


async def wait_for_results(results: list[tuple[str, str]], count: int) -> None:
    """Wait for ``count`` results."""
    async with asyncio.timeout(10):
        while len(results) < count:
            await asyncio.sleep(0.005)


def logged_results(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the results of the diagnoses that have finished."""
    return [str(vars(record)["result"]) for record in caplog.records if record.message == "diagnosis finished"]


async def wait_for_logs(caplog: pytest.LogCaptureFixture, count: int) -> None:
    """Wait for ``count`` finished diagnoses."""
    async with asyncio.timeout(10):
        while len(logged_results(caplog)) < count:
            await asyncio.sleep(0.005)


async def test_only_the_first_failure_is_diagnosed() -> None:
    """The first failed run starts a diagnosis with the failed step; further failures start none."""
    diagnostics, results = make_diagnostics("http://127.0.0.1:9/v1", "chat")
    async with diagnostics:
        for _ in range(3):
            diagnostics.observe(make_outcome("chat", REFUSED))
        await wait_for_results(results, 1)
        diagnostics.observe(make_outcome("chat", REFUSED))
    ((canary, result),) = results
    assert ("chat", True) == (canary, result.startswith("tcp failed: "))


async def test_a_diagnosis_without_failed_step_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """If no step failed, notifications get nothing to say; the log has the result."""
    caplog.set_level("INFO")
    async with Simulator() as simulator:
        diagnostics, results = make_diagnostics(simulator.base_url, "chat")
        async with diagnostics:
            diagnostics.observe(make_outcome("chat", STALLED))
            await wait_for_logs(caplog, 1)
    assert ["no step is known to be broken"] == logged_results(caplog)
    assert [] == results


async def test_a_failure_after_a_successful_run_is_diagnosed_again() -> None:
    """The first failure after a successful run starts a new diagnosis."""
    diagnostics, results = make_diagnostics("http://127.0.0.1:9/v1", "chat")
    async with diagnostics:
        diagnostics.observe(make_outcome("chat", REFUSED))
        await wait_for_results(results, 1)
        diagnostics.observe(make_outcome("chat"))
        diagnostics.observe(make_outcome("chat", REFUSED))
        await wait_for_results(results, 2)


async def test_canaries_of_one_target_and_model_share_a_diagnosis() -> None:
    """Canaries of the same target and model share one diagnosis; others get their own, up to ``MAX_CONCURRENT``."""
    names = [f"canary-{number}" for number in range(20)]
    models = {name: f"absent-{max(0, number - 9)}" for number, name in enumerate(names)}
    async with Simulator() as simulator:
        diagnostics, results = make_diagnostics(simulator.base_url, *names, models=models)
        async with diagnostics:
            for name in names:
                diagnostics.observe(make_outcome(name, STALLED))
            await wait_for_results(results, 10 + MAX_CONCURRENT - 1)
        assert MAX_CONCURRENT == len([request for request in simulator.requests if request.path.endswith("/models")])
    assert [*names[:10], *names[10 : 9 + MAX_CONCURRENT]] == sorted(
        (canary for canary, _ in results), key=lambda name: int(name[7:])
    )


async def test_failures_unrelated_to_the_connection_are_not_diagnosed() -> None:
    """An unexpected response, a successful run and an unknown canary start no diagnosis."""
    diagnostics, results = make_diagnostics("http://127.0.0.1:9/v1", "chat")
    async with diagnostics:
        for run in (make_outcome("chat", NOT_PONG), make_outcome("chat"), make_outcome("other", REFUSED)):
            diagnostics.observe(run)
        await asyncio.sleep(0)
    assert [] == results


async def test_leaving_the_context_cancels_running_diagnoses() -> None:
    """A diagnosis that hangs does not delay the shutdown."""
    closed = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        closed.set()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server, asyncio.timeout(5):
        diagnostics, results = make_diagnostics(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "chat")
        async with diagnostics:
            diagnostics.observe(make_outcome("chat", STALLED))
            await asyncio.sleep(0.05)
        await closed.wait()
    assert [] == results
