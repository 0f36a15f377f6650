"""The ``store:`` section."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.config_types.duration import Duration, PositiveDuration
from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.store.postgres import driver
from streamcanary.store.postgres.url import EXAMPLE, check_url, is_url, public_location

DEFAULT_SCHEMA: Final = "streamcanary"


def _check_schema(name: str) -> str:
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError("is a schema of PostgreSQL itself; choose another name")
    return name


def _check_replica(name: str) -> str:
    if not name.isprintable():
        raise ValueError("has a character that cannot be printed")
    return name


def _check_url(url: Secret) -> Secret:
    if url.path is None:
        check_url(url.reveal())
    return url


class StoreConfig(BaseModel):
    """Where the database is, and how long ended runs are kept (``keep``, in seconds, default 7 days).

    By default it is the SQLite file ``path``, which one daemon uses. With ``url`` (or ``url_file``, which is read again
    for each new connection) it is PostgreSQL, which many replicas of one configuration share: they divide the canaries
    among them. It needs PostgreSQL 14 or later and the extra ``streamcanary[postgres]``.

    The other settings need ``url``. The tables are in ``schema``, which is created. ``lease`` is how long after the
    last sign of a replica others take over its canaries, 15 s by default. Of two configurations on one database, the
    one with the higher ``generation`` runs. ``replica`` is the name of this replica, by default that of its host, with
    the web port unless it is 9465.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Path("streamcanary.db")
    url: Annotated[Secret, AfterValidator(_check_url), Field(examples=[EXAMPLE])] | None = None
    url_file: Path | None = None
    schema_name: Annotated[
        str, Field(alias="schema", pattern="^[a-z_][a-z0-9_]*$", max_length=63), AfterValidator(_check_schema)
    ] = DEFAULT_SCHEMA
    keep: PositiveDuration = 7 * 86400.0
    generation: Annotated[int, Field(ge=0, lt=2**63)] = 0
    lease: Annotated[Duration, Field(ge=3, le=600)] = 15.0
    replica: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_replica)] | None = None

    @model_validator(mode="after")
    def _check_one_database(self) -> "StoreConfig":
        if self.url is not None and self.url_file is not None:
            raise ValueError("has both url and url_file; remove one")
        if self.is_shared and "path" in self.model_fields_set:
            raise ValueError("has both path and a url; remove path to use PostgreSQL, or the url to use the file")
        return self

    def at(self, database: str | None) -> "StoreConfig":
        """Return the configuration of another ``database``, a path or a URL, with the same schema; of this if ``None``.

        Raises:
            ValueError: if it is a URL that is not valid.
        """
        if database is None:
            return self
        if not is_url(database):
            return StoreConfig(path=Path(database))
        check_url(database)
        return StoreConfig.model_validate({"url": Secret(database), "schema": self.schema_name})

    @property
    def is_shared(self) -> bool:
        """Whether the store is in PostgreSQL, which several replicas can share."""
        return self.url is not None or self.url_file is not None

    @property
    def location(self) -> str:
        """The path, or the URL without user, password and options, for messages."""
        url = self.database_url
        return str(self.path) if url is None else public_location(url.reveal())

    @property
    def database_url(self) -> Secret | None:
        """The URL from ``url`` or ``url_file``; ``None`` if the store is a file."""
        return Secret(path=self.url_file) if self.url_file else self.url


def store_config_errors(config: StoreConfig) -> Iterator[ConfigIssue]:
    """Yield the config errors of a ``store`` that is valid by itself: its driver, and the file of its URL."""
    if not config.is_shared:
        return
    key = "url" if config.url is not None else "url_file"
    if not driver.is_installed():
        yield ConfigIssue((key,), driver.INSTALL)
    try:
        if config.database_url is not None:
            url = config.database_url.reveal()
            check_url(url)
            if driver.is_installed():
                driver.check_options(url)
    except (SecretUnreadable, ValueError) as error:
        yield ConfigIssue((key,), str(error))
