"""Runs the steps of a diagnosis in order, each with a time limit, until one fails."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from streamcanary.canary.preflight import connection, credentials, model_list, tls
from streamcanary.canary.preflight.context import DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, skipped, unknown
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.clock import Clock
from streamcanary.model.diagnosis import Diagnosis, DiagnosisStep, StepName, StepState


class Check(NamedTuple):
    """One step: its check, and its result if the check exceeds the time limit."""

    name: StepName
    run: Callable[[DiagnosisContext], Awaitable[StepResult]]
    on_timeout: Callable[[DiagnosisContext], StepResult]


def _on_timeout(context: DiagnosisContext) -> StepResult:
    return unknown(f"no result within {context.timeout:g} s")


_CHECKS = (
    Check(StepName.KEY, credentials.check_key, credentials.on_key_timeout),
    Check(StepName.ADDRESS, credentials.check_address, _on_timeout),
    Check(StepName.DNS, connection.resolve_dns, connection.on_dns_timeout),
    Check(StepName.TCP, connection.connect, connection.on_connect_timeout),
    Check(StepName.PROXY, connection.open_proxy_tunnel, connection.on_proxy_timeout),
    Check(StepName.TLS, tls.do_tls_handshake, tls.on_tls_timeout),
    Check(StepName.MODELS, model_list.list_models, model_list.on_models_timeout),
    Check(StepName.MODEL, model_list.find_model, model_list.on_model_timeout),
)


async def diagnose(
    target: BaseTarget,
    model: str,
    *,
    clock: Clock,
    timeout: float = 5.0,  # noqa: ASYNC109 - the limit of each step, not of the whole
) -> Diagnosis:
    """Diagnose the connection to ``target`` and ``model``; the result has all steps up to the first that fails.

    ``timeout`` is the time limit of each step, in seconds. The requests only read the models of the endpoint, and
    send an empty request to a deployment of Azure; neither costs tokens. Responses are read up to 1 MiB. Raises nothing
    except for cancellation. Secrets are redacted in the result.
    """
    context = DiagnosisContext(target, model, clock, timeout)
    started, started_monotonic = clock.time(), clock.monotonic()
    steps: list[DiagnosisStep] = []
    failed_step: StepName | None = None
    try:
        for check in _CHECKS:
            step = await _run_step(check, context, failed_step)
            steps.append(step)
            if failed_step is None and (step.state is StepState.FAILED or context.is_aborted):
                failed_step = check.name
            if check.name is StepName.TLS:
                context.close()  # the following steps open their own connections
    finally:
        context.close()
    diagnosis = Diagnosis(
        base_url=target.base_url,
        model=context.model,
        started=started,
        seconds=clock.monotonic() - started_monotonic,
        steps=tuple(steps),
        proxy=context.proxy.url if context.proxy else None,
        certificate=context.certificate,
    )
    return context.redactor.redact(diagnosis)


async def _run_step(check: Check, context: DiagnosisContext, failed_step: StepName | None) -> DiagnosisStep:
    """Run a step, unless an earlier one failed."""
    started = context.clock.monotonic()
    result = await _run_check(check, context) if failed_step is None else skipped(f"not run: {failed_step} failed")
    return DiagnosisStep(
        name=check.name,
        state=result.state,
        seconds=context.clock.monotonic() - started,
        message=result.message,
        remedy=result.remedy,
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
    except Exception as error:  # noqa: BLE001 - it becomes an inconclusive step; a diagnosis never raises
        context.is_aborted = True
        return unknown(f"internal error: {type(error).__name__}: {error}")
