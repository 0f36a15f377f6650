"""The course of a diagnosis: one step after the other, each with its time, until one is broken."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from streamcanary.canary.preflight import connection, credentials, model_list, tls
from streamcanary.canary.preflight.context import DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, skipped, unknown
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import Clock
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.diagnosis import Diagnosis, DiagnosisStep, StepName, StepState


class Check(NamedTuple):
    """How one step is taken, and what it means if that takes too long."""

    name: StepName
    run: Callable[[DiagnosisContext], Awaitable[StepResult]]
    on_timeout: Callable[[DiagnosisContext], StepResult]


def _on_timeout(context: DiagnosisContext) -> StepResult:
    return unknown(f"this took longer than {context.timeout:g} s")


_CHECKS = (
    Check(StepName.KEY, credentials.check_key, _on_timeout),
    Check(StepName.ADDRESS, credentials.check_address, _on_timeout),
    Check(StepName.DNS, connection.resolve_dns, connection.on_dns_timeout),
    Check(StepName.TCP, connection.connect, connection.on_connect_timeout),
    Check(StepName.PROXY, connection.open_proxy_tunnel, connection.on_proxy_timeout),
    Check(StepName.TLS, tls.do_tls_handshake, tls.on_tls_timeout),
    Check(StepName.MODELS, model_list.list_models, model_list.on_models_timeout),
    Check(StepName.MODEL, model_list.find_model, model_list.on_model_timeout),
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
    context = DiagnosisContext(target, model, clock, timeout)
    started, begun = clock.time(), clock.monotonic()
    steps: list[DiagnosisStep] = []
    stopped_at: StepName | None = None
    try:
        for check in _CHECKS:
            step = await _run_step(check, context, stopped_at)
            steps.append(step)
            if stopped_at is None and (step.state is StepState.FAILED or context.is_aborted):
                stopped_at = check.name
            if check.name is StepName.TLS:
                context.close()  # what is asked from here on opens its own connection
    finally:
        context.close()
    return Diagnosis(
        base_url=scrub(target.base_url, context.secrets),
        model=scrub(model, context.secrets),
        started=started,
        seconds=clock.monotonic() - begun,
        steps=tuple(steps),
        proxy=context.proxy.url if context.proxy else None,
        certificate=context.certificate,
    )


async def _run_step(check: Check, context: DiagnosisContext, stopped_at: StepName | None) -> DiagnosisStep:
    """Take a step, unless the walk came to its ``end`` before."""
    begun = context.clock.monotonic()
    result = await _run_check(check, context) if stopped_at is None else skipped(f"not tried: {stopped_at} comes first")
    return DiagnosisStep(
        name=check.name,
        state=result.state,
        seconds=context.clock.monotonic() - begun,
        message=scrub(result.message, context.secrets),
        remedy=scrub(result.remedy, context.secrets),
        kind=result.kind,
        status=result.status,
        request_id=result.request_id,
    )


async def _run_check(check: Check, context: DiagnosisContext) -> StepResult:
    try:
        async with asyncio.timeout(context.timeout):
            return await check.run(context)
    except TimeoutError:
        return check.on_timeout(context)
    except Exception as error:  # noqa: BLE001 - it becomes a step that is not known, with its name; a diagnosis never raises
        context.is_aborted = True
        return unknown(f"the check itself broke: {type(error).__name__}: {error}")
