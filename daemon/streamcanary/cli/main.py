"""The entry point ``streamcanary VERB``: parses the arguments and imports only the module of the verb."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from streamcanary import __version__
from streamcanary.cli.commands import VERBS
from streamcanary.cli.lazy_sdk_types import import_sdk_types_lazily
from streamcanary.cli.signals import exit_on_signal
from streamcanary.cli.standard_streams import open_standard_streams
from streamcanary.cli.verb import Verb


class _Parser(argparse.ArgumentParser):
    """Repeats no secret of the arguments in an error, such as the password of a URL: stderr may go to a log."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with 2."""
        from streamcanary.model.redaction.redactor import scrub

        super().error(scrub(message))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb in the arguments, and return the exit code.

    Machine-readable output goes to stdout, everything else to stderr. Codes: 0 success, 1 failure, 2 invalid arguments
    or configuration, 130 interrupted.
    """
    open_standard_streams()
    try:
        parser = create_parser()
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow; this exits
            import argcomplete

            argcomplete.autocomplete(parser, always_complete_options="long")
        arguments = parser.parse_args(argv)
        verb = VERBS[arguments.verb]
        _exit_on_signals(verb, arguments)
        import_sdk_types_lazily()
        code: int = import_module(verb.module).main(arguments)
        return code
    finally:
        sys.stdout.flush()  # report a write error here, not in the interpreter at exit


def _exit_on_signals(verb: Verb, arguments: argparse.Namespace) -> None:
    """Let signals end the process, until the verb handles them: there is nothing to shut down before."""
    if not verb.runs_until_stopped:
        exit_on_signal(signal.SIGINT, code=130)
        return
    code_of_stop = 1 if getattr(arguments, "once", False) else 0
    exit_on_signal(signal.SIGINT, signal.SIGTERM, code=code_of_stop)
    if verb.name == "run":  # SIGHUP asks a daemon to reload: it reads its configuration later anyway
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    else:
        exit_on_signal(signal.SIGHUP, code=code_of_stop)


def create_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = _Parser(
        prog="streamcanary",
        description="Scheduled canary streaming calls against LLM endpoints, with typed faults, telemetry and alerts.",
    )
    parser.add_argument("--version", action="version", version=f"streamcanary {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS.values():
        verb.add_to(verbs)
    return parser
