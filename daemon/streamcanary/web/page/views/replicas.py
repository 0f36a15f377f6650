"""The page of the replicas that share a database: who is alive, and who owns what."""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from streamcanary.model.replicas import SHARDS
from streamcanary.model.status.replicas import ReplicaRow, ReplicasStatus
from streamcanary.web.page.text_format import clean, clock_seconds, plural

MAX_SHOWN: Final = 100
_DIGEST = 8  # characters of a digest of the configuration


class ShownReplica(Struct, frozen=True, kw_only=True):
    """A row of the page: a replica with its state as a class and as a word."""

    row: ReplicaRow
    is_self: bool
    state: str
    word: str
    config: str


class ReplicasView(Struct, frozen=True, kw_only=True):
    """What the page of the replicas shows. ``state`` is that of the sentence, a class of the style sheet."""

    state: str
    sentence: str
    detail: str
    rows: tuple[ShownReplica, ...]
    omitted: int
    remarks: tuple[str, ...]


def replicas_view(status: ReplicasStatus) -> ReplicasView:
    """Return what the page shows of ``status``."""
    state, sentence = _sentence(status)
    detail = f"{clean(status.alerts_owner, 60)} evaluates alerts and notifies." if status.alerts_owner else ""
    return ReplicasView(
        state=state,
        sentence=sentence,
        detail=f"{detail} This page is of {clean(status.name, 60)}.".strip(),
        rows=tuple(_shown(row, status) for row in status.replicas[:MAX_SHOWN]),
        omitted=max(0, len(status.replicas) - MAX_SHOWN),
        remarks=replica_remarks(status),
    )


def replica_remarks(status: ReplicasStatus) -> tuple[str, ...]:
    """Return what people have to know about the replica that shows them a page; usually nothing."""
    remarks = []
    if status.session is None:
        reason = f": {clean(status.problem, 200)}" if status.problem else ""
        remarks.append(f"this replica runs no canary{reason}")
    elif status.standby:
        remarks.append(f"this replica stands by: {clean(status.standby, 200)}")
    elif status.problem:
        remarks.append(f"this replica cannot renew its leases: {clean(status.problem, 200)}")
    if status.runs_problem:
        remarks.append(f"runs of other replicas are not shown: {clean(status.runs_problem, 200)}")
    if status.alerts_problem:
        moment = f"those of {clock_seconds(status.alerts_as_of)} UTC" if status.alerts_as_of else "not known"
        remarks.append(f"alerts are {moment}: {clean(status.alerts_problem, 200)}")
    return tuple(remarks)


def replicas_version(status: ReplicasStatus) -> str:
    """Return a hash of what the page shows and may change at any time."""
    content = [status.replicas, status.alerts_owner, status.shards_without_owner, *replica_remarks(status)]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:16]


def _sentence(status: ReplicasStatus) -> tuple[str, str]:
    if not status.replicas:
        return "unknown", "No replica is known yet."
    replicas = plural(len(status.replicas), "replica")
    if status.session is None and status.replicas_as_of:
        return "unknown", f"{replicas}, as of {clock_seconds(status.replicas_as_of)} UTC."
    if status.shards_without_owner >= SHARDS:
        return "failing", f"{replicas}; nobody runs the canaries."
    if status.shards_without_owner:
        part = status.shards_without_owner / SHARDS
        return "degraded", f"{replicas}; the canaries of {part:.0%} of the shards have no replica."
    if not status.alerts_owner:
        return "degraded", f"{replicas}; nobody evaluates alerts."
    verb = "runs" if len(status.replicas) == 1 else "share"
    return "ok", f"{replicas} {verb} all canaries."


def _shown(row: ReplicaRow, status: ReplicasStatus) -> ShownReplica:
    if row.draining:
        state, word = "slow", "leaving"
    elif row.standby:
        state, word = "unknown", "on standby"
    else:
        state, word = "ok", "active"
    return ShownReplica(
        row=row, is_self=row.session == status.session, state=state, word=word, config=row.config[:_DIGEST]
    )
