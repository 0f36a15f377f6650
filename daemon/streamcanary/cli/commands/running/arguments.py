"""The arguments of the verbs ``run``, ``demo``, ``simulate``, ``migrate-store``."""

import argparse
from pathlib import Path

from streamcanary.cli.verb import Verb, add_config_option


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    parser.add_argument(
        "--reload-interval",
        default="5s",
        metavar="TIME",
        help="Reload the configuration when the content of its file is another one, and look at it at this interval. "
        "0 does not watch it. Default: 5s.",
    )
    parser.add_argument(
        "--keep-running",
        action="store_true",
        help="If the configuration, a secret or the store cannot be used at the start, try again instead of exiting: "
        "for a sidecar, whose exit would make its pod unready.",
    )
    _add_logging_options(parser)


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--loop", action="store_true", help="Repeat the outage until Ctrl-C.")
    parser.add_argument(
        "--once", action="store_true", help="End after one outage, as by default, and print a JSON summary to stdout."
    )


def _add_simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=9466, help="Port; 0 selects a free one. Default: %(default)s.")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="Timeline of faults, YAML.")


def _add_migrate_store_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(
        parser,
        required=False,
        help="Configuration file, YAML: its store is the one that is not given by --from or --to.",
    )
    parser.add_argument(
        "--from", dest="source", metavar="DATABASE", help="Store to read: a file of SQLite, or a URL of PostgreSQL."
    )
    parser.add_argument(
        "--to",
        dest="target",
        metavar="DATABASE",
        help="Store to write: a file or a URL. It is created, or empty.",
    )


def _add_logging_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--log-format",
        choices=("auto", "json", "console"),
        default="auto",
        help="Log format; auto is JSON, or the live view on a terminal.",
    )


VERBS = (
    Verb(
        name="run",
        module="streamcanary.cli.commands.running.run",
        help="Run the daemon",
        description="Run the daemon until SIGTERM or SIGINT. SIGHUP reloads the configuration.",
        examples=("streamcanary run -c config/streamcanary.yaml",),
        add_arguments=_add_run_arguments,
        runs_until_stopped=True,
    ),
    Verb(
        name="demo",
        module="streamcanary.cli.commands.running.demo",
        help="Show an outage: provider, daemon and receiver in one process",
        description="Run the daemon against a simulated provider that fails and recovers, print what happens and the "
        "address of the status page, and end after one outage, in about a minute. Needs no key, no account and no "
        "network.",
        examples=("streamcanary demo", "streamcanary demo --loop"),
        add_arguments=_add_demo_arguments,
        runs_until_stopped=True,
    ),
    Verb(
        name="simulate",
        module="streamcanary.cli.commands.running.simulate",
        help="Run the provider simulator",
        description="Serve an OpenAI-compatible provider on loopback. The name of the model selects the fault (sim-ok, "
        "sim-cut, sim-500@2, sim-stall%30). GET /v1/models lists the models, GET /_requests the requests.",
        examples=(
            "streamcanary simulate --port 9466",
            "streamcanary simulate --timeline game-day.yaml",
        ),
        add_arguments=_add_simulate_arguments,
        runs_until_stopped=True,
    ),
    Verb(
        name="migrate-store",
        module="streamcanary.cli.commands.running.migrate_store",
        help="Copy the store to another database",
        description="Copy the store between a file of SQLite and PostgreSQL, in either direction: alerts with their "
        "notifications and silences, runs, rollups, spend, and what was learned. Stop the daemon before. All of it is "
        "copied or nothing, so that a copy that was interrupted can be made again; the source stays as it is. The exit "
        "code is 1 if damaged rows were left out, and 2 if nothing was copied.",
        examples=(
            "streamcanary migrate-store -c new.yaml --from /var/lib/streamcanary/streamcanary.db",
            "streamcanary migrate-store -c streamcanary.yaml --to /var/lib/streamcanary/streamcanary.db",
        ),
        add_arguments=_add_migrate_store_arguments,
    ),
)
