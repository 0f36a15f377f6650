"""A throwaway PostgreSQL server in a temporary folder."""

import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from support.postgresql.account import popen_options, readable_copy, server_account
from support.programs.program import free_ports
from support.programs.required_tools import require_tool

if TYPE_CHECKING:
    import psycopg

USER = "streamcanary"
"""The role of the store: it may log in and owns its databases, and nothing else."""

_ADMINISTRATOR = "postgres"
_STARTS = 5
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 15.0

# Data survives the end of a process, and not that of the machine: fsync is off, commits are synchronous.
_SETTINGS = """
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
shared_buffers = 16MB
max_connections = 60
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
lc_messages = 'C'
"""

# Waits for the end of its input, which comes with the end of the process that has started it, however that ends. Then
# it stops the server, if it runs, and removes its folder. The process id counts only if the process works there.
_CLEAN_UP = """\
cat > /dev/null
server=$(sed -n 1p "$1/data/postmaster.pid" 2> /dev/null)
memory=$(sed -n 7p "$1/data/postmaster.pid" 2> /dev/null)
runs() { [ "$(readlink "/proc/$server/cwd" 2> /dev/null)" = "$1/data" ]; }
for signal in QUIT CONT KILL; do
    runs "$1" && kill -s "$signal" "$server"
    for wait in 1 2 3 4 5 6 7 8 9 10; do runs "$1" && sleep 0.2; done
done
[ -z "$memory" ] || ipcrm -m "${memory##* }" 2> /dev/null
rm -rf "$1"
"""


