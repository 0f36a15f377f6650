"""The PostgreSQL of the tests starts, fails on request, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from support.postgresql.cluster import Cluster
from support.programs.program import free_ports
from support.programs.required_tools import require_tool

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.real("postgresql")


def connect(url: str) -> "psycopg.Connection[tuple[int]]":
    """Connect with one statement a transaction."""
    return psycopg.connect(url, autocommit=True)


def numbers(url: str) -> list[int]:
    """Return the rows of the table of :func:`table_of_one`."""
    with connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


def table_of_one(url: str) -> None:
    """Create a table with the row 1."""
    with connect(url) as connection:
        connection.execute("CREATE TABLE numbers (n int)")
        connection.execute("INSERT INTO numbers VALUES (1)")


def test_each_test_has_an_empty_database_that_its_user_owns(postgres_url):
    """The role of the store creates schemas and tables, and is no superuser."""
    with connect(postgres_url) as connection:
        assert [] == connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall()
        connection.execute("CREATE SCHEMA canaries")
        assert ("off",) == connection.execute("SHOW is_superuser").fetchone()
    table_of_one(postgres_url)
    assert [1] == numbers(postgres_url)


def test_a_database_is_dropped_at_its_end_even_if_it_is_in_use(postgresql):
    """An open connection does not keep the database."""
    with postgresql.database() as url:
        connection = connect(url)
    with pytest.raises(psycopg.OperationalError, match="terminating connection"), connection:
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(url)


def test_the_url_has_the_password(postgresql, postgres_url):
    """A client without the password is refused, which a URL of another server would not notice."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(postgres_url.replace("@", "x@"))


def test_a_schema_in_the_url_is_the_search_path(postgresql):
    """Names without a schema are found in that one."""
    with connect(postgresql.url(schema="canaries")) as connection:
        assert ("canaries",) == connection.execute("SHOW search_path").fetchone()


def test_the_server_runs_as_another_user_than_root(postgresql):
    """The server, which refuses to run as root, runs as another user then, and as the user of the tests otherwise."""
    owner = Path(f"/proc/{postgresql.pid}").stat().st_uid
    assert owner != 0
    assert os.geteuid() in (0, owner)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_postgresql_refuses_root(tmp_path):
    """The server itself says so, which is why it runs as another user."""
    refused = subprocess.run(
        [str(require_tool("postgresql")), "-D", str(tmp_path)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (1, True) == (
        refused.returncode,
        '"root" execution of the PostgreSQL server is not permitted' in refused.stderr,
    )


def test_committed_rows_survive_a_restart_and_a_kill(own_postgresql):
    """After SIGKILL the server recovers what was committed, on the same port."""
    with own_postgresql.database() as url:
        table_of_one(url)
        own_postgresql.restart()
        with connect(url) as connection:
            connection.execute("INSERT INTO numbers VALUES (2)")
            own_postgresql.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="Connection refused"):
            connect(url)
        own_postgresql.start()
        assert [1, 2] == numbers(url)


def test_a_stopped_server_is_started_again_to_drop_its_databases(own_postgresql):
    """A test may leave the server stopped."""
    with own_postgresql.database() as url:
        own_postgresql.stop()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(url)


def test_a_read_only_server_refuses_writes_until_it_is_writable(own_postgresql):
    """The error has the SQLSTATE of a standby."""
    with own_postgresql.database() as url:
        table_of_one(url)
        own_postgresql.make_read_only()
        with connect(url) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO numbers VALUES (2)")
        own_postgresql.make_writable()
        with connect(url) as connection:
            connection.execute("INSERT INTO numbers VALUES (3)")
        assert [1, 3] == numbers(url)


def test_a_setting_takes_effect(own_postgresql):
    """With few connections the server refuses one more; the administrator has reserved ones."""
    own_postgresql.set(max_connections=4)
    with connect(own_postgresql.url()), pytest.raises(psycopg.OperationalError, match="slots are reserved"):
        connect(own_postgresql.url())
    assert [("4",)] == own_postgresql.execute("SHOW max_connections")


def test_a_port_in_use_is_replaced_by_another_one(monkeypatch):
    """The server is started again on another port if the first one is in use."""
    [free] = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = iter([[server.getsockname()[1]], [free]])
        monkeypatch.setattr("support.postgresql.cluster.free_ports", lambda _count: next(ports))
        with Cluster() as cluster:
            assert free == cluster.port
            assert [(1,)] == cluster.execute("SELECT 1")


def test_the_folder_and_the_server_are_gone_after_an_exception():
    """Nothing remains of a cluster whose block ends with an exception."""
    cluster = Cluster()
    with pytest.raises(ZeroDivisionError), cluster:
        pid = cluster.pid
        raise ZeroDivisionError
    assert not cluster.folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("paused", [False, True])
def test_the_folder_and_the_server_are_gone_after_the_process_of_the_tests_was_killed(paused):
    """SIGKILL to the process that has started the server ends the server, even if that is paused by SIGSTOP."""
    program = (
        "from support.postgresql.cluster import Cluster\n"
        "with Cluster() as cluster:\n"
        "    print(cluster.pid, cluster.folder, flush=True)\n"
        "    input()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        pid, folder = owner.stdout.readline().split()
        if paused:
            os.kill(int(pid), signal.SIGSTOP)
        owner.kill()
        owner.wait()
        deadline = time.monotonic() + 30
        while Path(folder).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    # A zombie has no executable: what adopts orphans may reap them late, or never.
    assert (False, False) == (Path(folder).exists(), Path(f"/proc/{pid}/exe").exists())
