"""Rollups as a store makes them from runs."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.learning.baseline import LearnedBaseline
from streamcanary.alerting.learning.history import History
from streamcanary.alerting.learning.rollup_history import RollupHistory, names_of
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import Rollup
from streamcanary.store.sqlite.migrations import migrate
from streamcanary.store.tables import rollups
from support.alerting.builders import NOON, alerts


def rollups_of(outcomes: Iterable[Outcome]) -> dict[str, list[Rollup]]:
    """Return the rollups of each canary at the end of the last run: hours, and quarters of a day before them."""
    found: dict[str, list[Rollup]] = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        runs = list(outcomes)
        rollups.add_runs(connection, runs)
        while rollups.prune_rollups(connection, runs[-1].started):
            pass
        for rollup in rollups.read_rollups(connection, 0):
            found.setdefault(rollup.canary, []).append(rollup)
    return found


def learn_from_rollups(
    runs: Sequence[Outcome],
    *canaries: Canary,
    kept: int = 100,
    since: Mapping[str, float] | None = None,
    **rule: object,
) -> dict[str, LearnedBaseline]:
    """Return what ``rule`` learns of which the store keeps the last ``kept`` of ``runs``, by subject."""
    bindings = Bindings(alerts(rules={"R": rule}).all_rules, "default", canaries)
    history = History(bindings.learning, canaries, since or {})
    history.observe_all(runs[-kept:])
    known: dict[str, Binding] = {binding.key: binding for binding in bindings.learning}
    stored, learning = rollups_of(runs), RollupHistory(history)
    found: dict[str, LearnedBaseline] = {}
    names = names_of(canaries)
    for canary in learning.canaries:
        some = [rollup for name in names[canary.name] for rollup in stored.get(name, [])]
        for key, baseline in learning.observe(canary, some, NOON).items():
            found[known[key].scope_value.subject] = baseline
    return found
