"""Creates the schema of the store, and migrates it: once, however many replicas start at the same time."""

import hashlib
import uuid
from typing import Final

import psycopg
from psycopg import sql

from streamcanary.store import schema_steps
from streamcanary.store.errors import StoreMissing, StoreTooNew, StoreUnwritable
from streamcanary.store.postgres.baseline import CREATE_TABLES
from streamcanary.store.postgres.connection import PostgresConnection, WatchedConnection
from streamcanary.store.postgres.errors import is_server_error, one_line
from streamcanary.store.schema_steps import BASE_VERSION, known_version

_APPLICATION: Final = "streamcanary"
_VERSION_TABLE: Final = """
    CREATE TABLE schema_version (
        application text NOT NULL,
        version integer NOT NULL,
        store_id text NOT NULL        -- a schema that was created again has another one
    )
"""
_SETTINGS: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"  # sees what was committed while it waited for the lock
    " SET LOCAL idle_in_transaction_session_timeout TO 5000"  # ms: a frozen process keeps no lock
)
_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_HAS_RIGHTS: Final = " AND ".join(f"has_table_privilege(oid, '{right}')" for right in _RIGHTS)
_TABLES_WITHOUT_RIGHTS: Final = (
    f"SELECT min(relname::text) FROM pg_catalog.pg_class WHERE NOT ({_HAS_RIGHTS})"  # noqa: S608 - fixed text
    " AND relkind = 'r' AND relnamespace = to_regnamespace(%s)"
)


def open_schema(connection: WatchedConnection, schema: str, location: str) -> str:
    """Create or migrate ``schema`` if need be, and return the id of the store, which a new schema gets.

    Raises:
        StoreTooNew: if a later version has written it.
        StoreUnwritable: if it belongs to another program, the rights on it do not suffice, or the database has another
            encoding than UTF-8.
        psycopg.Error: if it cannot be read or written.
    """
    version, store_id = _stored_version(connection, schema, location)
    if version != known_version():
        with connection.transaction():
            connection.execute(_SETTINGS)
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(schema, "migrate"),))
            version, store_id = _stored_version(connection, schema, location)  # another replica may have migrated it
            if version is None:
                store_id = _create(connection, schema)
            _run_steps(connection, schema, version or BASE_VERSION, location)
    (table,) = connection.execute(_TABLES_WITHOUT_RIGHTS, (f'"{schema}"',)).fetchone() or (None,)
    if table is not None:
        rights = ", ".join(_RIGHTS)
        raise StoreUnwritable(
            f"the store {location} cannot be written: the user of store.url may not write the table {schema}.{table}; "
            f'GRANT {rights} ON ALL TABLES IN SCHEMA "{schema}", or let this user own them'
        )
    return store_id


def check_schema(connection: WatchedConnection, schema: str, location: str) -> str:
    """Check that ``schema`` has the version that this streamcanary reads, and return the id of the store.

    Raises:
        StoreMissing: if there is none.
        StoreTooNew: if a later version has written it.
        StoreUnwritable: if it belongs to another program, or is not migrated yet.
        psycopg.Error: if it cannot be read.
    """
    version, store_id = _stored_version(connection, schema, location)
    if version is None:
        raise StoreMissing(f"{location} has no store in schema {schema}: no daemon has used it as its store")
    if version != known_version():
        raise StoreUnwritable(
            f"the store {location} has schema version {version}, and this streamcanary reads version "
            f"{known_version()}: start its daemon once, which migrates it"
        )
    return store_id


def lock_key(schema: str, purpose: str) -> int:
    """Return the key of the advisory lock for ``purpose``, as PostgreSQL takes it: a signed 64-bit number."""
    digest = hashlib.sha256(f"{_APPLICATION} {purpose} {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _stored_version(connection: WatchedConnection, schema: str, location: str) -> tuple[int | None, str]:
    """Return version and id of the store in ``schema``; ``None`` if it is missing or empty."""
    columns = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE c.relname = 'schema_version' AND a.attname IN ('application',"
        " 'version', 'store_id')) FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'v', 'm', 'p', 'f')",
        (f'"{schema}"',),
    ).fetchone()
    if columns is None or columns[0] == 0:
        return None, ""
    query = sql.SQL("SELECT application, version, store_id FROM {}").format(sql.Identifier(schema, "schema_version"))
    row = connection.execute(query).fetchone() if columns[1] == 3 else None
    if row is None or row[0] != _APPLICATION:
        raise StoreUnwritable(
            f"the schema {schema} of {location} belongs to another program: name another one in store.schema"
        )
    version: int = row[1]
    if version > known_version():
        raise StoreTooNew(
            f"the store {location} has schema version {version}, and this streamcanary supports versions up to "
            f"{known_version()}: run the later streamcanary again, or name another one in store.schema"
        )
    return version, str(row[2])


def _create(connection: WatchedConnection, schema: str) -> str:
    """Create the tables of the first version, and return the id of the store."""
    (encoding,) = connection.execute("SELECT current_setting('server_encoding')").fetchone() or ("",)
    if encoding != "UTF8":
        raise StoreUnwritable(f"store.url: the database has the encoding {encoding}; create one with ENCODING 'UTF8'")
    row = connection.execute("SELECT to_regnamespace(%s) IS NULL", (f'"{schema}"',)).fetchone()
    if row is None or row[0]:  # without IF NOT EXISTS: that needs the right to create one even if it exists
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    _use(connection, schema)
    store_id = uuid.uuid4().hex
    connection.execute(_VERSION_TABLE)
    connection.execute("INSERT INTO schema_version VALUES (%s, %s, %s)", (_APPLICATION, BASE_VERSION, store_id))
    connection.execute(CREATE_TABLES)
    return store_id


def _run_steps(connection: WatchedConnection, schema: str, version: int, location: str) -> None:
    _use(connection, schema)
    try:
        for step in schema_steps.STEPS[version - BASE_VERSION :]:
            if isinstance(step.postgres, str):
                connection.execute(step.postgres.encode())
            else:
                step.postgres(PostgresConnection(connection))
    except psycopg.Error as error:
        if isinstance(error, psycopg.errors.InsufficientPrivilege) or is_server_error(error):
            raise
        raise StoreUnwritable(
            f"the store {location} cannot be migrated from schema version {version} to {known_version()}: "
            f"{one_line(error)}; restore a backup of it, or name another one in store.schema"
        ) from None
    connection.execute("UPDATE schema_version SET version = %s", (known_version(),))


def _use(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> None:
    connection.execute(sql.SQL("SET LOCAL search_path TO {}, pg_temp").format(sql.Identifier(schema)))
