"""The Bernoulli CUSUM of one series of samples: when it fires, and when the evidence for normal resolves the alert.

It fires by a CUSUM between the rates ``normal`` and ``spike``. If good runs merely used up that evidence again, a
steady error rate between the two would fire and resolve all day: each time the samples say "not ``spike``", which is
not the same as "``normal``". So while it fires, a second CUSUM weighs ``normal`` against a rate midway, the geometric
mean of ``normal`` and ``spike``, and resolves on evidence for ``normal``. Evidence against it is capped, so that a long
outage resolves as fast as a short one: at a number of good runs in a row that is the threshold for firing. If the alert
fires again within a day of its resolve, that number was too low for the error rate, and doubles each time.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from streamcanary.alerting.detectors.base import DetectorResult, FailureCounts, Progress
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire_by_threshold

REPEAT_WINDOW: Final = 86400.0
"""An alert that fires within this time of its resolve, in seconds, needs twice as many good runs to resolve."""

_MAX_THRESHOLD = 5000
_DOUBLINGS = 3
_SLOW_INTERVAL = 30.0  # seconds; where samples come quicker, the first doubling takes as long as at this interval
_MAX_SPEEDUP = 16
_LONGEST_RESOLVE = 12 * 3600.0  # seconds of good runs; doubling ends there


class SpikeState(Struct, frozen=True, kw_only=True, tag_field="type", tag="spike", omit_defaults=True, gc=False):
    """The CUSUM ``sum`` and the ``threshold`` that it is compared with.

    While the alert does not fire, it is the evidence for ``spike``, and fires at ``threshold``. While it fires, it is
    the number of good runs that are missing for the resolve, at most ``threshold``. ``bad`` and ``total`` count samples
    since the sum last left zero, the first of them at ``since``. ``good_in_a_row`` counts
    good samples since the last bad one, while the alert fires. ``resolved`` is when the alert last resolved, for a
    day after that, and ``repeats`` how often it has fired again within a day of its resolve. Times are seconds since
    the epoch. At a sum of zero the state stays the same value and is not written again.
    """

    sum: int = 0
    threshold: int = 0
    bad: int = 0
    total: int = 0
    since: float = 0.0
    repeats: int = 0
    resolved: float | None = None
    good_in_a_row: int = 0


_EMPTY = SpikeState()


class Cusum(NamedTuple):
    """The two CUSUMs of one series of samples, in units of a good sample, which subtracts 1.

    A bad sample adds ``step``, and the alert fires at ``threshold``. While it fires, a bad sample adds
    ``resolve_step``, up to the first of ``good_runs``, and the alert resolves at zero. The further ones of
    ``good_runs`` are for an alert that fires again within :data:`REPEAT_WINDOW`, once, twice and more often.
    """

    step: int
    threshold: int
    resolve_step: int
    good_runs: tuple[int, ...]

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text, when it has not fired before."""
        return self.resolve_condition_after(None)

    def resolve_condition_after(self, state: object) -> str:
        """Return what resolves the alert that fires with ``state``, as text, with the reason for the number of runs."""
        repeats = state.repeats if isinstance(state, SpikeState) else 0
        needed, first = self.good_runs_after(repeats), self.good_runs[0]
        condition = f"{needed} good run{'' if needed == 1 else 's'} in a row"
        if needed > first:
            condition += f", instead of {first}, as it fired {repeats + 1} times within a day of the last resolve"
        if self.resolve_step < needed:
            condition += f"; a bad one between them adds {self.resolve_step}, up to {needed}"
        return condition

    def good_runs_after(self, repeats: int) -> int:
        """Return the number of good runs in a row that resolve the alert after it fired again ``repeats`` times."""
        return self.good_runs[min(repeats, len(self.good_runs) - 1)]

    def progress(self, state: object, *, firing: bool, now: float) -> Progress:
        """Return the evidence of the threshold, ``9 of 17``; while ``firing`` the good runs that are missing."""
        if not isinstance(state, SpikeState):
            state = SpikeState(sum=self.good_runs[0], threshold=self.good_runs[0]) if firing else _EMPTY
        needed = self.good_runs_after(state.repeats) if firing else self.threshold
        value = state.sum
        if state.threshold not in (0, needed):  # of another configuration: as the next sample scales it
            value = min(math.ceil(value * needed / state.threshold), needed)
        text = f"{_good_runs(value)} until it resolves" if firing else f"{value} of {needed}"
        return Progress.of(value, needed, text)

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[SpikeState]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        If a threshold has changed (another rule configuration or interval), the sum is scaled to the new one. With
        ``None``, or the state of another detector, the sum starts at zero; if the alert fires, at the number of good
        runs that resolve it, as the severity is unknown.
        """
        if not isinstance(state, SpikeState):
            state = SpikeState(sum=self.good_runs[0], threshold=self.good_runs[0]) if firing else _EMPTY
        threshold = self.good_runs_after(state.repeats) if firing else self.threshold
        old_sum = state.sum
        if old_sum and state.threshold != threshold:
            scaled = math.ceil(old_sum * threshold / max(state.threshold, 1))
            old_sum = min(scaled, threshold if firing else threshold - 1)
        counts = FailureCounts(state.bad + bad, state.total + 1, min(state.since, at) if state.total else at)
        repeats = state.repeats
        good_in_a_row = 0 if bad or not firing else state.good_in_a_row + 1
        if not bad:
            if old_sum <= 1:
                counts = FailureCounts(0, good_in_a_row, at) if firing else counts
                return DetectorResult(_at_zero(state, at, resolves=firing), is_firing=False, counts=counts)
            new_sum = old_sum - 1
        else:
            new_sum = min(old_sum + (self.resolve_step if firing else self.step), threshold)
            if not firing and new_sum == threshold:
                repeats = repeats + 1 if state.resolved is not None and at - state.resolved <= REPEAT_WINDOW else 0
                firing, new_sum = True, self.good_runs_after(repeats)
                threshold = new_sum
        state = SpikeState(
            sum=new_sum,
            threshold=threshold,
            bad=counts.bad,
            total=counts.total,
            since=counts.since,
            repeats=repeats,
            resolved=state.resolved,
            good_in_a_row=good_in_a_row,
        )
        return DetectorResult(state, firing, counts)

    def forget_failures(self, state: object, at: float) -> SpikeState:
        """Return the state at zero, of an alert that has resolved at ``at`` (seconds since the epoch)."""
        return SpikeState(resolved=at)


def _good_runs(count: int) -> str:
    return "one good run" if count == 1 else f"{count} good runs"


def _at_zero(state: SpikeState, at: float, *, resolves: bool) -> SpikeState:
    """Return the state after a good sample that brings the sum to zero, and ``resolves`` the alert or not."""
    if resolves:
        return SpikeState(repeats=state.repeats, resolved=at)
    if state.resolved is None or at - state.resolved > REPEAT_WINDOW:
        return _EMPTY
    return SpikeState(repeats=state.repeats, resolved=min(state.resolved, at))  # the clock may have been set back


def cusum_step(low: float, high: float) -> int:
    """Return how many good samples cancel out a bad one in the CUSUM between the error rates ``low`` and ``high``."""
    return max(1, round(_step_ratio(low, high)))


def _step_ratio(low: float, high: float) -> float:
    return math.log(high / low) / math.log((1 - low) / (1 - high))


def cusum_for(
    normal: float,
    spike: float,
    interval: float,
    false_interval: float,
    autocorrelation: float,
    bursty_rate: float | None = None,
) -> Cusum:
    """Return the CUSUM for samples every ``interval`` seconds on average.

    At the error rate ``normal`` with that lag-1 ``autocorrelation`` it fires no more often than every
    ``false_interval`` seconds on average. With a ``bursty_rate`` errors have the autocorrelation at that rate, and are
    independent at ``normal``; the promise holds for both.

    Raises:
        ValueError: if no threshold satisfies that; the message says what to change.
    """
    step = cusum_step(normal, spike)
    runs = false_interval / interval
    threshold = _threshold(step, normal if bursty_rate is None else bursty_rate, autocorrelation, runs)
    if threshold is not None and bursty_rate is not None:
        independent = _threshold(step, normal, 0.0, runs)
        threshold = independent and max(threshold, independent)
    if threshold is None:
        bursts = f", with an autocorrelation of {autocorrelation:g}" if autocorrelation else ""
        raise ValueError(
            f"normal and spike are too close for so few false pages{bursts}: raise spike, or allow more false pages"
        )
    speedup = min(max(round(_SLOW_INTERVAL / interval), 1), _MAX_SPEEDUP)
    # rounded down, so that the evidence is for normal at any rate up to it
    resolve_step = max(1, int(_step_ratio(normal, math.sqrt(normal * spike))))
    longest = max(threshold, int(_LONGEST_RESOLVE / interval))
    repeated = (min(threshold * speedup * 2**doublings, longest) for doublings in range(1, _DOUBLINGS + 1))
    return Cusum(step, threshold, resolve_step, (threshold, *repeated))


def highest_possible(autocorrelation: float, cusum: Callable[[float], Cusum]) -> float:
    """Return ``autocorrelation``, or if ``cusum`` finds no threshold for it, the highest for which it finds one."""
    while autocorrelation > 0:
        try:
            cusum(autocorrelation)
        except ValueError:
            autocorrelation = max(0.0, round(autocorrelation - 0.05, 12))
        else:
            break
    return autocorrelation


@lru_cache(maxsize=4096)
def _threshold(step: int, normal: float, autocorrelation: float, runs: float) -> int | None:
    """Return the lowest threshold that is reached after at least ``runs`` runs on average; ``None`` if none is."""
    for threshold, mean in enumerate(runs_to_fire_by_threshold(step, normal, autocorrelation), 1):
        if mean >= runs:
            return threshold
        if threshold == _MAX_THRESHOLD:
            break
    return None
