"""Where the database is, and how to connect to it."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from streamcanary.model.config_types.secret import Secret
from streamcanary.store.errors import StoreUnwritable
from streamcanary.store.postgres.connection import TextDumper, WatchedConnection
from streamcanary.store.postgres.errors import check_server_version, one_line
from streamcanary.store.postgres.url import check_url, public_location

_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "streamcanary",
    "connect_timeout": 5,  # seconds
    "gssencmode": "disable",
    "keepalives": 1,
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""Options that a URL can set otherwise: a server that vanishes without a word is noticed within half a minute."""

_SECRET_OPTIONS = ("password", "sslpassword")


class Server(NamedTuple):
    """The database of ``url``, the ``schema`` in it, and how many seconds a call to it may take."""

    url: Secret
    schema: str
    timeout: float

    @property
    def location(self) -> str:
        """The URL without user, password and options; the schema, if it is not the default."""
        try:
            return public_location(self._checked_url())
        except StoreUnwritable:
            return "of store.url"

    def connect(self, is_over: Callable[[], bool], *, is_read_only: bool = False) -> WatchedConnection:
        """Connect in autocommit mode. With several hosts in the URL, those that are read-only are left out.

        With ``is_read_only``, a standby will do.

        Raises:
            psycopg.Error: if the server cannot be reached, or refuses the connection.
            StoreUnwritable: if the URL is not valid, or the server is too old.
            SecretUnreadable: if the file of the URL cannot be read.
        """
        options = self._options()
        if not is_read_only:
            options.setdefault("target_session_attrs", "read-write")
        try:
            connection = WatchedConnection.connect(autocommit=True, **options, client_encoding="UTF8")
        except psycopg.Error as error:
            raise type(error)(hide(str(error), options)) from None
        try:
            check_server_version(connection.info.server_version, self.location)
        except BaseException:
            connection.close()
            raise
        connection.adapters.register_dumper(str, TextDumper)
        connection.is_over = is_over
        return connection

    def _options(self) -> dict[str, Any]:
        url = self._checked_url()
        try:
            return {**_DEFAULTS, **conninfo_to_dict(url)}
        except psycopg.Error as error:  # the message may quote any part of the URL, but for an unknown option only that
            reason = one_line(error) if "query parameter" in str(error) else "it is not a valid URL"
            raise StoreUnwritable(f"store.url: {reason}; see the documentation of libpq for its form") from None

    def _checked_url(self) -> str:
        url = self.url.reveal()
        try:
            check_url(url)
        except ValueError as error:
            raise StoreUnwritable(f"store.url: {error}") from None
        return url


def hide(text: str, options: dict[str, Any]) -> str:
    """Return ``text`` without the passwords in ``options``."""
    for name in _SECRET_OPTIONS:
        if secret := options.get(name):
            text = text.replace(str(secret), "***")
    return text
