"""Has the way to a target looked at when one of its canaries begins to fail, so that the page can say what is broken.

It is diagnosis, not evidence: what it finds is told beside the failures, and counts for no rule.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Self

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import Clock
from streamcanary.model.faults import Blame
from streamcanary.model.outcome import Outcome, OutcomeKind

_log = logging.getLogger(__name__)

MAX_CONCURRENT = 4
"""Diagnoses under way at a time; a canary that begins to fail meanwhile gets none, but for one of the same way."""

_STEP_TIMEOUT = 5.0  # seconds that each step may take
_UNDIAGNOSED_BLAMES = frozenset({Blame.LOCAL, Blame.CONTENT})  # whose faults no look at the way explains


class FailureDiagnostics:
    """Looks at the way to a target and its model, once for all canaries that begin to fail on it at a time.

    ``tell`` is given the name of the canary and what was found, in words. A context manager: leaving it gives up what
    is under way.
    """

    def __init__(
        self,
        targets: Mapping[str, TargetSpec],
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

    def observe(self, outcome: Outcome) -> None:
        """Take note of a run, and begin a diagnosis if it is the first to fail after a good one. Returns at once."""
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
            task = asyncio.create_task(self._diagnose(endpoint), name=f"diagnosis {spec.target}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _diagnose(self, endpoint: tuple[str, str]) -> None:
        target, model = endpoint
        try:
            diagnosis = await diagnose(self._targets[target], model, clock=self._clock, timeout=_STEP_TIMEOUT)
            _log.info("diagnosis", extra={"target": target, "model": model, "found": str(diagnosis)})
            for canary in self._waiting_canaries[endpoint]:
                self._on_diagnosis(canary, str(diagnosis))
        finally:
            del self._waiting_canaries[endpoint]
