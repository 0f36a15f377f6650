"""How far each rule is from firing for a canary: the state of its detector, and the forecast of ``check``."""

from collections.abc import Callable, Iterator

from streamcanary.alerting.detectors.base import Progress
from streamcanary.alerting.detectors.description import describe_detector
from streamcanary.alerting.engine.bindings import MISSED_RUN_GRACE, Binding, Bindings
from streamcanary.alerting.engine.state import State
from streamcanary.model.status.canary_status import RuleStatus

ForecastText = Callable[[Binding], str]
"""Returns the forecast of a binding in words; empty while it is not known."""


def rule_statuses(
    bindings: Bindings, canary: str, state: State, now: float, forecast: ForecastText
) -> tuple[RuleStatus, ...]:
    """Return the status of each rule that watches ``canary`` at ``now`` (seconds since the epoch), also of pooled ones.

    Those that fire come first, then the nearest to firing. A canary without rules, or an unknown one, has none.
    """
    found = list(_statuses(bindings, canary, state, now, forecast))
    return tuple(sorted(found, key=lambda one: (not one.is_firing, -one.progress, one.rule, one.subject)))


def _statuses(
    bindings: Bindings, canary: str, state: State, now: float, forecast: ForecastText
) -> Iterator[RuleStatus]:
    for binding in (*bindings.sample_bindings(canary), *bindings.no_data_bindings(canary)):
        current = bindings.with_baseline(binding, state.baselines)
        incident, stored = state.incidents.get(current.key), state.detectors.get(current.key)
        is_firing = incident is not None and incident.is_firing
        detector_state = None if stored is None else stored.detector
        if current.detector is None:
            progress = _missing_runs(current, state, now, is_firing=is_firing)
        else:
            progress = current.detector.progress(detector_state, firing=is_firing, now=now)
        yield RuleStatus(
            rule=current.rule_name,
            subject=current.scope_value.subject,
            detector=describe_detector(current.rule.detector),
            progress=progress.fraction,
            text=progress.text,
            is_firing=is_firing,
            resolve_condition=current.resolve_condition_after(detector_state),
            forecast=forecast(current),
        )


def _missing_runs(binding: Binding, state: State, now: float, *, is_firing: bool) -> Progress:
    """Return how many of the runs that fire a rule about missing runs are missing."""
    [canary] = binding.canaries
    needed = binding.missing_runs_to_fire
    if is_firing:
        return Progress(1.0, "one run with a result until it resolves")
    reachability = state.reachability.get(canary.identity)
    since = max(state.running_since, state.scheduled_since.get(canary.identity, 0.0))
    if reachability is not None and reachability.last_seen <= now:
        since = max(since, reachability.last_seen)
    low, high = 0, needed  # the times of runs rise: a search by halves
    while low < high:
        middle = (low + high + 1) // 2
        if now >= canary.nth_run_after(since, middle) + canary.timeout + MISSED_RUN_GRACE:
            low = middle
        else:
            high = middle - 1
    return Progress.of(low, needed, f"{low} of {needed} runs missing")
