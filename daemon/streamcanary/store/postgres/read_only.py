"""Reads the schema of the store in another process than the daemon."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.store.connection import ReadOnlyDatabase
from streamcanary.store.errors import RunsUnreadable, StoreError
from streamcanary.store.postgres.connection import PostgresConnection
from streamcanary.store.postgres.errors import opening_error
from streamcanary.store.postgres.migrations import check_schema
from streamcanary.store.postgres.server import Server
from streamcanary.store.postgres.transactions import READ, begin_statements


@contextmanager
def read_only_schema(server: Server) -> Iterator[ReadOnlyDatabase]:
    """Open the schema for the time of a ``with`` block, in one snapshot. A standby will do.

    Raises:
        StoreMissing: if there is no store in the schema.
        RunsUnreadable: if the server cannot be reached or refuses the connection, or the store has another version or
            belongs to another program; if a statement within the block fails.
    """
    try:
        with closing(server.connect(lambda: False, is_read_only=True)) as connection:
            check_schema(connection, server.schema, server.location)
            connection.execute(begin_statements(server, READ, max_idle=0).encode())
            names = connection.execute(
                "SELECT relname::text FROM pg_catalog.pg_class WHERE relkind = 'r'"
                " AND relnamespace = to_regnamespace(%s)",
                (f'"{server.schema}"',),
            ).fetchall()
            yield ReadOnlyDatabase(PostgresConnection(connection), frozenset(name for (name,) in names))
    except RunsUnreadable:
        raise
    except (StoreError, SecretUnreadable) as error:
        raise RunsUnreadable(str(error)) from None
    except psycopg.Error as error:
        raise RunsUnreadable(str(opening_error(error, server.location, server.schema))) from None
