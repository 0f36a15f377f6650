"""Loads the configuration for a verb and prints its errors."""

import sys
from pathlib import Path

from streamcanary.settings import ConfigInvalid, Settings, load, render
from streamcanary.store.config import StoreConfig


class UsageError(Exception):
    """The arguments or the configuration are invalid. An empty text means that the errors are already printed."""


def load_config(path: Path) -> Settings:
    """Return the configuration at ``path``; if it is invalid, print every error to stderr.

    Raises:
        UsageError: if it is invalid.
    """
    try:
        return load(path)
    except ConfigInvalid as invalid:
        print(render(invalid.problems), file=sys.stderr)
        raise UsageError from None


def choose_store(config: StoreConfig, database: str | None) -> StoreConfig:
    """Return the store in ``database``, a path or a URL of ``--db``; that of the configuration if it is ``None``.

    Raises:
        UsageError: if it is a URL that is not valid.
    """
    try:
        return config.at(database)
    except ValueError as error:
        raise UsageError(f"the URL of the database {error}") from None
