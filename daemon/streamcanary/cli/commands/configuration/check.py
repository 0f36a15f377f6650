"""The verb ``check``: validates a configuration and prints canaries, receivers, forecasts of rules and warnings."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from streamcanary.alerting.builtin_rules import DAEMON_RULES
from streamcanary.alerting.detectors.false_pages import FalsePages
from streamcanary.alerting.forecast import (
    ERROR_RATES,
    MONTH_SECONDS,
    STEADY_RATES,
    NoDataDelay,
    RuleBaseline,
    RuleForecast,
    always_firing_warnings,
    baseline_warnings,
    detector_warnings,
    format_pages,
    model_change_canaries,
    no_data_delays,
    rule_forecasts,
)
from streamcanary.alerting.forecast.shapes import forecast_shapes
from streamcanary.alerting.forecast.shift_forecast import shift_forecasts
from streamcanary.alerting.lint.matchers import join_names
from streamcanary.alerting.lint.paging import receiver_warnings, unpaged_alert_warnings
from streamcanary.alerting.prometheus.fleet_rules import detection_delay
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import ScopeValue, alert_labels, left_out, scope_values
from streamcanary.canary.scheduling.run_slots import run_limits
from streamcanary.canary.spend.budget import SLOWDOWN_THRESHOLD, BudgetConfig
from streamcanary.canary.spend.guard import ExpectedSpend, expected_spend, prices_by_canary
from streamcanary.cli.load_config import UsageError, load_config
from streamcanary.cli.metric_series_estimate import estimate_reduced_series, estimate_series, max_series
from streamcanary.cli.recorded_baselines import RecordedBaselines, baseline_lines, read_baselines, shift_lines
from streamcanary.cli.shapes.options import check_scopes, requested_shapes, write_plot
from streamcanary.cli.shapes.plot import draw_shapes
from streamcanary.cli.shapes.report import shape_lines
from streamcanary.cli.table import format_table
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import format_fraction, parse_fraction
from streamcanary.model.faults import Blame
from streamcanary.model.schedules.cron import Cron
from streamcanary.settings import Settings
from streamcanary.transport.file_descriptors import highest_limit, limit_warning

_MAX_BASE_RATE = 0.5
_MAX_CANARIES = 50  # canaries that are listed without --all
_MAX_RULES = 8  # rules that are listed for a canary


def main(arguments: argparse.Namespace) -> int:
    """Check a configuration; return 0 if it is valid, with or without warnings, 2 if it or an option is not.

    With ``--enforce-budget``, return 1 if the schedule of the canaries needs more than the budget.
    """
    try:
        base_rate = _parse_base_rate(arguments.base_rate)
        shapes = requested_shapes(arguments)
        settings = load_config(arguments.config)
        check_scopes(shapes, settings.to_canaries())
    except UsageError:
        return 2
    recorded = read_baselines(_configured_rules(settings), settings)
    for line in _report_lines(settings, base_rate, recorded.baselines, list_all=arguments.all):
        print(line)
    if shapes:
        rules, canaries = _configured_rules(settings), settings.to_canaries()
        found = forecast_shapes(rules, canaries, shapes, base_rate, recorded.baselines)
        forecasts = rule_forecasts(rules, canaries, base_rate, recorded.baselines)
        print("", *shape_lines(found, rules, forecasts, shift_forecasts(recorded.baselines)), sep="\n")
        if arguments.plot:
            try:
                write_plot(arguments.plot, draw_shapes(found))
            except UsageError:
                return 2
    for line in _warnings(settings, base_rate, recorded):
        print(f"warning: {line}", file=sys.stderr)
    return int(arguments.enforce_budget and any(_budget_warnings(settings)))


def _parse_base_rate(text: str) -> float:
    try:
        rate = parse_fraction(text)
    except ValueError as error:
        print(f"streamcanary: --base-rate: {error}", file=sys.stderr)
        raise UsageError from None
    if rate > _MAX_BASE_RATE:
        maximum = format_fraction(_MAX_BASE_RATE)
        print(f"streamcanary: --base-rate: {format_fraction(rate)} is too high: at most {maximum}", file=sys.stderr)
        raise UsageError
    return rate


def _report_lines(
    settings: Settings, base_rate: float, baselines: Sequence[RuleBaseline], *, list_all: bool
) -> Iterator[str]:
    alerts = settings.alerts
    canaries = {canary.name: canary for canary in settings.to_canaries()}
    rows: list[tuple[str, ...]] = [("CANARY", "TARGET", "MODEL", "SCHEDULE", "RULES")]
    shown = len(canaries) if list_all else _MAX_CANARIES
    for name, spec in islice(settings.canaries.items(), shown):
        rules = [rule_name for rule_name, rule in alerts.rules.items() if rule.applies_to(canaries[name])]
        rows.append((name, spec.target, spec.model, str(spec.schedule), _join_limited(rules) or "none"))
    yield from format_table(rows)
    if len(canaries) > shown:
        yield f"and {len(canaries) - shown} more; list all with --all"
    yield from _fleet_lines(settings)
    if alerts.receivers:
        rows = [("RECEIVER", "TYPE"), *((name, receiver.type) for name, receiver in alerts.receivers.items())]
        yield from ("", *format_table(rows))
    if forecasts := rule_forecasts(_configured_rules(settings), list(canaries.values()), base_rate, baselines):
        yield from ("", *_forecast_lines(forecasts, list_all=list_all))
    if lines := [*shift_lines(baselines, list_all=list_all)]:
        yield from ("", *lines)
    if lines := [*baseline_lines(baselines, list_all=list_all)]:
        yield from ("", *lines)
    if pooled := list(_scope_lines(_configured_rules(settings), list(canaries.values()))):
        yield from ("", *pooled)
    if delays := no_data_delays(settings.alerts.all_rules, list(canaries.values())):
        yield from ("", *_no_data_lines(delays))
    if changes := model_change_canaries(settings.alerts.all_rules, list(canaries.values())):
        yield ""
        for name, some in changes:
            yield f"{name} evaluates whether another model answers {_format_canaries(some)} than at the run before"
    otlp = settings.telemetry.otlp
    yield ""
    yield from _budget_line(settings)
    yield f"store      {settings.store.location}"
    yield f"telemetry  {otlp.endpoint if otlp else 'not exported'}"
    if not settings.web.enabled:
        yield "web        disabled: no port, and so no health endpoints, API and /metrics"
    binding_count = sum(  # with the gauge of the base rate, if it is learned
        len(scope_values(rule, canaries.values())) * (1 + rule.detector.learns)
        for name, rule in alerts.all_rules.items()
        if name not in DAEMON_RULES
    )
    highest = max_series(
        [1 + len(spec.fallbacks) for spec in settings.canaries.values()], binding_count, len(alerts.receivers)
    )
    healthy = _estimate_series(settings, binding_count)
    each = " for each member" if settings.replicas > 1 else ""
    yield f"metrics    {healthy} time series when all runs succeed, at most {highest}{each}"
    counts = {"canary": len(canaries), "rule": len(alerts.rules), "receiver": len(alerts.receivers)}
    yield f"valid: {', '.join(_pluralize(count, noun) for noun, count in counts.items())}"


def _estimate_series(settings: Settings, bindings: int) -> int:
    canaries = len(settings.canaries)
    if settings.has_reduced_series:
        return estimate_reduced_series(canaries, len(settings.targets), bindings)
    return estimate_series(canaries, bindings)


def _fleet_lines(settings: Settings) -> Iterator[str]:
    """Yield the schedule of a fleet: that of each member, and that of all together."""
    if settings.fleet is None:
        return
    replicas = settings.replicas
    yield ""
    canaries = sorted(settings.to_canaries(), key=lambda canary: canary.interval)
    by_interval = [(interval, list(some)) for interval, some in groupby(canaries, key=lambda canary: canary.interval)]
    for interval, some in by_interval[:_MAX_RULES]:
        own, all_members = format_duration(interval), format_duration(interval / replicas)
        yield (
            f"fleet of {replicas}: each member runs {_format_canaries(some)} every {own}, together every {all_members}"
        )
    if len(by_interval) > _MAX_RULES:
        yield f"and {len(by_interval) - _MAX_RULES} more intervals"
    slowest, some = by_interval[-1]
    yield (
        f"FleetFailing of rules --fleet fires {format_duration(detection_delay(slowest, replicas))} after all runs of "
        f"{_format_canaries(some)} begin to fail"
    )
    if (fewer := max(1, replicas // 10)) < replicas:
        noun = "is one member" if fewer == 1 else f"are {fewer} members"
        yield f"while there {noun}, it fires after {format_duration(detection_delay(slowest, fewer))}"
    yield "schedules, forecasts and budget below are those of each member"


def _scope_lines(rules: dict[str, Rule], canaries: list[Canary]) -> Iterator[str]:
    """Yield for each rule with several alerts how they share its false pages, and which scope values are left out."""
    for name, rule in rules.items():
        values, pages = scope_values(rule, canaries), getattr(rule.detector, "false_pages", None)
        if isinstance(pages, FalsePages) and len(values) > 1:
            parts = [
                f"{scope}: {_pluralize(len(some), 'alert')}, 1 per {_format_days(pages.mean_interval / some[0].share)}"
                + (" each" if len(some) > 1 else "")
                for scope, some in _by_scope(values).items()
            ]
            yield f"{name}: false_pages {pages} in all is divided: {'; '.join(parts)}"
        if same := left_out(rule, canaries):
            shown = [f"{value.subject} ({other.subject})" for value, other in same]
            yield f"{name}: no alert for {_join_limited(shown)}: its canaries are those of the alert in parentheses"


def _by_scope(values: Sequence[ScopeValue]) -> dict[str, list[ScopeValue]]:
    """Return ``values`` by their scope."""
    found: dict[str, list[ScopeValue]] = {}
    for value in values:
        found.setdefault(value.scope, []).append(value)
    return found


def _format_days(seconds: float) -> str:
    return f"{seconds / 86400:.0f}d" if seconds >= 10 * 86400 else format_duration(seconds)


def _no_data_lines(delays: list[NoDataDelay]) -> Iterator[str]:
    for one in delays[:_MAX_RULES]:
        canaries = _format_canaries(one.canaries)
        yield f"{one.rule} fires {format_duration(one.seconds)} after the last run of {canaries}"
    if len(delays) > _MAX_RULES:
        yield f"and {len(delays) - _MAX_RULES} more, for other schedules"


def _format_canaries(canaries: Sequence[Canary]) -> str:
    return _join_more([canary.name for canary in canaries])


def _join_more(names: Sequence[str]) -> str:
    """Return the first of ``names``, and the number of others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _join_limited(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_RULES} more" if len(names) > _MAX_RULES else ""
    return ", ".join(names[:_MAX_RULES]) + more


