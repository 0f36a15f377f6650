"""Inputs of alerting that replicas have put into a shared database, and that its owner has not evaluated yet."""

from typing import Literal

from msgspec import Struct

InputKind = Literal["run", "silence_created", "silence_deleted", "diagnosis"]
"""What an input is: an outcome, a silence, the id of a deleted silence, or a canary and its diagnosis."""


class PendingInput(Struct, frozen=True):
    """An input in the database. ``value`` is JSON; ``kind`` is an :data:`InputKind`, or one of a later version."""

    id: int
    kind: str
    value: bytes


class AlertProgress(Struct, frozen=True):
    """How far alerting is: the ``revision`` of its state, and the id of the ``first_pending`` input, if there is one.

    The revision grows with each commit that changes more than what changes with each run.
    """

    revision: int
    first_pending: int | None = None


class RejectedRow(Struct, frozen=True):
    """A changed row that the database does not take, and would not take again, because of the ``error``."""

    table: str
    key: str
    error: str


class AlertCommit(Struct, frozen=True):
    """The result of a commit: the ``revision`` of the state in the database, and the rows that are not in it."""

    revision: int
    rejected: tuple[RejectedRow, ...] = ()
