"""Diagnoses of endpoints, and assertions on their steps."""

import asyncio
from typing import Any

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Diagnosis, DiagnosisStep, StepName, StepState
from streamcanary.model.faults import FaultKind

KEY = "sk-live-5up3rs3cr3tk3y"


def target(base_url: str, **more: Any) -> TargetSpec:
    """Return a target at ``base_url``."""
    key = {} if "api_key_file" in more else {"api_key": KEY}
    return TargetSpec.model_validate({"base_url": base_url, **key, **more})


async def run_diagnosis(base_url: str, model: str = "alpha", seconds: float = 20.0, **more: Any) -> Diagnosis:
    """Diagnose the endpoint at ``base_url``."""
    return await diagnose(target(base_url, **more), model, clock=SystemClock(), timeout=seconds)


def assert_first_failure(diagnosis: Diagnosis, name: StepName, kind: FaultKind, *words: str) -> DiagnosisStep:
    """Assert that ``name`` is the first failed step, with ``words``, and that no later step ran; return it."""
    step = diagnosis.first_failure
    assert step is not None, diagnosis
    number = list(StepName).index(name)
    assert (name, kind) == (step.name, step.kind), step
    assert {StepState.SKIPPED} >= {step.state for step in diagnosis.steps[number + 1 :]}
    assert [] == [word for word in words if word not in f"{step.message} > {step.remedy}"], step
    assert "" != step.remedy
    return step


async def never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read, and never answer."""
    await reader.read()
