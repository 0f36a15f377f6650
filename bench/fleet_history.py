"""A fleet of canaries in a store, as a daemon leaves it: rollups, and the last runs of each.

Rollups of five canaries are made from their runs, and copied for the others.
"""

import math
import time
from random import Random
from typing import Any, Final

from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed
from streamcanary.store.database import Store
from streamcanary.store.tables import rollups

CANARIES: Final = 1000
EVERY: Final = 30.0
"""Seconds between the runs of a canary."""

_MODELS = 5  # canaries whose rollups are made from runs
_FAULT = make_fault(FaultKind.OVERLOADED, Phase.HEADERS, "busy", status=503)


def fill_rollups(connection: Any, now: int, hours: int) -> float:
    """Write the rollups of ``hours`` before ``now``; return the seconds of CPU for each run."""
    spent, runs = 0.0, 0
    for canary in range(_MODELS):
        random = Random(canary)  # noqa: S311 - a simulation
        for hour in range(hours):
            start = now - (hours - hour) * 3600
            outcomes = [outcome_of(canary, number, start, random) for number in range(int(3600 / EVERY))]
            for outcome in outcomes:
                begun = time.thread_time()
                rollups.add_runs(connection, [outcome])
                spent += time.thread_time() - begun
            runs += len(outcomes)
    while rollups.prune_rollups(connection, now) >= rollups.MAX_PRUNED_PER_CALL:
        pass
    for canary in range(_MODELS, CANARIES):
        for table in ("rollups", "rollup_details"):
            columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            others = ", ".join(columns[1:])
            connection.execute(
                f"INSERT INTO {table} SELECT ?, {others} FROM {table} WHERE canary = ?",  # noqa: S608 - fixed names
                (name_of(canary), name_of(canary % _MODELS)),
            )
    return spent / runs


async def commit_runs(store: Store, now: float, kept: int) -> None:
    """Commit the first ``kept`` runs of each canary after ``now``."""
    random = Random(0)  # noqa: S311 - a simulation
    numbers = [(canary, number) for number in range(kept) for canary in range(CANARIES)]
    for first in range(0, len(numbers), 5_000):
        some = numbers[first : first + 5_000]
        await store.commit([], [outcome_of(canary, number, now, random) for canary, number in some])


def outcome_of(canary: int, number: int, start: float, random: Random) -> Outcome:
    """Return run ``number`` of a canary after ``start``; one of a hundred fails."""
    failed = random.random() < 0.01
    first_token = 0.5 * math.exp(0.3 * random.gauss(0, 1))
    started = start + number * EVERY
    fault = _FAULT if failed else None
    attempt = Attempt(number=1, route="m", started=started, duration=2.0, fault=fault)
    return Outcome(
        run_id=f"{canary}-{started}",
        canary=name_of(canary),
        target=f"target-{canary % 10}",
        provider="openai",
        kind=OutcomeKind.FAILED if failed else OutcomeKind.OK,
        scheduled=started,
        started=started,
        duration=2.0,
        fault=fault,
        attempts=(attempt,),
        time_to_first_token=None if failed else first_token,
        max_gap=None if failed else first_token / 10,
        output_speed=None if failed else OutputSpeed(tokens_per_second=20 / first_token, seconds=1.5),
    )


def name_of(number: int) -> str:
    """Return the name of a canary."""
    return f"canary-{number}"
