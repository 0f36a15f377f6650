"""``streamcanary VERB``: which verbs there are, and what they take. A verb is imported only when it is used."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from streamcanary import __version__
from streamcanary.cli.signals import exit_on_signal
from streamcanary.cli.standard_streams import open_standard_streams

_LONG_RUNNING_VERBS = ("run", "demo", "simulate")
_CONFIG_HELP = "the configuration, YAML"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name, and return the exit code.

    What a machine reads goes to stdout, everything else to stderr. Codes: 0 done, 1 not as it should be, 2 wrong
    arguments or configuration, 130 interrupted.
    """
    open_standard_streams()
    try:
        arguments = _create_parser().parse_args(argv)
        if (
            arguments.verb in _LONG_RUNNING_VERBS
        ):  # these stop when they are told to; until they listen, there is nothing to stop
            exit_on_signal(signal.SIGINT, signal.SIGTERM, code=1 if getattr(arguments, "once", False) else 0)
        else:
            exit_on_signal(signal.SIGINT, code=130)
        code: int = import_module(f"streamcanary.cli.commands.{arguments.verb.replace('-', '_')}").main(arguments)
        return code
    finally:
        sys.stdout.flush()  # what cannot be written is told here, and not by the interpreter at its end


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamcanary",
        description="Scheduled canary streaming calls against LLM endpoints, with typed faults, telemetry and alerts.",
    )
    parser.add_argument("--version", action="version", version=f"streamcanary {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    run = verbs.add_parser("run", help="the daemon", description="Run the daemon until SIGTERM or SIGINT.")
    run.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    _add_logging_options(run)

    demo = verbs.add_parser(
        "demo",
        help="an outage to look at: provider, daemon and pager in one process",
        description="Run the daemon against a provider that goes bad and recovers, and show what happens. "
        "Needs no key, no account and no network.",
    )
    demo.add_argument("--once", action="store_true", help="end when the alert is resolved, with a JSON summary")

    probe = verbs.add_parser(
        "probe",
        help="one run now",
        description="Run canaries of a configuration once, or ask any endpoint: tokens as they come, then attempts "
        "and timings. Exit code 0 if all were ok or slow, 1 if not, 2 if the configuration is bad.",
    )
    probe.add_argument("canaries", nargs="*", metavar="CANARY", help="names from the configuration; default: all")
    probe.add_argument("-c", "--config", type=Path, metavar="FILE", help=_CONFIG_HELP)
    probe.add_argument("--base-url", metavar="URL", help="an endpoint, such as https://api.openai.com/v1")
    probe.add_argument("--model", metavar="NAME", help="the model to ask there")
    probe.add_argument("--prompt", metavar="TEXT", help="what to ask it; by default for the word pong")
    probe.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="where its key is; by default in OPENAI_API_KEY"
    )
    probe.add_argument(
        "--diagnose",
        action="store_true",
        help="before each run, show how far the way to the endpoint holds: key, address, DNS, TCP, proxy, TLS, "
        "GET /models, model; the run and the exit code are the same as without",
    )
    probe.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a run on stdout, and nothing else; with --diagnose, before each a line "
        '{"canary": ..., "diagnosis": ...}',
    )

    check = verbs.add_parser(
        "check",
        help="validate a configuration",
        description="Validate a configuration and print what it watches and what its rules will do: how soon each sees "
        "an outage, how often it pages for nothing, when it resolves. Exit code 2 if it is bad.",
    )
    check.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    check.add_argument(
        "--base-rate",
        default="2%",
        metavar="RATE",
        help="the part of runs that fail while nothing is wrong, at which false pages are counted, unless the rule "
        "itself says what is normal; default: 2%%",
    )

    check.add_argument("--all", action="store_true", help="list all canaries, and not the first fifty")

    _add_rule_commands(verbs)

    notify = verbs.add_parser(
        "notify",
        help="a test page and its resolve",
        description="Send a test page and its resolve to a receiver, and show what it answers. Exit code 0 if it took "
        "both, 1 if not, 2 if it cannot be told.",
    )
    notify.add_argument("receiver", metavar="RECEIVER", help="a name from the configuration's alerts.receivers")
    notify.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)

    alerts = verbs.add_parser("alerts", help="what fires now", description="Show what a running daemon knows to fire.")
    alerts.add_argument("--json", action="store_true", help="one JSON object on stdout")
    _add_daemon_options(alerts)

    silence = verbs.add_parser(
        "silence",
        help="mute alerts for a while",
        description="Mute the alerts of a running daemon that all matchers match. Who was told that one fires is still "
        "told that it is over; what still fires at the end is told then. Prints the id of the silence.",
    )
    silence.add_argument(
        "match", nargs="+", metavar="MATCHER", help="such as 'canary=\"chat\"' or 'tier=~\"prod|test\"'"
    )
    silence.add_argument("--for", dest="length", required=True, metavar="TIME", help="how long, such as 30m or 2h")
    silence.add_argument("--why", default="", metavar="TEXT", help="the reason, shown to whoever wonders")
    silence.add_argument("--by", default="", metavar="NAME", help="whose silence it is; by default the user's")
    _add_daemon_options(silence)

    unsilence = verbs.add_parser("unsilence", help="end silences", description="End silences before their time.")
    unsilence.add_argument("ids", nargs="+", metavar="ID", help="as silence printed it, and alerts shows it")
    _add_daemon_options(unsilence)

    simulate = verbs.add_parser(
        "simulate",
        help="the misbehaving provider alone",
        description="Serve an OpenAI-compatible provider on loopback that fails as the model's name says (sim-ok, "
        "sim-cut, sim-500@2, sim-stall%%30); GET /v1/models lists them, GET /_requests shows what was asked.",
    )
    simulate.add_argument("--port", type=int, default=9466, help="default: %(default)s; 0 takes any free one")
    simulate.add_argument("--timeline", type=Path, metavar="FILE", help="which fault is played when, YAML")
    return parser


def _add_rule_commands(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add what is done with rules while nobody watches."""
    tests = verbs.add_parser(
        "test-rules",
        help="unit tests for rules",
        description="Run unit tests for rules, in the format of `promtool test rules` with runs for samples. Exit "
        "code 1 if one fails, 2 if a file is bad.",
    )
    tests.add_argument("files", nargs="+", type=Path, metavar="FILE", help="the tests, YAML")

    backtest = verbs.add_parser(
        "backtest",
        help="what recorded runs would have led to",
        description="Replay recorded runs through the rules of a configuration: which alerts would have fired when, "
        "for how long, and which pages each receiver would have got. A daemon may have the database open.",
    )
    backtest.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    backtest.add_argument(
        "--db", type=Path, metavar="FILE", help="the database; by default the configuration's store.path"
    )
    backtest.add_argument(
        "--since",
        metavar="TIME",
        help="report what began then or later, with what went before known: 2027-01-15T08:00:00Z, or 24h for a day ago",
    )
    backtest.add_argument("--until", metavar="TIME", help="runs that started before then")
    backtest.add_argument("--json", action="store_true", help="one JSON object on stdout, and nothing else")

    rules = verbs.add_parser(
        "rules",
        help="the same rules for Prometheus",
        description="Print a rule file for Prometheus over the metrics that the daemon exports. What PromQL cannot say "
        "is an alert on what the daemon itself says.",
    )
    rules.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)


def _add_daemon_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default="http://127.0.0.1:9465", metavar="URL", help="the daemon; default: %(default)s"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="where its token is; by default in STREAMCANARY_TOKEN"
    )


def _add_logging_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--log-format", choices=("auto", "json", "console"), default="auto", help="auto: JSON unless on a terminal"
    )
