"""Replicas that share a database, for tests of what is shown of them."""

from collections.abc import Mapping
from typing import Any

from streamcanary.model.status.replicas import ReplicaRow, ReplicasStatus
from support.status.canaries import NOON


def make_row(session: int, name: str, **changes: Any) -> ReplicaRow:
    """Return a replica that joined an hour ago and owns a third of everything."""
    fields = {"generation": 2, "config": "3f9a" * 16, "joined": NOON - 3600, "shards": 170, "canaries": 4}
    return ReplicaRow(session=session, name=name, **{**fields, **changes})


def make_status(**changes: Any) -> ReplicasStatus:
    """Return the status of ``pod-a``, one of three replicas, of which ``pod-b`` evaluates alerts."""
    rows = (make_row(1, "pod-a", address="10.0.0.1:9465"), make_row(2, "pod-b", owns_alerts=True), make_row(3, "pod-c"))
    fields = {
        "name": "pod-a",
        "session": 1,
        "valid_for": 14.0,
        "shards": 170,
        "replicas": rows,
        "alerts_owner": "pod-b",
    }
    return ReplicasStatus(**{**fields, **changes})


class ScenarioReplicas:
    """Replicas with a status, and the owner of each canary."""

    def __init__(self, status: ReplicasStatus | None = None, owners: Mapping[str, str] | None = None) -> None:
        self.shown = status or make_status()
        self.owners = owners or {}

    def status(self) -> ReplicasStatus:
        """Return the status."""
        return self.shown

    def owner_of(self, canary: str) -> str:
        """Return the owner of a canary."""
        return self.owners.get(canary, "")
