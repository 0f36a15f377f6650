"""The verb ``migrate-store``: copies the store to another database."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from streamcanary.cli.load_config import UsageError, choose_store, load_config
from streamcanary.cli.table import format_table
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import StoreError
from streamcanary.store.transfer import CopiedTable, copy_store


def main(arguments: argparse.Namespace) -> int:
    """Copy the store; return 0, 1 if damaged rows were left out, or 2 if nothing was copied."""
    try:
        source, target = _stores(arguments)
        copied = copy_store(source, target, SystemClock(), _warn)
    except (UsageError, StoreError, SecretUnreadable) as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    print("\n".join(_lines(source, target, copied)))
    if damaged := sum(table.damaged for table in copied):
        print(f"streamcanary: left out {damaged} damaged rows, which no daemon can read", file=sys.stderr)
        return 1
    return 0


def _warn(text: str) -> None:
    print(f"streamcanary: {text}", file=sys.stderr)


def _stores(arguments: argparse.Namespace) -> tuple[StoreConfig, StoreConfig]:
    """Return the store to read and the one to write."""
    configured = StoreConfig()
    if arguments.config is not None:
        if arguments.source is not None and arguments.target is not None:
            raise UsageError("give two of -c FILE, --from DATABASE and --to DATABASE, and not all three")
        configured = load_config(arguments.config).store
    elif arguments.source is None or arguments.target is None:
        raise UsageError("give --from DATABASE and --to DATABASE, or -c FILE in place of one of them")
    elif arguments.source == arguments.target:
        raise UsageError("--from and --to are the same database; name another one")
    if arguments.source is None and arguments.target is None:
        raise UsageError("give --from DATABASE to copy to the store of the configuration, or --to DATABASE from it")
    source, target = (choose_store(configured, database) for database in (arguments.source, arguments.target))
    if (source.path, source.database_url) == (target.path, target.database_url):
        raise UsageError(f"{source.location} is the store of the configuration, too; name another one")
    return source, target


def _lines(source: StoreConfig, target: StoreConfig, copied: Sequence[CopiedTable]) -> Iterator[str]:
    """Yield what was copied."""
    rows = [("TABLE", "ROWS", "LEFT OUT"), *((table.name, str(table.rows), str(table.damaged)) for table in copied)]
    yield from format_table(rows)
    yield f"copied {source.location} to {target.location}, and verified the number of rows"
