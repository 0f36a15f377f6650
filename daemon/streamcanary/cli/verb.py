"""What the command line knows of a verb before its code is imported, and the options that several verbs have.

The ``arguments.py`` of each package of ``commands/`` describes the verbs of that package. It imports nothing but this
module, so that ``--help`` needs no package but argparse.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_HELP = "Configuration file, YAML."

Completer = Callable[..., list[str]]
"""Returns the values that a shell offers for an argument; argcomplete calls it."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb of the command line.

    ``module`` has its function ``main(arguments)``, which returns the exit code. ``examples`` are commands, shown by
    ``--help`` and in the documentation. ``runs_until_stopped``: SIGTERM and SIGHUP end it too, with the exit code 0.
    """

    name: str
    module: str
    help: str
    description: str
    examples: tuple[str, ...]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None
    runs_until_stopped: bool = False

    def add_to(self, verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        """Add the parser of the verb."""
        parser = verbs.add_parser(
            self.name,
            help=self.help,
            description=self.description,
            epilog="\n".join(("example:" if len(self.examples) == 1 else "examples:", *self._indented_examples())),
            formatter_class=_HelpFormatter,
        )
        self.add_arguments(parser)

    def _indented_examples(self) -> list[str]:
        return [f"  {line}" for line in self.examples]


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps the lines of the examples at the end, which may be longer than the terminal is wide."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(("example:", "examples:")):
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def with_completer(action: argparse.Action, completer: Completer) -> None:
    """Let a shell offer what ``completer`` returns as values of an argument."""
    action.completer = completer  # type: ignore[attr-defined] # the attribute that argcomplete reads


def add_config_option(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add ``-c FILE``, which is required unless ``options`` say otherwise."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", **{"required": True, "help": CONFIG_HELP, **options}
    )


def add_database_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--db``."""
    parser.add_argument(
        "--db",
        metavar="DATABASE",
        help="File of SQLite, or URL of PostgreSQL. Default: that of the configuration.",
    )


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """Add the address and the token of a running daemon."""
    parser.add_argument(
        "--url", default="http://127.0.0.1:9465", metavar="URL", help="Address of the daemon. Default: %(default)s."
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="File with the bearer token. Default: the variable STREAMCANARY_TOKEN.",
    )
