"""Parses the options of ``rules --fleet``: those about the members of a fleet, and those about vantage points."""

import argparse
import re
from collections.abc import Iterator
from typing import Final

from streamcanary.alerting.prometheus import fleet_rules, vantage_queries
from streamcanary.alerting.prometheus.fleet_rules import FleetRuleOptions
from streamcanary.alerting.prometheus.vantage_queries import (
    CANARY_IDENTITY,
    DEPLOYMENT_LABELS,
    MAX_INTERVAL,
    VantageRuleOptions,
)
from streamcanary.model import names
from streamcanary.model.alerts.matcher import Matcher
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import parse_fraction
from streamcanary.settings import Settings

_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_MAX_VANTAGE_POINTS: Final = 1000
_OPTIONS: Final = ("vantage", "at_least", "of", "ignoring", "by", "match", "threshold")
_VANTAGE_OPTIONS: Final = _OPTIONS[:4]
_TAKEN_LABELS: Final = frozenset(
    {*CANARY_IDENTITY, "alertname", names.SEVERITY, "rule", names.OUTCOME, names.BLAME, "error_type"}
)


def check_needs_fleet(arguments: argparse.Namespace) -> None:
    """Reject options that need ``--fleet`` if it is missing.

    Raises:
        ValueError: with the options.
    """
    if not arguments.fleet and (given := [_flag(name) for name in _OPTIONS if _is_given(arguments, name)]):
        raise ValueError(f"{', '.join(given)} {'needs' if len(given) == 1 else 'need'} --fleet")


def parse_fleet_options(arguments: argparse.Namespace, settings: Settings) -> FleetRuleOptions | VantageRuleOptions:
    """Return the options of the rules that ``--fleet`` selects for a configuration.

    An option about vantage points selects the rules about these, and so does a configuration with a region and without
    a fleet.

    Raises:
        ValueError: if an option is invalid, or the configuration has neither fleet nor region.
    """
    is_about_vantage_points = any(_is_given(arguments, name) for name in _VANTAGE_OPTIONS) or (
        settings.fleet is None and settings.region is not None
    )
    if is_about_vantage_points:
        return _vantage_options(arguments, settings)
    if settings.fleet is None:
        raise ValueError(
            "--fleet: the configuration has no fleet and no region; add fleet: {replicas: 100, member: NAME} for "
            "members that share a schedule, or region: NAME for daemons in several regions (or --vantage LABEL, if "
            "Prometheus adds the label)"
        )
    return FleetRuleOptions(
        by=_labels("--by", arguments.by),
        match=tuple(map(Matcher.parse, arguments.match)),
        threshold=_threshold(arguments, fleet_rules.DEFAULT_THRESHOLD),
    )


def notes(options: FleetRuleOptions | VantageRuleOptions | None, settings: Settings) -> Iterator[str]:
    """Yield notes about valid options that may not be what is meant; ``None``: the rules of one daemon."""
    if options is None:
        if settings.fleet is not None:
            yield "these rules are about each member; --fleet prints those about all"
        elif settings.region is not None:
            yield "these rules are about each region; --fleet prints those about all"
        return
    if isinstance(options, FleetRuleOptions):
        if settings.region is not None and not options.by:
            yield (
                "these rules count the members of all regions together; --by region divides them, and --vantage "
                "region prints those about regions"
            )
        return
    if options.label == names.REGION_LABEL:
        if settings.region is None:
            yield "the configuration has no region: Prometheus must add the label region to each series"
        elif not settings.telemetry.prometheus:
            yield (
                "over OTLP the region is the attribute cloud.region of the resource: promote it in Prometheus, and use "
                "--vantage cloud_region"
            )
    for name in seldom_canaries(settings):
        yield f"canary {name} is not evaluated: it runs less often than every {format_duration(MAX_INTERVAL)}"


def seldom_canaries(settings: Settings) -> list[str]:
    """Return the canaries that run too seldom for the rules about vantage points."""
    return [canary.name for canary in settings.to_canaries() if canary.interval / settings.replicas > MAX_INTERVAL]


def _vantage_options(arguments: argparse.Namespace, settings: Settings) -> VantageRuleOptions:
    label = _label("--vantage", vantage_queries.DEFAULT_LABEL if arguments.vantage is None else arguments.vantage)
    if label in _TAKEN_LABELS:
        raise ValueError(f"--vantage: {label} does not say from where a canary runs; write a label such as region")
    by, ignoring = _labels("--by", arguments.by), tuple(dict.fromkeys(arguments.ignoring))
    if label in by:
        raise ValueError(f"--by: {label} is the label of the vantage points; remove it, or write another --vantage")
    for name in ignoring:
        if name not in DEPLOYMENT_LABELS:
            raise ValueError(f"--ignoring: {name!r} is not one of {', '.join(DEPLOYMENT_LABELS)}")
        if name in by:
            raise ValueError(f"--ignoring: {name} is an argument of --by, too; remove one of them")
    at_least, of = _count(arguments, "at_least"), _count(arguments, "of")
    if of is not None and (at_least or vantage_queries.DEFAULT_AT_LEAST) > of:
        default = "" if at_least else f" (the default of --at-least is {vantage_queries.DEFAULT_AT_LEAST})"
        raise ValueError(
            f"--at-least: {at_least or vantage_queries.DEFAULT_AT_LEAST} of {of} vantage points can never fail"
            f"{default}; write --at-least 1 to {of}, or a greater --of"
        )
    canaries = settings.to_canaries()
    if len(seldom_canaries(settings)) == len(canaries):
        raise ValueError(
            f"--fleet: no canary runs often enough to compare vantage points; every must be at most "
            f"{format_duration(MAX_INTERVAL)}"
        )
    return VantageRuleOptions(
        label=label,
        at_least=at_least or vantage_queries.DEFAULT_AT_LEAST,
        of=of,
        by=by,
        ignoring=ignoring,
        match=tuple(map(Matcher.parse, arguments.match)),
        threshold=_threshold(arguments, vantage_queries.DEFAULT_THRESHOLD),
        intervals=tuple(sorted({canary.interval / settings.replicas for canary in canaries})),
    )


def _is_given(arguments: argparse.Namespace, name: str) -> bool:
    return getattr(arguments, name) not in (None, [])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _labels(flag: str, texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_label(flag, text) for text in texts))


def _label(flag: str, text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{flag}: {text!r} is not the name of a label; write letters, digits and _, such as region")
    return text


def _count(arguments: argparse.Namespace, name: str) -> int | None:
    """Return the number of vantage points in an option; ``None`` if it is not given."""
    text = getattr(arguments, name)
    if text is None:
        return None
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= number <= _MAX_VANTAGE_POINTS:
        raise ValueError(f"{_flag(name)}: {text!r} is not a whole number from 1 to {_MAX_VANTAGE_POINTS}")
    return number


def _threshold(arguments: argparse.Namespace, default: float) -> float:
    if arguments.threshold is None:
        return default
    try:
        share = parse_fraction(arguments.threshold)
    except ValueError as error:
        raise ValueError(f"--threshold: {error}") from None
    if not share:
        raise ValueError("--threshold: must be more than 0%")
    return share
