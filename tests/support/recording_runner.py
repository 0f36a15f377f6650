"""A runner for the scheduler of tests, which asks nobody."""

import asyncio

from msgspec import structs

from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome, OutcomeKind


class RecordingRunner:
    """Records the due times of its runs in ``due``, and counts the ``ended`` ones. A run ends when ``go_on`` is set."""

    def __init__(self, name: str, interval: float, target: str = "t", **more: object) -> None:
        self.canary = structs.replace(Canary(name=name, target=target, provider="p", interval=interval), **more)
        self.due: list[float] = []
        self.ended = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, scheduled: float) -> Outcome:
        """Run once."""
        self.due.append(scheduled)
        await self.go_on.wait()
        self.ended += 1
        return ok_outcome(self.canary, scheduled)


def ok_outcome(canary: Canary, scheduled: float) -> Outcome:
    """Return a good run of ``canary``."""
    return Outcome(
        run_id=f"{canary.name}-{scheduled}",
        canary=canary.name,
        target=canary.target,
        provider=canary.provider,
        kind=OutcomeKind.OK,
        scheduled=scheduled,
        started=scheduled,
    )
