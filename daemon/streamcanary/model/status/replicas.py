"""The replicas that share a database, as the status page, the API and the readiness check show them."""

from msgspec import Struct


class ReplicaRow(Struct, frozen=True, kw_only=True):
    """A replica that is alive.

    ``generation`` and ``config`` (a digest) say which configuration it has. ``joined`` is in seconds since the epoch,
    by the clock of the database. ``address`` is where its web server listens, empty without one. ``shards`` is the
    number of shards that it owns, ``canaries`` that of the canaries in them. ``standby`` says why it owns nothing new,
    empty if it may.
    """

    name: str
    session: int
    generation: int
    config: str
    joined: float
    address: str = ""
    draining: bool = False
    shards: int = 0
    canaries: int = 0
    owns_alerts: bool = False
    standby: str = ""


class ReplicasStatus(Struct, frozen=True, kw_only=True):
    """What a replica knows about itself and the others.

    ``session`` is ``None`` while it has none: it owns nothing then, and ``problem`` says why. ``valid_for`` is how many
    seconds its leases last if the database does not answer any more. ``standby`` says why it owns nothing new, empty if
    it may. ``replicas`` are those that are alive, the oldest first, as of the last answer of the database.
    ``alerts_owner`` is the name of the one that evaluates rules and sends notifications, empty if there is none.
    ``runs_problem`` says why runs of the others cannot be read, empty if they can; ``alerts_problem`` the same of the
    alerts. ``replicas_as_of`` and ``alerts_as_of`` are when replicas and alerts were read last, in seconds since the
    epoch by the clock of this replica; 0 if they never were.
    """

    name: str
    session: int | None = None
    valid_for: float = 0.0
    shards: int = 0
    owns_alerts: bool = False
    draining: bool = False
    standby: str = ""
    problem: str = ""
    replicas: tuple[ReplicaRow, ...] = ()
    alerts_owner: str = ""
    shards_without_owner: int = 0
    runs_problem: str = ""
    alerts_problem: str = ""
    replicas_as_of: float = 0.0
    alerts_as_of: float = 0.0
