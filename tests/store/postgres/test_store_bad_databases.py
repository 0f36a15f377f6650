"""Databases that cannot hold a store: each with a message that says what, where, and what would be right."""

import re
import socket
from collections.abc import Callable, Iterator

import psycopg
import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreTooNew, StoreUnwritable
from streamcanary.store.postgres.errors import check_server_version
from support.postgresql.cluster import Cluster
from support.store.databases import PostgresDatabase

ROWS = [RowChange("notifications", "a", b"1")]
STRANGER = "stranger"
PASSWORD = "hunter2-of-the-stranger"


def as_user(url: str, user: str, password: str) -> str:
    """Return ``url`` with another user."""
    return re.sub(r"//.*@", f"//{user}:{password}@", url)


def name_of(url: str) -> str:
    """Return the name of the database."""
    return url.rpartition("/")[2]


def run_sql(url: str, *statements: str) -> None:
    """Run statements as the owner of the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def refusal(database: PostgresDatabase, error: type[Exception] = StoreUnwritable) -> str:
    """Return the message of the error with which the store does not open, which has no password."""
    with pytest.raises(error) as raised:
        database.open()
    message = str(raised.value)
    password = database.url.partition("@")[0].rpartition(":")[2]
    assert password not in message
    assert "\n" not in message
    return message


@pytest.fixture
def stranger(postgresql: Cluster, postgres_url: str) -> Iterator[PostgresDatabase]:
    """Provide the database to a user without rights."""
    postgresql.execute(f"CREATE ROLE {STRANGER} LOGIN PASSWORD '{PASSWORD}'")
    yield PostgresDatabase(as_user(postgres_url, STRANGER, PASSWORD))
    postgresql.execute(f"REVOKE ALL ON DATABASE {name_of(postgres_url)} FROM {STRANGER}")
    with psycopg.connect(postgresql.dsn.rpartition("/")[0] + "/" + name_of(postgres_url), autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {STRANGER}".encode())
    postgresql.execute(f"DROP ROLE {STRANGER}")


def test_a_wrong_password(postgres_url: str) -> None:
    """The message names the user."""
    message = refusal(PostgresDatabase(as_user(postgres_url, "streamcanary", "hunter2")))
    assert f"the store postgresql://{postgres_url.partition('@')[2]} cannot be opened: " in message
    assert message.endswith(
        'password authentication failed for user "streamcanary"; correct the user and the password in store.url'
    )


def test_a_missing_database(postgres_url: str) -> None:
    """The message says how to create it."""
    message = refusal(PostgresDatabase(postgres_url + "_missing"))
    assert message.endswith(
        f'database "{name_of(postgres_url)}_missing" does not exist; '
        "create it with CREATE DATABASE, or name another one in store.url"
    )


def test_no_right_to_create_the_schema(stranger: PostgresDatabase) -> None:
    """The message says which right to grant."""
    message = refusal(stranger)
    assert f"permission denied for database {name_of(stranger.url)}; GRANT CREATE ON DATABASE" in message


def test_no_right_to_use_the_schema(store: Store, stranger: PostgresDatabase) -> None:
    """The store of another user."""
    assert store.is_writable()
    assert "permission denied for schema streamcanary; GRANT" in refusal(stranger)


def test_no_right_to_write_the_tables(store: Store, database: PostgresDatabase, stranger: PostgresDatabase) -> None:
    """A user who may only read, as one for reports."""
    assert store.is_writable()
    run_sql(
        database.url,
        f"GRANT USAGE ON SCHEMA streamcanary TO {STRANGER}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA streamcanary TO {STRANGER}",
    )
    assert refusal(stranger).endswith(
        "the user of store.url may not write the table streamcanary.alert_history; GRANT SELECT, INSERT, UPDATE, "
        'DELETE ON ALL TABLES IN SCHEMA "streamcanary", or let this user own them'
    )


async def test_a_schema_that_an_administrator_has_created_is_used(
    database: PostgresDatabase, stranger: PostgresDatabase
) -> None:
    """The user needs no right to create one."""
    run_sql(database.url, "CREATE SCHEMA streamcanary", f"GRANT USAGE, CREATE ON SCHEMA streamcanary TO {STRANGER}")
    store = stranger.open()
    await store.commit(ROWS, [])
    await store.close()


@pytest.mark.parametrize(
    "table",
    [
        "users (name text)",
        "schema_version (version integer)",
        "schema_version (application text, version int, store_id text)",
    ],
)
def test_a_schema_of_another_program(database: PostgresDatabase, table: str) -> None:
    """It stays as it is."""
    run_sql(database.url, "CREATE SCHEMA streamcanary", f"CREATE TABLE streamcanary.{table}")
    message = refusal(database)
    assert message.startswith("the schema streamcanary of postgresql://127.0.0.1:")
    assert message.endswith(" belongs to another program: name another one in store.schema")


def test_a_store_of_a_later_version(database: PostgresDatabase, store: Store) -> None:
    """The message names both versions."""
    assert store.is_writable()
    run_sql(database.url, "UPDATE streamcanary.schema_version SET version = 99")
    message = refusal(database, StoreTooNew)
    assert message.endswith(
        "has schema version 99, and this streamcanary supports versions up to 7: run the later streamcanary again, "
        "or name another one in store.schema"
    )


@pytest.mark.parametrize(("version", "shown"), [(130_022, "13.22"), (90_603, "9")])
def test_a_server_that_is_too_old(version: int, shown: str) -> None:
    """The message names its version and the oldest one that is supported."""
    with pytest.raises(StoreUnwritable) as raised:
        check_server_version(version, "postgresql://h/db")
    expected = f"the store postgresql://h/db is in PostgreSQL {shown}, which is too old: use PostgreSQL 14 or later"
    assert expected == str(raised.value)


def test_the_version_of_the_server_is_checked(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is made on the connection."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 130_022)
    assert "is in PostgreSQL 13.22, which is too old" in refusal(database)


def test_a_database_with_another_encoding(postgresql: Cluster) -> None:
    """Not every text could be stored."""
    postgresql.execute(
        "CREATE DATABASE latin OWNER streamcanary ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    message = refusal(PostgresDatabase(postgresql.url("latin")))
    postgresql.execute("DROP DATABASE latin WITH (FORCE)")
    assert "store.url: the database has the encoding LATIN1; create one with ENCODING 'UTF8'" == message


@pytest.mark.parametrize(
    ("damage", "repair", "expected"),
    [
        (
            "ALTER DATABASE {name} SET default_transaction_read_only = on",
            "ALTER DATABASE {name} RESET default_transaction_read_only",
            "session is read-only; it is a standby, or default_transaction_read_only is on: name the primary in",
        ),
        (
            "ALTER DATABASE {name} CONNECTION LIMIT 0",
            "ALTER DATABASE {name} CONNECTION LIMIT -1",
            "too many connections for database .*; raise max_connections of the server; each daemon needs four",
        ),
    ],
    ids=["read-only", "out of connections"],
)
async def test_a_database_that_does_not_work_for_a_while(
    postgresql: Cluster, database: PostgresDatabase, damage: str, repair: str, expected: str
) -> None:
    """The daemon starts, each call fails with the reason, and calls succeed once the database works."""
    name = name_of(database.url)
    postgresql.execute(damage.format(name=name))
    store = database.open()
    assert (False, False) == (store.is_writable(), await store.probe())
    for call in (lambda: store.commit(ROWS, []), store.load_rows):
        with pytest.raises(StoreFailing, match=expected):
            await call()
    postgresql.execute(repair.format(name=name))
    await store.commit(ROWS, [])
    assert ({"a": b"1"}, True) == ((await store.load_rows())["notifications"], store.is_writable())
    await store.close()


async def test_a_database_that_becomes_read_only(store: Store) -> None:
    """Writes fail, as on a former primary after a failover; a new connection finds the new one."""
    await store.commit(ROWS, [])
    await store.write(
        lambda connection: connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY") and None
    )
    with pytest.raises(StoreFailing, match="cannot execute INSERT in a read-only transaction; it is a standby"):
        await store.commit(ROWS, [])
    assert store.is_writable() is False
    await store.commit(ROWS, [])
    assert store.is_writable() is True


async def test_a_probe_notices_a_read_only_database(store: Store) -> None:
    """Although it changes no row."""
    assert await store.probe() is True
    await store.write(
        lambda connection: connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY") and None
    )
    assert (await store.probe(), await store.probe()) == (False, True)


def closed_port() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"postgresql://u:hunter2@127.0.0.1:{unused.getsockname()[1]}/db"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (closed_port, "[Cc]onnection refused.*; start the server, or correct host and port in store.url"),
        (lambda: "postgresql://u:hunter2@db.invalid/db", "db.invalid.*; correct the host in store.url, or its DNS"),
    ],
    ids=["refused", "unknown host"],
)
async def test_a_server_that_cannot_be_reached(url: Callable[[], str], expected: str) -> None:
    """The daemon starts, and each call fails with the reason."""
    store = PostgresDatabase(url()).open()
    for call in (lambda: store.commit(ROWS, []), store.load_rows):
        with pytest.raises(StoreFailing, match=expected) as raised:
            await call()
        assert "hunter2" not in f"{raised.value!r}{raised.value.__cause__!r}"
    assert await store.probe() is False
    await store.close()
