"""What this replica owns, as it knows without asking the database: the leases of one session, and until when."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from streamcanary.model.replicas import Membership, Ownership, Replica


class HeldLease(Struct, frozen=True):
    """A resource that this replica owns: its epoch, and since when (monotonic seconds)."""

    epoch: int
    since: float


class HeldLeases:
    """The leases of the session of ``replica``. All times are seconds of the monotonic clock of this replica.

    ``valid_until`` is when they end unless they are renewed. It counts from before a renewal was sent, so that it is
    never later than the time in the database. A resource is ``gaining`` from when it is being taken until its work has
    begun, and ``releasing`` from when its work is to be finished until it is free.
    """

    def __init__(self, replica: Replica, valid_until: float) -> None:
        self.replica = replica
        self.session = replica.session
        self.valid_until = valid_until
        self.leases: dict[str, HeldLease] = {}
        self.gaining: set[str] = set()
        self.releasing: set[str] = set()
        self._not_before: dict[str, float] = {}  # when a resource may be taken again

    def remove(self, resources: Iterable[str]) -> None:
        """Own ``resources`` no longer."""
        for resource in resources:
            self.leases.pop(resource, None)

    def postpone(self, resources: Iterable[str], until: float) -> None:
        """Take ``resources`` no earlier than ``until``."""
        self._not_before |= dict.fromkeys(resources, until)

    @property
    def has_postponed(self) -> bool:
        """Whether there are resources to take later."""
        return bool(self._not_before.keys() - self.leases.keys())

    def taken_by_others(self, membership: Membership, sent: float) -> set[str]:
        """Return what another replica owns, or nobody, by a ``membership`` that was requested at ``sent``.

        Leases that are newer than the request may be missing in its answer.
        """
        return {
            resource
            for resource, lease in self.leases.items()
            if lease.since < sent
            and resource not in self.releasing
            and membership.owners.get(resource) != Ownership(self.session, lease.epoch)
        }

    def to_take(self, assigned: Mapping[str, int], membership: Membership, now: float) -> set[str]:
        """Return what this replica should own and does not, and nobody else does."""
        return {
            resource
            for resource, session in assigned.items()
            if session == self.session
            and resource not in self.leases
            and resource not in self.gaining
            and resource not in self.releasing
            and self._is_free(resource, membership)
            and self._not_before.get(resource, 0.0) <= now
        }

    def waits(self, assigned: Mapping[str, int], membership: Membership) -> bool:
        """Return whether another replica owns what this one should."""
        return any(
            session == self.session and resource not in self.leases and not self._is_free(resource, membership)
            for resource, session in assigned.items()
        )

    def to_release(self, assigned: Mapping[str, int]) -> set[str]:
        """Return what this replica owns, and another one should own."""
        return {
            resource
            for resource in self.leases
            if assigned.get(resource, self.session) != self.session
            and resource not in self.gaining
            and resource not in self.releasing
        }

    def to_release_again(self, assigned: Mapping[str, int], membership: Membership) -> set[str]:
        """Return what this replica does not need, and owns by the database: its release was not confirmed."""
        return {
            resource
            for resource, owner in membership.owners.items()
            if owner.session == self.session
            and resource not in self.leases
            and resource not in self.gaining
            and resource not in self.releasing
            and assigned.get(resource) != self.session
        }

    def _is_free(self, resource: str, membership: Membership) -> bool:
        owner = membership.owners.get(resource)
        return owner is None or owner.session == self.session  # the second: taken, but not confirmed