class Cluster:
    """``with Cluster() as cluster``: a PostgreSQL on a free loopback port, until the block ends.

    If the tests run as root, the server runs as another user. When the block ends, or the process of the tests ends in
    any other way, the server is stopped and its folder removed. The port stays the same when the server is started
    again.
    """

    def __init__(self) -> None:
        self.port = 0
        self.folder = Path()
        self._account = server_account()
        self._programs = require_tool("postgresql").parent
        self._password = secrets.token_hex(12)
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def url(
        self, database: str = "postgres", *, schema: str | None = None, user: str = USER, port: int | None = None
    ) -> str:
        """Return the URL of a database; ``schema`` becomes the search path, ``port`` is that of a proxy."""
        query = "?" + urlencode({"options": f"-csearch_path={schema}"}, quote_via=quote) if schema else ""
        return f"postgresql://{user}:{self._password}@127.0.0.1:{port or self.port}/{database}{query}"

    @property
    def dsn(self) -> str:
        """The URL of the database ``postgres`` for the administrator."""
        return self.url(user=_ADMINISTRATOR)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which programs of PostgreSQL connect as the administrator."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": _ADMINISTRATOR,
            "PGPASSWORD": self._password,
            "PGDATABASE": "postgres",
        }

    @property
    def pid(self) -> int:
        """The process id of the server, which is running."""
        assert self._server is not None
        return self._server.pid

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "log").read_text(errors="replace")

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create an empty database, return its URL, and drop it at the end, also if clients are connected."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name} OWNER {USER}")
        try:
            yield self.url(name)
        finally:
            if not self._is_running:
                self.start()
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def back_up(self, url: str) -> None:
        """Make a copy of the database of ``url``, whose clients are disconnected for that, for :meth:`restore`."""
        name = _name_of(url)
        with self._without_clients(name):
            self.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name} OWNER {USER}")

    def restore(self, url: str, *, empty: bool = False) -> None:
        """Replace the database of ``url`` by its copy, or by an empty one; its clients are disconnected."""
        name = _name_of(url)
        if empty:
            self.execute(f"CREATE DATABASE {name}_copy OWNER {USER}")
        with self._without_clients(name):
            self.execute(f"ALTER DATABASE {name} RENAME TO {name}_before")
            self.execute(f"ALTER DATABASE {name}_copy RENAME TO {name}")
        self.execute(f"DROP DATABASE {name}_before WITH (FORCE)")

    @contextmanager
    def _without_clients(self, name: str) -> Iterator[None]:
        """Disconnect the clients of a database, and accept none until the block ends."""
        self.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        while self.execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - a fixed name
        ):
            pass
        yield
        self.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement as administrator in the database ``postgres``, and return its rows."""
        with self._connect() as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server on its port, and wait until it accepts connections."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._try_to_start():
            # After a kill its former processes may still be ending.
            assert time.monotonic() < deadline, f"PostgreSQL did not start:\n{self.log[-2000:]}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server, which ends all connections; nothing committed is lost."""
        if self._server is not None:
            self._server.send_signal(signal.SIGCONT)
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
            self._server = None

    def restart(self) -> None:
        """Stop the server, and start it on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Send SIGKILL to the server and the processes of its connections: the next start recovers from the log."""
        assert self._server is not None
        children = re.findall(r"\d+", Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text())
        self._server.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._server.wait()
        self._server = None

    def set(self, **settings: str | int) -> None:
        """Change settings of the server and restart it, such as ``set(max_connections=10)``."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.restart()

    def make_read_only(self) -> None:
        """Refuse writes from now on, with the error of a standby server."""
        self._reload(default_transaction_read_only="on")

    def make_writable(self) -> None:
        """Accept writes again."""
        self._reload(default_transaction_read_only="off")

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="streamcanary-postgresql-")).resolve()
        self._clean_up = subprocess.Popen(
            ["sh", "-c", _CLEAN_UP, "sh", str(self.folder)], stdin=subprocess.PIPE, start_new_session=True, cwd="/"
        )
        try:
            self._initialise()
            self._start_on_a_free_port()
            self.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{self._password}'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        assert self._clean_up.stdin is not None
        self._clean_up.stdin.close()
        self._clean_up.wait(_STOP_TIMEOUT)

    @property
    def _is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _initialise(self) -> None:
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
            readable_copy(self._programs.parent, self.folder / "installation")
            self._programs = self.folder / "installation" / self._programs.name
        password = self.folder / "password"
        password.write_text(self._password)
        password.chmod(0o644)  # the folder is private
        options = f"-D {self.folder / 'data'} -U {_ADMINISTRATOR} -A scram-sha-256 --pwfile={password}"
        command = [str(self._programs / "initdb"), *options.split(), "--no-sync", "--locale=C", "--encoding=UTF8"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **self._process)
        assert made.returncode == 0, made.stdout + made.stderr
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS)

    @property
    def _process(self) -> dict[str, Any]:
        return {"env": {"PATH": os.environ["PATH"], "TZ": "GMT"}, "cwd": self.folder, **popen_options(self._account)}

    def _start_on_a_free_port(self) -> None:
        """Start on another port if the first was free when it was chosen, and is in use now."""
        for _ in range(_STARTS):
            [self.port] = free_ports(1)
            if self._try_to_start():
                return
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log[-2000:]}")

    def _try_to_start(self) -> bool:
        """Start the server; return ``False`` if it has ended instead of accepting connections."""
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **self._process)
        self._server = server
        deadline = time.monotonic() + _START_TIMEOUT
        while server.poll() is None:
            if self._status_of(server.pid) == "ready":
                return True
            assert time.monotonic() < deadline, f"PostgreSQL is not ready:\n{self.log[-2000:]}"
            time.sleep(0.01)
        self._server = None
        return False

    def _status_of(self, pid: int) -> str:
        """Return the last line of the server's own file, in which it writes its state."""
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        return lines[7].strip() if len(lines) == 8 and lines[0] == str(pid) else ""

    def _reload(self, *, default_transaction_read_only: str) -> None:
        """Change the setting without a restart, and wait until new connections have it."""
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {default_transaction_read_only}")
        self.execute("SELECT pg_reload_conf()")
        query = "SELECT setting FROM pg_file_settings WHERE name = 'default_transaction_read_only' AND applied"
        while (default_transaction_read_only,) not in self.execute(query):
            time.sleep(0.01)

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        import psycopg

        return psycopg.connect(self.dsn, autocommit=True, options="-c default_transaction_read_only=off")


def _name_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