def _pluralize(count: int, noun: str) -> str:
    """Return ``1 canary`` or ``2 canaries``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun.removesuffix('y')}{'ies' if noun[-1] == 'y' else 's'}"


def _budget_line(settings: Settings) -> Iterator[str]:
    """Yield the expected use of the budget, if there is one."""
    budget, expected = settings.budget, _expected_spend(settings)
    if use := _budget_use(budget, expected, 1):
        yield f"budget     {use}, without retries"
        if settings.replicas > 1:
            yield f"           {_budget_use(budget, expected, settings.replicas)} for all {settings.replicas} members"


def _budget_use(budget: BudgetConfig, expected: ExpectedSpend, members: int) -> str:
    """Return the expected use of ``budget``, which is that of one member, by ``members``; empty without a budget."""
    parts = []
    if budget.usd_per_day is not None:
        limit = budget.usd_per_day * members
        parts.append(f"up to {_format_usd(expected.usd_per_day * members)} of {limit:.6g} USD a day")
    if budget.requests_per_minute is not None:
        requests = expected.requests_per_minute * members
        parts.append(f"{requests:.3g} of {budget.requests_per_minute * members:.6g} requests a minute")
    return ", ".join(parts)


def _format_usd(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 0.1 else f"{amount:.2g}"


def _expected_spend(settings: Settings) -> ExpectedSpend:
    return expected_spend(prices_by_canary(settings.budget, settings.targets, settings.canaries), settings.canaries)


def _configured_rules(settings: Settings) -> dict[str, Rule]:
    """Return the rules of the configuration, merged with the built-in rules that they change."""
    names = settings.alerts.rules.keys() - DAEMON_RULES
    return {name: rule for name, rule in settings.alerts.all_rules.items() if name in names}


def _forecast_lines(forecasts: list[RuleForecast], *, list_all: bool) -> Iterator[str]:
    delays = [f"{format_fraction(rate)} ERRORS" for rate in ERROR_RATES]
    steady = f"PER DAY AT {', '.join(f'{rate * 100:g}' for rate in STEADY_RATES)}%"
    columns = ("RULE", "CANARIES", "EVERY", *delays, "RESOLVES AFTER", steady, "FALSE PAGES", "TOTAL")
    rows: list[tuple[str, ...]] = [columns]
    for rule, group in groupby(forecasts, key=lambda one: one.rule):
        rule_forecasts = list(group)
        shown = rule_forecasts
        if not list_all and len(rule_forecasts) > _MAX_RULES:  # what was learned differs by canary
            shown = sorted(rule_forecasts, key=lambda one: -len(one.values))[:_MAX_RULES]
        rows += [_forecast_row(one) for one in shown]
        if len(shown) < len(rule_forecasts):
            rest = sum(len(one.values) for one in rule_forecasts) - sum(len(one.values) for one in shown)
            rows.append((rule, f"{rest} more; list all with --all", *[""] * 8))
        if len(rule_forecasts) > 1:
            rows.append((rule, "all", *[""] * 7, format_pages(sum(one.false_pages for one in rule_forecasts))))
    yield from format_table(rows)
    yield "ERRORS: mean time until the rule fires after errors begin at that rate, if no run failed before"
    yield "PER DAY: mean number of alerts in the first day of a steady error rate; over 1, it resolves and fires again"
    yield "FALSE PAGES: expected pages a month for each canary, and in total, if only that share of runs fails"
    if any(isinstance(one.schedule, Cron) for one in forecasts):
        yield "cron: times count from any moment, pauses included; time windows hold as many runs as between pauses"


def _forecast_row(one: RuleForecast) -> tuple[str, ...]:
    forecast = one.forecast
    return (
        one.rule,
        _join_more([value.subject for value in one.values]),
        str(one.schedule),
        *(
            format_duration(delay) if delay <= MONTH_SECONDS else f">{format_duration(MONTH_SECONDS)}"
            for delay in forecast.detection_delays
        ),
        f"{_pluralize(forecast.runs_to_resolve, 'good run')}, {format_duration(forecast.seconds_to_resolve)}",
        ", ".join(map(format_pages, forecast.notifications_per_day)),
        f"{format_pages(forecast.false_pages)} at {format_fraction(forecast.base_rate)}",
        format_pages(one.false_pages),
    )


def _warnings(settings: Settings, base_rate: float, recorded: RecordedBaselines) -> Iterator[str]:
    """Yield the warnings of a valid configuration."""
    rules, canaries = _configured_rules(settings), settings.to_canaries()
    rules_for_config_blame = [rule for rule in settings.alerts.all_rules.values() if rule.selects_blame(Blame.CONFIG)]
    yield from map(str, settings.warnings)
    if uncovered := [
        canary.name for canary in canaries if not any(rule.applies_to(canary) for rule in rules_for_config_blame)
    ]:
        yield (
            f"canar{'y' if len(uncovered) == 1 else 'ies'} {join_names(uncovered)}: "
            "no rule selects faults with blame config (rejected key, unknown model); "
            "enable TargetRejected, or add a rule with blame: [config]"
        )
    max_runs = {name: target.max_concurrent_runs for name, target in settings.targets.items()}
    if too_many := limit_warning(sum(run_limits(canaries, max_runs).values()), highest_limit()):
        yield too_many
    yield from detector_warnings(rules, canaries)
    yield from always_firing_warnings(rules, base_rate)
    yield from _budget_warnings(settings)
    yield from receiver_warnings(settings.alerts.receivers)
    label_sets = [
        alert_labels(name, rule, value.labels, settings.member_instance)
        for name, rule in settings.alerts.all_rules.items()
        if name not in DAEMON_RULES
        for value in scope_values(rule, canaries)
    ]
    yield from unpaged_alert_warnings(settings.alerts.effective_routes, settings.alerts.receivers, label_sets)
    yield from baseline_warnings(recorded.baselines)
    if recorded.problem is not None:
        yield recorded.problem


def _budget_warnings(settings: Settings) -> Iterator[str]:
    """Yield a warning for each limit of the budget that the schedule of the canaries exceeds.

    The numbers are those of the file: with a fleet, those of all members.
    """
    budget, expected, members = settings.budget, _expected_spend(settings), settings.replicas
    if budget.usd_per_day is not None and expected.usd_per_day > budget.usd_per_day:
        cost, threshold = _format_usd(expected.usd_per_day * members), format_fraction(SLOWDOWN_THRESHOLD)
        yield (
            f"budget.usd_per_day {budget.usd_per_day * members:.6g}: the canaries may cost {cost} a day; they slow "
            f"down from {threshold} of the budget on, and BudgetExhausted fires when it is spent; raise the budget, or "
            "run them less often"
        )
    if budget.requests_per_minute is not None and expected.requests_per_minute > budget.requests_per_minute:
        yield (
            f"budget.requests_per_minute {budget.requests_per_minute * members:.6g}: the canaries are due "
            f"{expected.requests_per_minute * members:.3g} times a minute, so they always run late; raise the limit, "
            "or run them less often"
        )
