"""The verb ``rules``: prints the rules of a configuration, or those about its fleet, as a Prometheus rule file."""

import argparse
import re
import sys

from streamcanary.alerting.prometheus.fleet_rules import DEFAULT_THRESHOLD, FleetRuleOptions, export_fleet_rules
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.cli.load_config import UsageError, load_config
from streamcanary.model.alerts.matcher import Matcher
from streamcanary.model.config_types.fraction import parse_fraction

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def main(arguments: argparse.Namespace) -> int:
    """Print the rule file; return 0, or 2 if the configuration or an argument is invalid."""
    try:
        options = _fleet_options(arguments)
        settings = load_config(arguments.config)
    except UsageError:
        return 2
    if options is None:
        if settings.fleet is not None:
            print("streamcanary: these rules are about each member; --fleet prints those about all", file=sys.stderr)
        sys.stdout.write(export_rules(settings.alerts, settings.instance, settings.to_canaries()))
        return 0
    if settings.fleet is None:
        return _fail("--fleet: the configuration has no fleet; add one, such as fleet: {replicas: 100, member: NAME}")
    sys.stdout.write(export_fleet_rules(options))
    return 0


def _fleet_options(arguments: argparse.Namespace) -> FleetRuleOptions | None:
    """Return the options of the rules about a fleet; ``None`` without ``--fleet``.

    Raises:
        UsageError: if they are invalid; the reason is printed.
    """
    if not arguments.fleet:
        if arguments.by or arguments.match or arguments.threshold is not None:
            _fail("--by, --match and --threshold need --fleet")
            raise UsageError
        return None
    try:
        return FleetRuleOptions(
            by=tuple(dict.fromkeys(map(_parse_label, arguments.by))),
            match=tuple(map(Matcher.parse, arguments.match)),
            threshold=DEFAULT_THRESHOLD if arguments.threshold is None else _parse_threshold(arguments.threshold),
        )
    except ValueError as error:
        _fail(str(error))
        raise UsageError from None


def _parse_label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f"--by: {text!r} is not the name of a label")
    return text


def _parse_threshold(text: str) -> float:
    try:
        share = parse_fraction(text)
    except ValueError as error:
        raise ValueError(f"--threshold: {error}") from None
    if not share:
        raise ValueError("--threshold: must be more than 0%")
    return share


def _fail(message: str) -> int:
    print(f"streamcanary rules: {message}", file=sys.stderr)
    return 2
