"""Runs canaries many times, some of them at once, until all are done or somebody interrupts."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from msgspec import Struct

from streamcanary.model.outcome import Outcome

MAX_REPEAT: Final = 1000
MAX_PARALLEL: Final = 50
MAX_RUNS: Final = 10_000


class Runner(Protocol):
    """Runs a canary once."""

    async def __call__(self, scheduled: float) -> Outcome:
        """Run, and return the outcome; ``scheduled`` is seconds since the epoch."""
        ...


class SeriesEnd(Struct, frozen=True):
    """Why a series ended before all its runs; both are ``False`` if it did not."""

    is_interrupted: bool = False
    is_budget_spent: bool = False


def check_bounds(repeat: int, parallel: int, canaries: int) -> str | None:
    """Return what is wrong with the size of a series, ``None`` if nothing.

    A probe asks real endpoints for real money; a load test is the business of other programs.
    """
    if not 1 <= repeat <= MAX_REPEAT:
        return f"--repeat must be from 1 to {MAX_REPEAT}, not {repeat}"
    if not 1 <= parallel <= MAX_PARALLEL:
        return f"--parallel must be from 1 to {MAX_PARALLEL}, not {parallel}"
    if repeat * canaries > MAX_RUNS:
        return f"{repeat} runs of {canaries} canaries are {repeat * canaries}; at most {MAX_RUNS} are allowed"
    return None


async def run_series(
    runners: Mapping[str, Runner],
    *,
    repeat: int,
    parallel: int,
    now: Callable[[], float],
    on_outcome: Callable[[Outcome], None],
    usd_limit: float | None = None,
) -> SeriesEnd:
    """Run each of ``runners`` ``repeat`` times, ``parallel`` runs at once, and call ``on_outcome`` with each outcome.

    The runs of the canaries alternate. SIGINT cancels the runs that are under way, and the series ends with what was
    measured so far; a second one ends the process. The series also ends once the known cost of its runs reaches
    ``usd_limit``; runs that are under way then are completed.
    """
    pending = iter([runner for _ in range(repeat) for runner in runners.values()])
    spent, is_budget_spent = 0.0, False

    async def run_pending() -> None:
        nonlocal spent, is_budget_spent
        for runner in pending:
            outcome = await runner(now())
            on_outcome(outcome)
            spent += outcome.cost or 0.0
            if usd_limit is not None and spent >= usd_limit:
                not_started = sum(1 for _ in pending)
                is_budget_spent = is_budget_spent or not_started > 0

    with _interrupt_event() as interrupted:
        workers = asyncio.gather(*(run_pending() for _ in range(min(parallel, repeat * len(runners)))))
        interruption = asyncio.ensure_future(interrupted.wait())
        try:
            await asyncio.wait((workers, interruption), return_when=asyncio.FIRST_COMPLETED)
        finally:
            interruption.cancel()
        is_interrupted = not workers.done()
        if is_interrupted:
            workers.cancel()
        with suppress(asyncio.CancelledError):
            await workers
    return SeriesEnd(is_interrupted=is_interrupted, is_budget_spent=is_budget_spent)


@contextmanager
def _interrupt_event() -> Iterator[asyncio.Event]:
    """Provide an event that the first SIGINT sets; the second one ends the process with 130."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal() -> None:
        if event.is_set():
            os._exit(130)
        event.set()

    former = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, on_signal)
    try:
        yield event
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, former)
