"""The replicas of a daemon that share a database: who owns what, and what is lost when one is gone."""

from streamcanary.model import names
from streamcanary.model.replicas import SHARDS

from .metrics import RANGE, increase, quantile, series
from .panels import BAD, GOOD, MANY, WARNING, lines, number, query, stacked_bars, states

_NONE = "no shared store"
_INSTANCE = "{{instance}}"
_RENEWAL = ((None, GOOD), (1, WARNING), (5, BAD))
"""Seconds; by default a lease lasts for 15 s, and is renewed every 5 s."""


def _of_replicas(metric: names.Metric) -> str:
    """Return a gauge of each replica, by job and instance."""
    return f"max by (job, instance) ({series(metric, selector='')})"


def _smallest(metric: names.Metric) -> str:
    """Return the sum over the replicas of an installation, of the one with the smallest."""
    return f"min(sum by (job) ({series(metric, selector='')}))"


PANELS = (
    number("Replicas", "Daemons with a shared store.", f"count({_of_replicas(names.REPLICA_SHARDS)})", none=_NONE),
    number(
        "Owned shards",
        f"Shards of canaries that have an owner, of the job with the fewest. All are {SHARDS}; the canaries of another "
        "one do not run.",
        _smallest(names.REPLICA_SHARDS),
        steps=((None, BAD), (SHARDS, GOOD), (SHARDS + 1, WARNING)),
        none=_NONE,
    ),
    number(
        "Owners of alerts",
        "Replicas that evaluate rules and send notifications, of the job with the fewest: one, and none for the "
        "seconds of a takeover.",
        _smallest(names.REPLICA_ALERTS_OWNER),
        steps=((None, BAD), (1, GOOD), (2, WARNING)),
        none=_NONE,
    ),
    number(
        "Standby",
        "Replicas that own nothing, because another configuration is the current one.",
        f"sum({_of_replicas(names.REPLICA_STANDBY)})",
        steps=((None, GOOD), (1, WARNING)),
        none=_NONE,
    ),
    number(
        "Lost leases",
        "Leases in the time range that were lost, and not handed over: the database did not answer, or a process was "
        "paused.",
        increase(names.REPLICA_LEASES_LOST, "", within=RANGE, selector=""),
        steps=MANY,
        none=_NONE,
    ),
    number(
        "Dropped runs",
        "Runs in the time range that ended and were not recorded.",
        increase(names.RUNS_DROPPED, "", within=RANGE, selector=""),
        steps=MANY,
        none=_NONE,
    ),
    lines(
        "Shards by replica",
        f"How many of the {SHARDS} shards each replica owns.",
        query(_of_replicas(names.REPLICA_SHARDS), _INSTANCE),
    ),
    lines(
        "Waiting runs",
        "Runs and silences of all replicas that the owner of the alerts has not evaluated. It keeps up while this "
        "falls to 0 within a second.",
        query(_of_replicas(names.REPLICA_PENDING_INPUTS), _INSTANCE),
    ),
    states(
        "Owner of the alerts",
        "Which replica has evaluated rules and sent notifications, and when.",
        query(_of_replicas(names.REPLICA_ALERTS_OWNER), _INSTANCE),
        unit="short",
        steps=((None, "gray"), (1, GOOD)),
        width=12,
        height=5,
    ),
    states(
        "Standby",
        "When a replica owned nothing, because another configuration was the current one.",
        query(_of_replicas(names.REPLICA_STANDBY), _INSTANCE),
        unit="short",
        steps=((None, GOOD), (1, WARNING)),
        width=12,
        height=5,
    ),
    stacked_bars(
        "Takeovers by reason",
        "Shards and alerts that a replica has taken: they were free, handed over by another replica, or its lease "
        "had expired.",
        query(increase(names.REPLICA_TAKEOVERS, "reason", selector=""), "{{reason}}"),
    ),
    stacked_bars(
        "Lost leases and dropped runs by reason",
        "What a replica lost without a handover, and the runs that were not recorded for this or another reason.",
        query(increase(names.REPLICA_LEASES_LOST, "reason", selector=""), "leases: {{reason}}"),
        query(increase(names.RUNS_DROPPED, "reason", selector=""), "runs: {{reason}}"),
    ),
    lines(
        "Renewal of leases",
        "Time that the database took to renew the leases of a replica.",
        query(quantile(0.5, names.REPLICA_RENEWAL_DURATION, selector=""), "median"),
        query(quantile(0.99, names.REPLICA_RENEWAL_DURATION, selector=""), "99 %"),
        unit="s",
        steps=_RENEWAL,
        width=24,
    ),
)
