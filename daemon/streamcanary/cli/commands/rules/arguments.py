"""The arguments of the verbs ``test-rules``, ``backtest``, ``rules``."""

import argparse
from pathlib import Path

from streamcanary.cli.verb import Verb, add_config_option, add_database_option


def _add_test_rules_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Test file, YAML.")


def _add_backtest_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    add_database_option(parser)
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="Start of the report: 2027-01-15T08:00:00Z, or 24h for a day ago. Earlier runs feed the detectors.",
    )
    parser.add_argument("--until", metavar="TIME", help="End of the report: only runs that started before.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")


def _add_rules_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    parser.add_argument(
        "--fleet",
        action="store_true",
        help="Print the rules about all daemons together instead: the members of the fleet in the configuration, or "
        "vantage points such as regions.",
    )
    parser.add_argument(
        "--vantage",
        metavar="LABEL",
        help="With --fleet: the rules about vantage points, which are the values of this label. Default: region, if "
        "the configuration has a region and no fleet.",
    )
    parser.add_argument(
        "--at-least",
        metavar="K",
        help="With --fleet: number of vantage points that must fail until ProviderDown fires. Default: 2.",
    )
    parser.add_argument(
        "--of",
        metavar="N",
        help="With --fleet: number of vantage points that there are; fewer with metrics are a ticket. Default: those "
        "that had metrics in the last week.",
    )
    parser.add_argument(
        "--ignoring",
        action="append",
        default=[],
        metavar="LABEL",
        help="With --fleet: job or namespace, if it differs between the vantage points. Repeatable.",
    )
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="LABEL",
        help="With --fleet: evaluate each value of a label of the metrics by itself, such as cluster. Repeatable.",
    )
    parser.add_argument(
        "--match",
        action="append",
        default=[],
        metavar="MATCHER",
        help="With --fleet: evaluate only metrics with this label, such as 'namespace=\"shop\"'. Repeatable.",
    )
    parser.add_argument(
        "--threshold",
        metavar="SHARE",
        help="With --fleet: share of the members that ran recently, or of the runs of a vantage point, from which it "
        "fails. Default: 50%%.",
    )


VERBS = (
    Verb(
        name="test-rules",
        module="streamcanary.cli.commands.rules.test_rules",
        help="Run unit tests for rules",
        description="Run unit tests for rules, in the format of `promtool test rules` with runs in place of samples. "
        "Exit code 1 if a test fails, 2 if a file is invalid.",
        examples=("streamcanary test-rules config/rules-test.yaml",),
        add_arguments=_add_test_rules_arguments,
    ),
    Verb(
        name="backtest",
        module="streamcanary.cli.commands.rules.backtest",
        help="Replay recorded runs through the rules",
        description="Replay recorded runs through the rules of a configuration. Print the alerts that would have "
        "fired, how soon each rule detected past outages, and the notifications of each receiver. A daemon may have "
        "the database open.",
        examples=("streamcanary backtest -c config/streamcanary.yaml --since 24h",),
        add_arguments=_add_backtest_arguments,
    ),
    Verb(
        name="rules",
        module="streamcanary.cli.commands.rules.rules",
        help="Export the rules for Prometheus",
        description="Print a Prometheus rule file over the metrics of the daemon. A rule that PromQL cannot express "
        "becomes an alert on streamcanary_alert_active, which the daemon exports.",
        examples=(
            "streamcanary rules -c config/streamcanary.yaml > rules.yaml",
            "streamcanary rules -c config/examples/sidecar.yaml --fleet > fleet-rules.yaml",
            "streamcanary rules -c config/examples/regions/streamcanary.yaml --fleet --vantage cloud_region",
        ),
        add_arguments=_add_rules_arguments,
    ),
)
