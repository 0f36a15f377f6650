"""The course of a diagnosis: one step after the other, each with its time, until one is broken."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from streamcanary.canary.preflight import connection, credentials, model_list, tls
from streamcanary.canary.preflight.context import Walk
from streamcanary.canary.preflight.step_result import Finding, skipped, untold
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.diagnosis import Diagnosis, Step, StepName, StepState


class Check(NamedTuple):
    """How one step is taken, and what it means if that takes too long."""

    name: StepName
    take: Callable[[Walk], Awaitable[Finding]]
    late: Callable[[Walk], Finding]


def _late(walk: Walk) -> Finding:
    return untold(f"this took longer than {walk.timeout:g} s")


_COURSE = (
    Check(StepName.KEY, credentials.check_key, _late),
    Check(StepName.ADDRESS, credentials.check_address, _late),
    Check(StepName.DNS, connection.look_up, connection.late_look_up),
    Check(StepName.TCP, connection.connect, connection.late_connect),
    Check(StepName.PROXY, connection.tunnel, connection.late_tunnel),
    Check(StepName.TLS, tls.shake_hands, tls.late_handshake),
    Check(StepName.MODELS, model_list.list_models, model_list.late_list),
    Check(StepName.MODEL, model_list.find_model, model_list.late_find),
)


async def diagnose(
    target: TargetSpec,
    model: str,
    *,
    clock: Clock,
    timeout: float = 5.0,  # noqa: ASYNC109 - of each step, which a timeout around the whole cannot say
) -> Diagnosis:
    """Walk the way to ``target`` and to ``model``, and say which step is the first that is broken.

    ``timeout`` is what each step may take, in seconds. Asks the endpoint for its models at most, which costs no tokens;
    what it answers is read up to 1 MiB. Never raises but for cancellation, and holds no secret.
    """
    walk = Walk(target, model, clock, timeout)
    started, begun = clock.time(), clock.monotonic()
    steps: list[Step] = []
    end: StepName | None = None
    try:
        for check in _COURSE:
            step = await _take(check, walk, end)
            steps.append(step)
            if end is None and (step.state is StepState.FAILED or walk.given_up):
                end = check.name
            if check.name is StepName.TLS:
                walk.close()  # what is asked from here on opens its own connection
    finally:
        walk.close()
    return Diagnosis(
        base_url=scrub(target.base_url, walk.secrets),
        model=scrub(model, walk.secrets),
        started=started,
        seconds=clock.monotonic() - begun,
        steps=tuple(steps),
        proxy=walk.proxy.url if walk.proxy else None,
        certificate=walk.certificate,
    )


async def _take(check: Check, walk: Walk, end: StepName | None) -> Step:
    """Take a step, unless the walk came to its ``end`` before."""
    begun = walk.clock.monotonic()
    finding = await _find(check, walk) if end is None else skipped(f"not tried: {end} comes first")
    return Step(
        name=check.name,
        state=finding.state,
        seconds=walk.clock.monotonic() - begun,
        says=scrub(finding.says, walk.secrets),
        remedy=scrub(finding.remedy, walk.secrets),
        kind=finding.kind,
        status=finding.status,
        request_id=finding.request_id,
    )


async def _find(check: Check, walk: Walk) -> Finding:
    try:
        async with asyncio.timeout(walk.timeout):
            return await check.take(walk)
    except TimeoutError:
        return check.late(walk)
    except Exception as error:  # noqa: BLE001 - it becomes a step that is not known, with its name; a diagnosis never raises
        walk.given_up = True
        return untold(f"the check itself broke: {type(error).__name__}: {error}")
