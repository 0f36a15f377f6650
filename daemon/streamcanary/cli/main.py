"""The entry point ``streamcanary VERB``: parses the arguments and imports only the module of the verb."""

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
_CONFIG_HELP = "Configuration file, YAML."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb in the arguments, and return the exit code.

    Machine-readable output goes to stdout, everything else to stderr. Codes: 0 success, 1 failure, 2 invalid arguments
    or configuration, 130 interrupted.
    """
    open_standard_streams()
    try:
        arguments = _create_parser().parse_args(argv)
        if arguments.verb in _LONG_RUNNING_VERBS:  # until the verb handles signals, there is nothing to shut down
            code_of_stop = 1 if getattr(arguments, "once", False) else 0
            exit_on_signal(signal.SIGINT, signal.SIGTERM, code=code_of_stop)
            if arguments.verb == "run":  # SIGHUP asks a daemon to reload: it reads its configuration later anyway
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            else:
                exit_on_signal(signal.SIGHUP, code=code_of_stop)
        else:
            exit_on_signal(signal.SIGINT, code=130)
        code: int = import_module(f"streamcanary.cli.commands.{arguments.verb.replace('-', '_')}").main(arguments)
        return code
    finally:
        sys.stdout.flush()  # report a write error here, not in the interpreter at exit


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamcanary",
        description="Scheduled canary streaming calls against LLM endpoints, with typed faults, telemetry and alerts.",
    )
    parser.add_argument("--version", action="version", version=f"streamcanary {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    run = verbs.add_parser(
        "run",
        help="Run the daemon",
        description="Run the daemon until SIGTERM or SIGINT. SIGHUP reloads the configuration.",
    )
    run.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    run.add_argument(
        "--reload-interval",
        default="5s",
        metavar="TIME",
        help="Reload the configuration when the content of its file is another one, and look at it at this interval. "
        "0 does not watch it. Default: 5s.",
    )
    run.add_argument(
        "--keep-running",
        action="store_true",
        help="If the configuration, a secret or the store cannot be used at the start, try again instead of exiting: "
        "for a sidecar, whose exit would make its pod unready.",
    )
    _add_logging_options(run)

    demo = verbs.add_parser(
        "demo",
        help="Show an outage: provider, daemon and receiver in one process",
        description="Run the daemon against a simulated provider that fails and recovers, and print what happens. "
        "Needs no key, no account and no network.",
    )
    demo.add_argument(
        "--once", action="store_true", help="Exit when the alerts are resolved, and print a JSON summary."
    )

    probe = verbs.add_parser(
        "probe",
        help="Run canaries once",
        description="Run canaries of a configuration once, or probe any endpoint. Print the tokens as they arrive, "
        "then attempts and timings. Exit code 0 if all are ok or slow, 1 if not, 2 if the configuration is invalid.",
    )
    probe.add_argument("canaries", nargs="*", metavar="CANARY", help="Names from the configuration. Default: all.")
    probe.add_argument("-c", "--config", type=Path, metavar="FILE", help=_CONFIG_HELP)
    probe.add_argument("--base-url", metavar="URL", help="Address of an endpoint, such as https://api.openai.com/v1.")
    probe.add_argument("--model", metavar="NAME", help="Model of the endpoint.")
    probe.add_argument("--prompt", metavar="TEXT", help="Prompt. By default it asks for the word pong.")
    probe.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="File with the API key. Default: the variable OPENAI_API_KEY."
    )
    probe.add_argument(
        "--diagnose",
        action="store_true",
        help="Before each run, check each step to the endpoint: key, address, DNS, TCP, proxy, TLS, GET /models, "
        "model. The run and the exit code do not change.",
    )
    probe.add_argument(
        "--trace", action="store_true", help="After each run, print its waterfall, as the verb trace does."
    )
    probe.add_argument(
        "--json",
        action="store_true",
        help="Print only one JSON object for each run. With --diagnose, print a line before each: "
        '{"canary": ..., "diagnosis": ...}; with --trace, a line after each: {"run": ..., "root": ...}',
    )

    check = verbs.add_parser(
        "check",
        help="Check a configuration",
        description="Check a configuration. Print its canaries and receivers, and for each rule the detection delay, "
        "the false pages and the time to resolve. Exit code 2 if the configuration is invalid.",
    )
    check.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    check.add_argument(
        "--base-rate",
        default="2%",
        metavar="RATE",
        help="Share of runs that fail without an outage, for the forecast of false pages. A spike rule uses its "
        "normal instead. Default: 2%%.",
    )

    check.add_argument(
        "--enforce-budget",
        action="store_true",
        help="Exit code 1 if the schedule of the canaries needs more than the budget, which otherwise is a warning.",
    )
    check.add_argument("--all", action="store_true", help="List all canaries, not only the first 50.")
    check.add_argument(
        "--shapes",
        action="store_true",
        help="Simulate eight outages, of all canaries or some, sudden, in bursts and slow. Print how soon each rule "
        "detects them, which rule is first, and the false pages of all rules in a year.",
    )
    check.add_argument(
        "--shape",
        action="append",
        metavar="TEXT",
        help="Simulate this outage: RATE, TIME of RATE, TIME of RATE every TIME, or RATE to RATE in TIME; then on all "
        "(default), half, a share such as 25%%, one, one of 8, or one model, target, provider or LABEL. For "
        "example: '60s of 100%% every 5m on half'. Repeatable; with --shapes, besides the eight.",
    )
    check.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="Draw these times as a picture, SVG, to FILE. An existing file is overwritten.",
    )

    _add_rule_commands(verbs)

    dashboard = verbs.add_parser(
        "dashboard",
        help="Print a Grafana dashboard",
        description="Print a Grafana dashboard as JSON, for Grafana's import or provisioning. Without a name, list the "
        "dashboards. Their data source is a Prometheus with the metrics of the daemon, scraped or received over OTLP.",
    )
    dashboard.add_argument("name", nargs="?", metavar="NAME", help="Name of a dashboard, such as overview.")
    dashboard.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="Write NAME.json to a folder instead, or without a name all dashboards.",
    )

    init = verbs.add_parser(
        "init",
        help="Write a first configuration",
        description="Ask for endpoint, model and receiver, and write a configuration that works. Secrets are not asked "
        "for: the file names variables of the environment. Without --online, nothing is sent.",
    )
    init.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("streamcanary.yaml"),
        metavar="FILE",
        help="File to write.",
    )
    init.add_argument(
        "--base-url",
        metavar="URL",
        help="Endpoint: its address, or openai, openrouter, litellm, vllm, ollama or llama-cpp.",
    )
    init.add_argument("--model", metavar="NAME", help="Model of the endpoint.")
    init.add_argument(
        "--receiver",
        metavar="RECEIVER",
        help="Who is notified: pagerduty, slack, webhook, alertmanager=URL,URL or none.",
    )
    init.add_argument(
        "--api-key-file",
        metavar="FILE",
        help="File with the API key, relative to the folder of the configuration. Default: a variable.",
    )
    init.add_argument("--yes", action="store_true", help="Ask nothing; take the defaults for options that are missing.")
    init.add_argument(
        "--online",
        action="store_true",
        help="Then check each step to the endpoint, up to its list of models; a failed one is exit code 1.",
    )
    init.add_argument("--force", action="store_true", help="Overwrite the file if it exists.")

    verbs.add_parser(
        "schema",
        help="Print the JSON Schema of the configuration",
        description="Print the JSON Schema (draft-07) of a configuration file, with which editors complete keys, show "
        "their descriptions and mark errors. check finds more: a schema cannot compare values.",
    )

    notify = verbs.add_parser(
        "notify",
        help="Send a test notification and its resolve",
        description="Send a test notification and its resolve to a receiver, and print the answers. Exit code 0 if the "
        "receiver accepts both, 1 if not, 2 if the receiver cannot be used.",
    )
    notify.add_argument("receiver", metavar="RECEIVER", help="Name of a receiver in alerts.receivers.")
    notify.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)

    alerts = verbs.add_parser(
        "alerts",
        help="List firing alerts",
        description="List the firing alerts of a running daemon, its silences, and the notifications that are not "
        "delivered.",
    )
    alerts.add_argument("--json", action="store_true", help="Print one JSON object.")
    alerts.add_argument("--learned", action="store_true", help="List what rules have learned from recorded runs.")
    _add_daemon_options(alerts)

    trace = verbs.add_parser(
        "trace",
        help="Show a run as a waterfall",
        description="Print a run of a running daemon as a waterfall: its attempts with their phases, the waits between "
        "them, and the faults. The daemon keeps the last good run and the latest failed runs of each canary in memory.",
    )
    trace.add_argument(
        "run",
        metavar="RUN",
        help="Run id or trace id of a run, or the name of a canary: its last failed run.",
    )
    trace.add_argument("--last-ok", action="store_true", help="Print the last good run of the canary.")
    trace.add_argument("--json", action="store_true", help="Print one JSON object, as GET /api/v1/runs/ID returns it.")
    _add_daemon_options(trace)

    silence = verbs.add_parser(
        "silence",
        help="Silence alerts for a time",
        description="Silence the alerts of a running daemon that match all matchers. A receiver that was notified of "
        "an alert still gets its resolve. An alert that fires when the silence ends is sent then. Print the id of the "
        "silence.",
    )
    silence.add_argument(
        "match", nargs="+", metavar="MATCHER", help="Matcher, such as 'canary=\"chat\"' or 'tier=~\"prod|test\"'."
    )
    silence.add_argument("--for", dest="length", required=True, metavar="TIME", help="Duration, such as 30m or 2h.")
    silence.add_argument("--why", default="", metavar="TEXT", help="Reason, shown with the silence.")
    silence.add_argument("--by", default="", metavar="NAME", help="Author of the silence. Default: the current user.")
    _add_daemon_options(silence)

    unsilence = verbs.add_parser(
        "unsilence", help="End silences", description="End silences of a running daemon before they expire."
    )
    unsilence.add_argument("ids", nargs="+", metavar="ID", help="Id of a silence, as printed by silence and alerts.")
    _add_daemon_options(unsilence)

    simulate = verbs.add_parser(
        "simulate",
        help="Run the provider simulator",
        description="Serve an OpenAI-compatible provider on loopback. The name of the model selects the fault (sim-ok, "
        "sim-cut, sim-500@2, sim-stall%%30). GET /v1/models lists the models, GET /_requests the requests.",
    )
    simulate.add_argument("--port", type=int, default=9466, help="Port; 0 selects a free one. Default: %(default)s.")
    simulate.add_argument("--timeline", type=Path, metavar="FILE", help="Timeline of faults, YAML.")
    return parser


def _add_rule_commands(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that test, replay and export rules."""
    tests = verbs.add_parser(
        "test-rules",
        help="Run unit tests for rules",
        description="Run unit tests for rules, in the format of `promtool test rules` with runs in place of samples. "
        "Exit code 1 if a test fails, 2 if a file is invalid.",
    )
    tests.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Test file, YAML.")

    backtest = verbs.add_parser(
        "backtest",
        help="Replay recorded runs through the rules",
        description="Replay recorded runs through the rules of a configuration. Print the alerts that would have "
        "fired, how soon each rule detected past outages, and the notifications of each receiver. A daemon may have "
        "the database open.",
    )
    backtest.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    backtest.add_argument("--db", type=Path, metavar="FILE", help="Database. Default: store.path of the configuration.")
    backtest.add_argument(
        "--since",
        metavar="TIME",
        help="Start of the report: 2027-01-15T08:00:00Z, or 24h for a day ago. Earlier runs feed the detectors.",
    )
    backtest.add_argument("--until", metavar="TIME", help="End of the report: only runs that started before.")
    backtest.add_argument("--json", action="store_true", help="Print one JSON object.")

    rules = verbs.add_parser(
        "rules",
        help="Export the rules for Prometheus",
        description="Print a Prometheus rule file over the metrics of the daemon. A rule that PromQL cannot express "
        "becomes an alert on streamcanary_alert_active, which the daemon exports.",
    )
    rules.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help=_CONFIG_HELP)
    rules.add_argument(
        "--fleet",
        action="store_true",
        help="Print the rules about the fleet of the configuration instead: one alert for all members, if a share of "
        "them fails.",
    )
    rules.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="LABEL",
        help="With --fleet: evaluate each value of a label of the metrics by itself, such as region. Repeatable.",
    )
    rules.add_argument(
        "--match",
        action="append",
        default=[],
        metavar="MATCHER",
        help="With --fleet: evaluate only metrics with this label, such as 'namespace=\"shop\"'. Repeatable.",
    )
    rules.add_argument(
        "--threshold",
        metavar="SHARE",
        help="With --fleet: share of the members, of those that ran recently, from which FleetFailing fires. Default: "
        "50%%.",
    )


def _add_daemon_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default="http://127.0.0.1:9465", metavar="URL", help="Address of the daemon. Default: %(default)s."
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="File with the bearer token. Default: the variable STREAMCANARY_TOKEN.",
    )


def _add_logging_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--log-format",
        choices=("auto", "json", "console"),
        default="auto",
        help="Log format; auto is JSON unless stderr is a terminal.",
    )
