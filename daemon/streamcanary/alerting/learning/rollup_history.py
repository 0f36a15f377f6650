"""Learns the baselines of bindings from rollups, where the recorded runs do not reach back a day. Pure.

The rollups of one canary are evaluated for all of its bindings at once and dropped: a week of those of a large fleet
would not fit into memory. What a binding of several canaries needs of each stays until the last one of them.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from streamcanary.alerting.engine.bindings import Binding
from streamcanary.alerting.learning.base_rate import MAX_AUTOCORRELATION
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues
from streamcanary.alerting.learning.block_rate import Clustering, clustering_of, estimate_block_rate
from streamcanary.alerting.learning.block_values import (
    PooledValues,
    add_blocks,
    estimate_block_values,
    summarize_values,
)
from streamcanary.alerting.learning.history import History, smallest_change
from streamcanary.alerting.learning.rollup_samples import Block, block_of, value_name
from streamcanary.model.canary import Canary, recorded_names
from streamcanary.model.statistics.rollup import Rollup

LEARNED_PERIOD: Final = 8 * 86400.0
"""Seconds of rollups from which is learned: a week, and a day so that each quarter of the day has seven."""


def names_of(canaries: Iterable[Canary]) -> dict[str, dict[str, str]]:
    """Return for each canary the names under which its runs are recorded, and the name that it has now."""
    found: dict[str, dict[str, str]] = {}
    for recorded, canary in recorded_names(canaries).items():
        found.setdefault(canary.name, {})[recorded] = canary.name
    return found


class RollupHistory:
    """What the rollups of canaries say about those bindings of ``history`` whose runs span less than a day.

    With ``keys``, only for these bindings. ``canaries`` are those whose rollups are needed, each once.
    """

    def __init__(self, history: History, keys: Collection[str] | None = None) -> None:
        self._history = history
        self._bindings_by_canary: dict[str, list[Binding]] = {}
        self._pending: dict[str, int] = {}  # by binding: the number of canaries whose rollups are still to come
        self._blocks: dict[str, list[Block]] = {}
        self._clusterings: dict[str, Clustering] = {}
        self._values: dict[str, PooledValues] = {}
        canaries: dict[str, Canary] = {}
        for binding in history.short_bindings():
            if keys is not None and binding.key not in keys:
                continue
            self._pending[binding.key] = len(binding.canaries)
            for canary in binding.canaries:
                canaries[canary.name] = canary
                self._bindings_by_canary.setdefault(canary.name, []).append(binding)
        self.canaries = tuple(canaries.values())

    def observe(self, canary: Canary, rollups: Sequence[Rollup], now: float) -> dict[str, LearnedBaseline]:
        """Add all ``rollups`` of ``canary``, and return what the bindings have learned of which it is the last canary.

        Those from before the canary sends its request are left out. A binding is left out, too, if its recorded runs
        say as much.
        """
        since = self._history.since(canary)
        some = sorted((each for each in rollups if each.started >= since), key=lambda each: each.started)
        found: dict[str, LearnedBaseline] = {}
        for binding in self._bindings_by_canary[canary.name]:
            self._add(binding, canary, some)
            self._pending[binding.key] -= 1
            if not self._pending[binding.key] and (learned := self._learn(binding)) is not None:
                found[binding.key] = msgspec.structs.replace(learned, learned_at=now)
        return found

    def _add(self, binding: Binding, canary: Canary, rollups: Iterable[Rollup]) -> None:
        if binding.rule.detector.type != "shift":
            found = [block for rollup in rollups if (block := block_of(binding.rule, rollup)) is not None]
            clustering = clustering_of(found, MAX_AUTOCORRELATION)
            self._clusterings[binding.key] = self._clusterings.get(binding.key, Clustering()).add(clustering)
            known = self._blocks.get(binding.key)
            self._blocks[binding.key] = found if known is None else add_blocks([*known, *found])
        elif (name := value_name(binding.rule.measure)) is not None:
            values = summarize_values(name, rollups, smallest_change(binding.rule))
            if values is not None:
                pooled = self._values.setdefault(binding.key, PooledValues(len(binding.canaries)))
                pooled.add(canary.identity, values)

    def _learn(self, binding: Binding) -> LearnedRate | LearnedValues | None:
        cusum = self._history.cusum(binding)
        if binding.rule.detector.type == "shift":
            values = self._values.pop(binding.key, PooledValues(0))
            above = self._history.samples_above(binding, LearnedValues(limits=values.limits, days=0.0))
            return estimate_block_values(values, above, cusum, smallest_change(binding.rule))
        blocks, latest = self._blocks.pop(binding.key, []), self._history.samples(binding)
        clustering = self._clusterings.pop(binding.key, Clustering())
        if sum(block.total for block in blocks) <= latest.total:
            return None
        highest = binding.rule.detector.max_base_rate
        return estimate_block_rate(blocks, clustering, latest, cusum, highest, MAX_AUTOCORRELATION)
