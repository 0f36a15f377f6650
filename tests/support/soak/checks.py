"""Compares the incidents that people saw with the outages that there were."""

from collections.abc import Iterable, Sequence

from support.soak.fleet import Fleet
from support.soak.pagerduty import PagerIncident
from support.soak.scale import Outage


def match_incidents(
    outages: Iterable[Outage], incidents: Sequence[PagerIncident], fleet: Fleet
) -> tuple[dict[str, list[float]], list[str]]:
    """Return the seconds until each outage was paged, by rule, and sentences about what does not fit.

    Each outage must have been paged once, while it lasted, and resolved once, after it ended; nothing else must have
    been paged.
    """
    latencies: dict[str, list[float]] = {"CanaryFails": [], "TargetFails": []}
    problems: list[str] = []
    rest = {id(incident): incident for incident in incidents}
    for outage in outages:
        if outage.canary is not None:
            about = ("CanaryFails", fleet.canaries[outage.canary].name)
        else:
            about = ("TargetFails", f"target target-{outage.target}")
        found = [one for one in rest.values() if one.about == about and outage.start <= one.opened <= outage.end + 60]
        if len(found) != 1:
            problems.append(f"{about} from {outage.start:.0f} to {outage.end:.0f} was paged {len(found)} times")
        for incident in found:
            del rest[id(incident)]
        if len(found) == 1:
            latencies[about[0]].append(found[0].opened - outage.start)
            if found[0].resolved is None:
                problems.append(f"{about} from {outage.start:.0f} was not resolved")
            elif found[0].resolved < outage.end:
                problems.append(f"{about} was resolved at {found[0].resolved:.0f}, before its end {outage.end:.0f}")
    problems += [f"a page without an outage: {one.about} at {one.opened:.0f}" for one in rest.values()]
    return latencies, problems
