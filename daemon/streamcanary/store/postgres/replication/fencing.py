"""Fencing: no commit of a session follows the end of the session.

A commit locks the row of its session (``FOR KEY SHARE``) until it ends. Who ends a session, or takes a resource from
it, locks the row ``FOR UPDATE``: that waits for commits that have begun, and those that begin later find the session
ended. A renewal changes no key, so it waits for no commit. A commit that hangs keeps its session alive until the server
ends its transaction; nobody waits for it meanwhile.

https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-ROWS
"""

from collections.abc import Iterable, Sequence
from typing import Final

from streamcanary.store.connection import Connection
from streamcanary.store.errors import LeaseLost, SessionLost

_SPEND_COLUMNS: Final = ("input_tokens", "output_tokens", "input_usd", "output_usd", "requests")
_FOLD_SPEND: Final = (
    f"INSERT INTO spend (day, {', '.join(_SPEND_COLUMNS)})"  # noqa: S608 - fixed names
    f" SELECT day, {', '.join(f'sum({name})' for name in _SPEND_COLUMNS)} FROM replica_spend"
    " WHERE session = ANY(?) GROUP BY day ORDER BY day ON CONFLICT (day) DO UPDATE SET "
    + ", ".join(f"{name} = spend.{name} + excluded.{name}" for name in _SPEND_COLUMNS)
)


def check_session(connection: Connection, session: int) -> None:
    """Check that ``session`` has not ended, and let nobody end it until the transaction ends.

    Raises:
        SessionLost: if it has ended.
        psycopg.Error: if that cannot be read.
    """
    query = "SELECT 1 FROM replicas WHERE session = ? AND NOT fenced FOR KEY SHARE"
    if connection.execute(query, (session,)).fetchone() is None:
        raise session_lost(session)


def check_owner(connection: Connection, session: int, resource: str, epoch: int) -> None:
    """Check that ``session`` owns ``resource`` with ``epoch``, and let nobody take it until the transaction ends.

    Raises:
        SessionLost: if the session has ended.
        LeaseLost: if the resource has another owner or epoch.
        psycopg.Error: if that cannot be read.
    """
    check_session(connection, session)
    if owned_epochs(connection, session, [resource]).get(resource) != epoch:
        raise LeaseLost(f"session {session} does not own {resource} with epoch {epoch} any more")


def owned_epochs(connection: Connection, session: int, resources: Iterable[str]) -> dict[str, int]:
    """Return the epochs of those of ``resources`` that ``session`` owns.

    Only the session itself changes that, as long as it has not ended; it waits for its commits before it does.

    Raises:
        psycopg.Error: if they cannot be read.
    """
    query = "SELECT resource, epoch FROM leases WHERE session = ? AND resource = ANY(?)"
    return dict(connection.execute(query, (session, list(resources))).fetchall())


def wait_for_commits(connection: Connection, session: int) -> bool:
    """Wait for the commits of ``session`` that have begun, and let others wait; return whether the session exists.

    Raises:
        psycopg.Error: if they take too long.
    """
    query = "SELECT 1 FROM replicas WHERE session = ? FOR UPDATE"
    return connection.execute(query, (session,)).fetchone() is not None


def fence_expired(connection: Connection) -> None:
    """End all sessions that have expired, but for those with a commit that has not ended.

    Raises:
        psycopg.Error: if that fails.
    """
    query = (
        "SELECT session FROM replicas WHERE expires < clock_timestamp() AND NOT fenced"
        " ORDER BY session FOR UPDATE SKIP LOCKED"
    )
    if sessions := [session for (session,) in connection.execute(query).fetchall()]:
        connection.execute("UPDATE replicas SET fenced = true WHERE session = ANY(?)", (sessions,))
        fold_spend(connection, sessions)


def fold_spend(connection: Connection, sessions: Sequence[int]) -> None:
    """Add the spend of ``sessions``, which end in this transaction, to that of the days.

    Raises:
        psycopg.Error: if that fails.
    """
    connection.execute(_FOLD_SPEND, (list(sessions),))
    connection.execute("DELETE FROM replica_spend WHERE session = ANY(?)", (list(sessions),))


def session_lost(session: int) -> SessionLost:
    """Return the error for a session that has ended."""
    return SessionLost(f"session {session} has ended: another replica may own what this one owned")
