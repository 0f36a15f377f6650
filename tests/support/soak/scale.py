"""How large a soak is, and what happens in it: outages of providers, and faults of replicas and of the database."""

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

MINUTE: Final = 60.0
HOUR: Final = 3600.0


class Scale(NamedTuple):
    """The size of a soak. ``interval`` is that of each canary in seconds; half of them have twice as long a one.

    ``faults_per_hour`` is how many replicas crash, and how many are paused, lose their network, or get a wrong clock.
    """

    canaries: int = 100_000
    replicas: int = 50
    targets: int = 50
    hours: float = 24.0
    interval: float = 60 * MINUTE
    single_outages: int = 100
    target_outages: int = 24
    faults_per_hour: float = 2.0
    database_failures: int = 3
    rolling_updates: int = 1
    seed: int = 1
    lease: float = 60.0
    poll: float = 5.0
    """Seconds between two renewals, and between two looks of a replica at the state of alerts."""
    feed: float = 10.0
    """Seconds between two looks of the owner of the alerts at the runs to evaluate."""

    @property
    def max_unowned(self) -> float:
        """Seconds for which a shard is without an owner, at most, while the database works."""
        return 2 * self.lease + 4 * self.poll

    @property
    def seconds(self) -> float:
        """The length of the soak."""
        return self.hours * HOUR


SMALL: Final = Scale(
    canaries=1_000,
    replicas=5,
    targets=5,
    hours=2.0,
    interval=4 * MINUTE,
    single_outages=5,
    target_outages=3,
    faults_per_hour=4.0,
    database_failures=1,
    rolling_updates=1,
    seed=3,  # all kinds of faults have effects
    lease=15.0,
    poll=2.5,
    feed=2.0,
)
"""For ``make test``."""


class Outage(NamedTuple):
    """A provider fails from ``start`` to ``end``: for one canary, by its number, or for all canaries of a target."""

    start: float
    end: float
    canary: int | None = None
    target: int | None = None


class Fault(NamedTuple):
    """Something that happens to a replica, to several, or to the database at a time; ``seconds`` is how long it lasts.

    ``chance`` (0 to 1) selects the replica; ``hits_owner`` lets it be the owner of the alerts.
    """

    at: float
    kind: str
    seconds: float = 0.0
    chance: float = 0.0
    hits_owner: bool = False


def plan_outages(scale: Scale, random: Random) -> list[Outage]:
    """Return the outages, none of which overlaps with another one of the same target.

    One of a canary lasts for several of its intervals, and ends early enough for the runs that resolve it, also if some
    are missed and it runs at the longer of the two intervals; one of a target is shorter than an interval, so that no
    single canary fails twice.
    """
    begin, end = 2.5 * scale.interval, scale.seconds - 11 * scale.interval
    outages: list[Outage] = []
    for number, target in enumerate(random.sample(range(scale.targets), scale.targets) * 4):
        if number == scale.target_outages:
            break
        start = begin + (end - begin) * (number + random.random() / 2) / scale.target_outages
        outages.append(Outage(start, start + random.uniform(0.75, 0.95) * scale.interval, target=target))
    busy = {outage.target for outage in outages}
    calm = [number for number in range(scale.canaries) if number % scale.targets not in busy]
    for number in random.sample(calm or range(scale.canaries), scale.single_outages):
        start = random.uniform(begin, max(begin, end - 8 * scale.interval))
        outages.append(Outage(start, start + 9 * scale.interval, canary=number))
    return outages


def plan_faults(scale: Scale, random: Random) -> list[Fault]:
    """Return the faults in the order of their times; at the beginning and at the end there are none."""
    begin, end = 5 * MINUTE, scale.seconds - 10 * MINUTE
    count = round(scale.faults_per_hour * scale.hours)
    faults = [
        Fault(random.uniform(begin, end), kind, random.uniform(*seconds), random.random(), random.random() < share)
        for kind, seconds, share in (
            ("crash", (1.0, 120.0), 0.3),
            ("pause", (3.0, 90.0 + scale.lease), 0.3),
            ("cut", (2.0, 60.0 + scale.lease), 0.2),
            ("hang", (2.0, 60.0 + scale.lease), 0.2),
            ("clock", (-9.0, 9.0), 0.2),
            ("stop", (1.0, 60.0), 0.2),
            ("doubt", (0.0, 0.0), 0.3),
        )
        for _ in range(count)
    ]
    faults += [
        Fault(begin + (end - begin) * (number + random.random()) / scale.database_failures, "database", seconds)
        for number, seconds in enumerate(_outage_lengths(scale, random))
    ]
    faults += [
        Fault(begin + (end - begin) * (number + 0.3) / scale.rolling_updates, "rolling update")
        for number in range(scale.rolling_updates)
    ]
    return sorted(faults)


def _outage_lengths(scale: Scale, random: Random) -> Iterator[float]:
    """Yield how long the database fails, in seconds: first longer than a lease, then also for a moment."""
    for number in range(scale.database_failures):
        yield (
            max(1.4 * scale.lease, random.uniform(0.07, 0.17) * scale.interval)
            if number % 2 == 0
            else random.uniform(3.0, 12.0)
        )
