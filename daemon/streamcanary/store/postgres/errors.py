"""Distinguishes a database that fails, temporary or permanent, from a configuration error.

While a connection is made, libpq passes on no code, only the message of the server in the language of the server. What
is not recognized counts as temporary: the daemon runs, and tries again.
"""

import re
from typing import Final

import psycopg
from psycopg import errors

from streamcanary.model.redaction.redactor import scrub
from streamcanary.store.errors import StoreFailing, StoreRejected, StoreUnwritable

MIN_VERSION: Final = 14
"""The oldest major version of PostgreSQL that is supported."""

_MAX_MESSAGE_LENGTH = 400
_CONFIG_ERRORS: Final = (
    ("password authentication failed|no password supplied", "correct the user and the password in store.url"),
    (r'role "[^"]*" does not exist', "create the role, or name another user in store.url"),
    (r'database "[^"]*" does not exist', "create it with CREATE DATABASE, or name another one in store.url"),
    ("no pg_hba.conf entry", "allow the connection in pg_hba.conf of the server, or add sslmode=require to store.url"),
    ("permission denied for database", "GRANT CONNECT, CREATE ON DATABASE to the user of store.url"),
    ("does not support SSL, but SSL was required", "remove sslmode from store.url, or enable TLS on the server"),
    (r"bad value for|invalid \S+ value|invalid port", "correct the options in store.url"),
    ("certificate verify failed|root certificate file", "correct sslmode and sslrootcert in store.url"),
)
_TEMPORARY_ERRORS: Final = (
    (
        "too many clients|remaining connection slots|too many connections",
        "raise max_connections of the server; each daemon needs four",
    ),
    (
        "session is read-only|read-only transaction|is in hot standby|recovery is in progress",
        "it is a standby, or default_transaction_read_only is on: name the primary in store.url",
    ),
    ("could not translate host name|resolve host", "correct the host in store.url, or its DNS record"),
    ("connection refused", "start the server, or correct host and port in store.url"),
)
_SERVER_CODES: Final = (  # classes, and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
    "25006",  # read-only transaction
    "08",  # connection
    "53",  # insufficient resources: disk full, out of memory
    "57",  # operator intervention, timeouts
    "58",  # system error
    "XX",  # internal error, corruption
)


_VALUE_CODES: Final = (  # the same values are rejected again
    "22",  # data exception: out of range, invalid
    "23",  # constraint violation
    "54",  # program limit exceeded: an index entry that is too large
)


def check_server_version(version: int, location: str) -> None:
    """Check the version number of the server, such as 150017 for 15.17.

    Raises:
        StoreUnwritable: if it is too old.
    """
    if version < MIN_VERSION * 10_000:
        found = f"{version // 10_000}.{version % 10_000}" if version >= 100_000 else f"{version // 10_000}"
        raise StoreUnwritable(
            f"the store {location} is in PostgreSQL {found}, which is too old: use PostgreSQL {MIN_VERSION} or later"
        )


def opening_error(error: psycopg.Error, location: str, schema: str) -> StoreFailing | StoreUnwritable:
    """Return the error to raise for ``error``, which connecting to the database or preparing it raised."""
    message = one_line(error)
    if isinstance(error, errors.InsufficientPrivilege):
        hint = f'GRANT CREATE ON DATABASE, or USAGE and CREATE ON SCHEMA "{schema}" and rights on its tables'
        return StoreUnwritable(f"the store {location} cannot be opened: {message}; {hint}, to the user of store.url")
    for pattern, hint in _CONFIG_ERRORS:
        if re.search(pattern, message, re.IGNORECASE):
            return StoreUnwritable(f"the store {location} cannot be opened: {message}; {hint}")
    return failing("opened", error, location)


def failing(action: str, error: BaseException | None, location: str) -> StoreFailing:
    """Return the error for the callers whose call the database could not handle; ``action`` is a participle."""
    message = one_line(error)
    hints = [hint for pattern, hint in _TEMPORARY_ERRORS if re.search(pattern, message, re.IGNORECASE)]
    failure = StoreFailing("; ".join((f"the store {location} cannot be {action}: {message}", *hints[:1])))
    failure.__cause__ = error
    return failure


def one_line(error: BaseException | None) -> str:
    """Return the message of an error in one line, without what the server says about the statement."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    message = " ".join((primary or str(error) or type(error).__name__).split()).removeprefix("connection failed: ")
    return scrub(message, limit=_MAX_MESSAGE_LENGTH)


def is_server_error(error: BaseException | None) -> bool:
    """Return whether the server fails, and not the statement. The next connection may be to another server.

    After a failover, the former primary is read-only.
    """
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:  # from the driver: no connection
        return True
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_SERVER_CODES)


def is_rejection(error: BaseException | None) -> bool:
    """Return whether ``error`` is about the values of a write, which the server or the driver rejects."""
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return True  # from the driver
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_VALUE_CODES)


def rejection(error: BaseException | None, location: str) -> StoreRejected | None:
    """Return the error to raise if ``error`` is about the values of a write, and ``None`` if it is not."""
    if not is_rejection(error):
        return None
    rejected = StoreRejected(f"the store {location} rejects the values of a write: {one_line(error)}")
    rejected.__cause__ = error
    return rejected
