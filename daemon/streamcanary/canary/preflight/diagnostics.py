"""Starts a diagnosis of a target when one of its canaries begins to fail, so that notifications contain the cause.

A diagnosis is not a sample: its result is added to the evidence of an incident, and no rule counts it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Self

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.clock import Clock
from streamcanary.model.faults import Blame
from streamcanary.model.outcome import Outcome, OutcomeKind

_log = logging.getLogger(__name__)

MAX_CONCURRENT = 4
"""Diagnoses at a time; while so many run, only canaries of the same target and model get a result."""

_STEP_TIMEOUT = 5.0  # time limit of each step, in seconds
_UNDIAGNOSED_BLAMES = frozenset({Blame.LOCAL, Blame.CONTENT})  # a diagnosis of the connection cannot explain these


class FailureDiagnostics:
    """Diagnoses a target and model once for all canaries that begin to fail on them at the same time.

    ``on_diagnosis`` is called with the name of the canary and the first failed step as text; not if no step failed,
    which is only logged. A context manager: leaving it cancels running diagnoses.
    """

    def __init__(
        self,
        targets: Mapping[str, BaseTarget],
        canaries: Mapping[str, CanarySpec],
        *,
        clock: Clock,
        on_diagnosis: Callable[[str, str], None],
    ) -> None:
        self._targets = targets
        self._canaries = canaries
        self._clock = clock
        self._on_diagnosis = on_diagnosis
        self._failing_canaries: set[str] = set()
        self._waiting_canaries: dict[tuple[str, str], list[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def configure(self, targets: Mapping[str, BaseTarget], canaries: Mapping[str, CanarySpec]) -> None:
        """Replace targets and canaries; diagnoses that run continue."""
        self._targets, self._canaries = targets, canaries
        self._failing_canaries &= canaries.keys()

    def observe(self, outcome: Outcome) -> None:
        """Start a diagnosis if this is the first failed run after a successful one. Returns at once."""
        if outcome.kind in (OutcomeKind.OK, OutcomeKind.SLOW):
            self._failing_canaries.discard(outcome.canary)
            return
        if outcome.fault is None or outcome.canary in self._failing_canaries or outcome.canary not in self._canaries:
            return
        self._failing_canaries.add(outcome.canary)
        spec = self._canaries[outcome.canary]
        endpoint = (spec.target, spec.model)
        if outcome.fault.blame in _UNDIAGNOSED_BLAMES:
            return
        if endpoint in self._waiting_canaries:
            self._waiting_canaries[endpoint].append(outcome.canary)
        elif len(self._waiting_canaries) < MAX_CONCURRENT:
            self._waiting_canaries[endpoint] = [outcome.canary]
            task = asyncio.create_task(
                self._diagnose(endpoint, self._targets[spec.target]), name=f"diagnosis {spec.target}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _diagnose(self, endpoint: tuple[str, str], spec: BaseTarget) -> None:
        target, model = endpoint
        try:
            diagnosis = await diagnose(spec, model, clock=self._clock, timeout=_STEP_TIMEOUT)
            _log.info("diagnosis finished", extra={"target": target, "model": model, "result": str(diagnosis)})
            if diagnosis.first_failure is not None:
                for canary in self._waiting_canaries[endpoint]:
                    self._on_diagnosis(canary, str(diagnosis))
        finally:
            del self._waiting_canaries[endpoint]
