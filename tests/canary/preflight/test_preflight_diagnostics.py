import asyncio
import contextlib
from typing import Any

from streamcanary.canary.preflight.diagnostics import MAX_CONCURRENT, FailureDiagnostics
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator


def a_doctor(
    base_url: str, *canaries: str, models: dict[str, str] | None = None
) -> tuple[FailureDiagnostics, list[tuple[str, str]]]:
    """Make a doctor for ``canaries`` on one target, and the list of what it tells."""
    told: list[tuple[str, str]] = []
    targets = {"sim": TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x"})}
    specs = {
        name: CanarySpec.model_validate({"target": "sim", "model": (models or {}).get(name, "sim-ok")})
        for name in canaries
    }
    return FailureDiagnostics(
        targets, specs, clock=SystemClock(), on_diagnosis=lambda *finding: told.append(finding)
    ), told


def a_run(canary: str, fault: Fault | None = None) -> Outcome:
    """Build a run that went well, or did not."""
    kind = OutcomeKind.FAILED if fault else OutcomeKind.OK
    common: dict[str, Any] = {"run_id": "r", "target": "sim", "provider": "sim", "scheduled": 0.0, "started": 0.0}
    return Outcome(canary=canary, kind=kind, fault=fault, **common)


REFUSED = make_fault(FaultKind.CONNECT_FAILED, Phase.CONNECT, "refused")
STALLED = make_fault(FaultKind.STALLED, Phase.STREAM, "stalled")
NOT_PONG = make_fault(FaultKind.UNEXPECTED_ANSWER, Phase.END, "no pong")


async def settled(told: list[tuple[str, str]], count: int) -> None:
    """Wait until so much was told."""
    async with asyncio.timeout(10):
        while len(told) < count:
            await asyncio.sleep(0.005)


async def test_the_first_failure_is_diagnosed_once() -> None:
    """The step that is broken, in words; the failures after it are the same illness."""
    doctor, told = a_doctor("http://127.0.0.1:9/v1", "chat")
    async with doctor:
        for _ in range(3):
            doctor.observe(a_run("chat", REFUSED))
        await settled(told, 1)
        doctor.observe(a_run("chat", REFUSED))
    ((canary, finding),) = told
    assert ("chat", True) == (canary, finding.startswith("tcp failed: "))


async def test_a_way_that_holds_is_told_too() -> None:
    """Then it is the answers that are bad: that is worth knowing."""
    async with Simulator() as simulator:
        doctor, told = a_doctor(simulator.base_url, "chat")
        async with doctor:
            doctor.observe(a_run("chat", STALLED))
            await settled(told, 1)
    assert [("chat", "no step is known to be broken")] == told


async def test_after_a_good_run_the_next_failure_is_a_new_one() -> None:
    """It is looked at again."""
    doctor, told = a_doctor("http://127.0.0.1:9/v1", "chat")
    async with doctor:
        doctor.observe(a_run("chat", REFUSED))
        await settled(told, 1)
        doctor.observe(a_run("chat"))
        doctor.observe(a_run("chat", REFUSED))
        await settled(told, 2)


async def test_canaries_on_one_way_share_a_diagnosis() -> None:
    """A hundred that fail at once cost the endpoint one question; another way is looked at by itself, up to a few."""
    names = [f"canary-{number}" for number in range(20)]
    models = {name: f"sim-ok-{number}" for number, name in enumerate(names[10:])}
    async with Simulator() as simulator:
        doctor, told = a_doctor(simulator.base_url, *names, models=models)
        async with doctor:
            for name in names:
                doctor.observe(a_run(name, STALLED))
            await settled(told, 10 + MAX_CONCURRENT - 1)
        assert MAX_CONCURRENT == len([one for one in simulator.requests if one.path.endswith("/models")])
    assert [*names[:10], *names[10 : 9 + MAX_CONCURRENT]] == sorted(
        (canary for canary, _ in told), key=lambda name: int(name[7:])
    )


async def test_what_the_way_does_not_explain_is_not_diagnosed() -> None:
    """An answer that is not what was expected, a run that says nothing, and a canary that is not known."""
    doctor, told = a_doctor("http://127.0.0.1:9/v1", "chat")
    async with doctor:
        for run in (a_run("chat", NOT_PONG), a_run("chat"), a_run("other", REFUSED)):
            doctor.observe(run)
        await asyncio.sleep(0)
    assert [] == told


async def test_leaving_gives_up_what_is_under_way() -> None:
    """A diagnosis that hangs holds up no shutdown."""
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        left.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server, asyncio.timeout(5):
        doctor, told = a_doctor(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "chat")
        async with doctor:
            doctor.observe(a_run("chat", STALLED))
            await asyncio.sleep(0.05)
        await left.wait()
    assert [] == told
