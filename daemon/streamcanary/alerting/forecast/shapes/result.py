"""The result of simulated outages: how soon each rule detects each shape, and which rule is first."""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from streamcanary.alerting.forecast.shapes.shape import Shape


class RuleDelays(NamedTuple):
    """The simulated runs of one rule and one shape.

    ``delays`` are the seconds from the begin of the outage until the rule fires; ``None`` if it does not detect the
    outage in time, and 0 if it fires already before. ``scopes`` are those of its first alert; empty if there is none.
    """

    delays: tuple[float | None, ...]
    scopes: tuple[str, ...] = ()

    @property
    def detected(self) -> list[float]:
        """The delays of the runs in which the rule detects the outage, in ascending order."""
        return sorted(delay for delay in self.delays if delay is not None)

    @property
    def detected_share(self) -> float:
        """The share of the runs in which the rule detects the outage."""
        return len(self.detected) / len(self.delays) if self.delays else 0.0

    @property
    def median(self) -> float | None:
        """The median delay of the runs in which it is detected; ``None`` if that is less than half of all."""
        return statistics.median(self.detected) if self.detected_share >= 0.5 else None

    @property
    def fires_before(self) -> bool:
        """Whether the rule fires already without an outage, in at least half of the runs."""
        return 2 * sum(delay == 0 for delay in self.delays) >= max(1, len(self.delays))

    @property
    def scope(self) -> str:
        """The scope of the alert that most often fires first; empty if none does."""
        found = Counter(scope for scope in self.scopes if scope)
        return found.most_common(1)[0][0] if found else ""


class ShapeForecast(NamedTuple):
    """How soon ``rules`` detect ``shapes``: ``delays`` has the runs of each rule and shape.

    Runs outside the outage fail at ``base_rate``. ``simulated_canaries`` of ``canary_count`` are simulated.
    """

    base_rate: float
    shapes: tuple[Shape, ...]
    rules: tuple[str, ...]
    delays: Mapping[tuple[str, Shape], RuleDelays]
    simulated_canaries: int
    canary_count: int

    @property
    def runs(self) -> int:
        """The highest number of runs of a rule and a shape."""
        return max((len(one.delays) for one in self.delays.values()), default=0)

    def first(self, shape: Shape) -> tuple[str, float] | None:
        """Return the rule that most often is the first to detect ``shape``, and in which part of the runs.

        Rules that fire already without an outage detect nothing. ``None`` if no rule detects it.
        """
        runs = [self.delays[rule, shape].delays for rule in self.rules]
        firsts: Counter[str] = Counter()
        count = max(map(len, runs), default=0)
        for run in range(count):
            delays = [
                (delay, number)
                for number, some in enumerate(runs)
                if run < len(some) and (delay := some[run]) is not None and delay > 0
            ]
            if delays:
                firsts[self.rules[min(delays)[1]]] += 1
        if not firsts:
            return None
        [(rule, number)] = firsts.most_common(1)
        return rule, number / count
