"""Prints how soon each rule detects outages of given shapes, and how often all rules together are wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from streamcanary.alerting.forecast import MONTH_SECONDS, RuleForecast, format_pages
from streamcanary.alerting.forecast.shapes import RuleDelays, Shape, ShapeForecast
from streamcanary.alerting.forecast.shapes.shape import HORIZON
from streamcanary.alerting.forecast.shift_forecast import ShiftForecast
from streamcanary.alerting.rules import Rule
from streamcanary.cli.table import format_table
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import format_fraction

_YEAR = 365 * 86400.0
_MAX_COLUMNS: Final = 6  # rules in one table


def shape_lines(
    found: ShapeForecast,
    rules: Mapping[str, Rule],
    forecasts: Sequence[RuleForecast],
    shifts: Sequence[ShiftForecast],
) -> Iterator[str]:
    """Yield the delays of ``found`` as a table, and the false pages of all ``rules``, which have these forecasts."""
    if not found.rules:
        yield "no rule about failures of a provider: the shapes of outages say nothing about these rules"
        return
    for begin in range(0, len(found.rules), _MAX_COLUMNS):
        names = found.rules[begin : begin + _MAX_COLUMNS]
        is_last = begin + _MAX_COLUMNS >= len(found.rules)
        rows = [("OUTAGE", *names, *(["FIRST"] if is_last else []))]
        for shape in found.shapes:
            cells = [_cell(found.delays[name, shape], with_scope=len(rules[name].per) > 1) for name in names]
            rows.append((shape.text, *cells, *([_first(found, shape)] if is_last else [])))
        yield from format_table(rows)
    yield (
        f"OUTAGE: median time until the rule fires, in up to {found.runs} simulated outages of "
        f"{format_duration(HORIZON)}; runs outside of it fail at {format_fraction(found.base_rate)}, independently"
    )
    yield "(30%): how many of these it detects at all; - if that is less than half"
    if any(len(rules[name].per) > 1 for name in found.rules):
        yield "canary, target, …: what the first alert of the rule is about"
    if found.simulated_canaries < found.canary_count:
        yield (
            f"simulated with {found.simulated_canaries} of the {found.canary_count} canaries, of the same schedules: "
            "pooled rules detect an outage sooner with all of them"
        )
    others = [name for name in rules if name not in found.rules]
    if others:
        yield f"not about failures of a provider, and left out: {', '.join(others)}"
    yield _false_pages_line(forecasts, shifts)


def _false_pages_line(forecasts: Sequence[RuleForecast], shifts: Sequence[ShiftForecast]) -> str:
    """Return how many false pages all rules have in a year, and which have the most of them."""
    pages: dict[str, float] = {}
    for name, number in [(one.rule, one.false_pages) for one in forecasts] + [
        (one.baseline.name, one.false_pages) for one in shifts
    ]:
        pages[name] = pages.get(name, 0.0) + number * _YEAR / MONTH_SECONDS
    most = sorted(pages, key=lambda name: -pages[name])[:_MAX_COLUMNS]
    shown = ", ".join(f"{name} {format_pages(pages[name])}" for name in most)
    return f"false pages of all rules: {format_pages(sum(pages.values()))} a year at the base rate ({shown})"


def format_delay(delays: RuleDelays) -> str:
    """Return the median delay, and the part of the runs that are detected if that is not all of them."""
    if delays.fires_before:
        return "always fires"
    detected = f" ({format_fraction(round(delays.detected_share, 2))})" if delays.detected_share < 1 else ""
    return ("-" if delays.median is None else format_duration(round(delays.median))) + detected


def _cell(delays: RuleDelays, *, with_scope: bool) -> str:
    shown = format_delay(delays)
    return f"{shown} {delays.scope}" if with_scope and delays.median else shown


def _first(found: ShapeForecast, shape: Shape) -> str:
    first = found.first(shape)
    if first is None:
        return "-"
    name, share = first
    return name if share > 0.995 else f"{name} ({format_fraction(round(share, 2))})"
