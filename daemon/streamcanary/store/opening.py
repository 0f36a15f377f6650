"""Opens the store that the configuration names."""

from streamcanary.model.clock import Clock
from streamcanary.model.config_types.secret import Secret
from streamcanary.store.backend import Backend
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreUnwritable
from streamcanary.store.postgres import driver
from streamcanary.store.sqlite.backend import SqliteBackend

_TIMEOUT = 10.0  # seconds; longer than a sync of a slow disk, shorter than the acceptable delay of a notification

_RENEWALS_PER_LEASE = 3


def open_store(config: StoreConfig, clock: Clock, *, timeout: float = _TIMEOUT) -> Store:
    """Open or create the store. Blocks: call it before the event loop has work.

    A database that does not work at the moment raises no error here (a full, read-only or failing disk; a server that
    cannot be reached): reads and writes fail while it fails, and each of them tries to open it again. ``timeout`` is
    how many seconds a read or write waits for the database.

    Raises:
        StoreUnwritable: if ``config`` names what cannot hold a store, permissions forbid it, or its driver is missing.
        StoreLocked: if another daemon uses the SQLite file.
        StoreTooNew: if a later version has written the store.
    """
    url = config.database_url
    if url is not None:
        return Store(_open_postgres(url, config, clock, timeout))
    return Store(SqliteBackend.open(config.path, clock, retention=config.keep, timeout=timeout))


def _open_postgres(url: Secret, config: StoreConfig, clock: Clock, timeout: float) -> Backend:
    if not driver.is_installed():
        raise StoreUnwritable(f"store.url: {driver.INSTALL}")
    from streamcanary.store.postgres.backend import PostgresBackend
    from streamcanary.store.postgres.server import Server

    server = Server(url, config.schema_name, timeout)
    urgent_timeout = min(timeout, config.lease / _RENEWALS_PER_LEASE)  # then there is time for another attempt
    return PostgresBackend.open(server, clock, retention=config.keep, urgent_timeout=urgent_timeout)
