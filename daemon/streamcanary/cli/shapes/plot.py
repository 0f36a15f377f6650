"""Draws how soon each rule detects outages of given shapes, as SVG without scripts, for light and dark pages."""

import math
import statistics
from collections.abc import Iterator
from html import escape
from typing import Final

from streamcanary.alerting.forecast.shapes import RuleDelays, ShapeForecast
from streamcanary.alerting.forecast.shapes.shape import HORIZON
from streamcanary.cli.shapes.report import format_delay
from streamcanary.model.config_types.duration import format_duration

MAX_RULES: Final = 12
"""How many rules are drawn; others are only counted."""

_WIDTH = 920.0  # pixels
_LEFT, _RIGHT = 190.0, 120.0  # beside the axis
_TOP, _BOTTOM = 58.0, 46.0
_LEGEND_ROW, _LEGEND_COLUMNS = 20.0, 3
_LANE, _ROW_MARGIN = 14.0, 12.0
_SHORTEST = 10.0  # seconds at the left end of the axis
_TICKS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, HORIZON)
_PALETTE = (  # of Okabe and Ito, for light and for dark pages; distinct also with defects of colour vision
    ("#0072b2", "#56b4e9"),
    ("#c04a00", "#ff8c42"),
    ("#007a59", "#2fd0a5"),
    ("#9c4a86", "#e09ac9"),
    ("#8a6500", "#f0c419"),
    ("#555555", "#bbbbbb"),
)
_MARKERS = (  # paths around the origin
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "M-4.5 -4.5h9v9h-9z",
    "M0 -6l5.5 10h-11z",
    "M0 -6.2l6.2 6.2l-6.2 6.2l-6.2 -6.2z",
    "M-5.5 -4.5h11l-5.5 10z",
    "M-1.8 -5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7z",
    "M-5.5 0l5.5 -5.5v11z",
)


def draw_shapes(found: ShapeForecast) -> str:
    """Return the picture of ``found``: for each outage and rule the median delay, and the range of most runs."""
    rules = found.rules[:MAX_RULES]
    legend = math.ceil(max(1, len(rules)) / _LEGEND_COLUMNS) * _LEGEND_ROW
    row = max(1, len(rules)) * _LANE + _ROW_MARGIN
    top = _TOP + legend
    height = top + row * len(found.shapes) + _BOTTOM
    size = f'width="{_WIDTH:.0f}" height="{height:.0f}"'
    role = 'role="img" aria-labelledby="title description"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" {size} {role}>',
        '<title id="title">Time until each rule detects an outage</title>',
        f'<desc id="description">{escape(_description(found))}</desc>',
        _style(),
        f'<rect class="page" width="{_WIDTH:.0f}" height="{height:.0f}" rx="6"/>',
        _text(16, 28, "Time until each rule detects an outage", "title"),
        *_legend(found, rules),
        *(
            f'<rect class="band" x="8" y="{top + number * row:.1f}" width="{_WIDTH - 16:.0f}" height="{row:.1f}"/>'
            for number in range(0, len(found.shapes), 2)
        ),
        *_axis(top, row * len(found.shapes)),
    ]
    for number, shape in enumerate(found.shapes):
        begin = top + number * row
        lines.append(_text(16, begin + row / 2 + 4, _shorten(shape.text, 26), "label", title=shape.text))
        for index, rule in enumerate(rules):
            y = begin + _ROW_MARGIN / 2 + (index + 0.5) * _LANE
            lines += _lane(f"{rule}: {shape.text}", index, y, found.delays[rule, shape])
    return "\n".join([*lines, _text(16, height - 12, _footnote(found), "note"), "</svg>"]) + "\n"


def _description(found: ShapeForecast) -> str:
    return "; ".join(
        f"{shape.text}: " + ", ".join(f"{rule} {format_delay(found.delays[rule, shape])}" for rule in found.rules)
        for shape in found.shapes
    )


def _style() -> str:
    """Return the style: colours of light pages, and of dark ones where the reader prefers these."""
    lines = [
        "text{font-family:system-ui,'DejaVu Sans',Arial,sans-serif;font-size:12px;fill:#24292f}",
        ".title{font-size:16px;font-weight:600}.note,.tick{font-size:11px;fill:#57606a}",
        ".page{fill:#ffffff;stroke:#d0d7de}.band{fill:#f3f5f7}.grid{stroke:#d8dee4}.marker{stroke:#ffffff}",
        *(f".r{number}{{fill:{light};stroke:{light}}}" for number, (light, _) in enumerate(_PALETTE)),
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.note,.tick{fill:#9da7b3}",
        ".page{fill:#0d1117;stroke:#30363d}.band{fill:#161b22}.grid{stroke:#30363d}.marker{stroke:#0d1117}",
        *(f".r{number}{{fill:{dark};stroke:{dark}}}" for number, (_, dark) in enumerate(_PALETTE)),
        "}",
        ".open{fill:none;stroke-width:1.5}.range{stroke-width:2.5;stroke-opacity:.45}",
    ]
    return f"<style>{''.join(lines)}</style>"


def _legend(found: ShapeForecast, rules: tuple[str, ...]) -> Iterator[str]:
    for index, rule in enumerate(rules):
        x = 22 + index % _LEGEND_COLUMNS * (_WIDTH - 32) / _LEGEND_COLUMNS
        y = 46 + index // _LEGEND_COLUMNS * _LEGEND_ROW
        yield _marker(x, y, index)
        yield _text(x + 12, y + 4, _shorten(rule, 40), "label", title=rule)
    if more := len(found.rules) - len(rules):
        yield _text(_WIDTH - 16, 28, f"and {more} more rules", "note", anchor="end")


def _axis(top: float, height: float) -> Iterator[str]:
    for seconds in _TICKS:
        x = _x(seconds)
        yield f'<path class="grid" d="M{x:.1f} {top:.1f}v{height:.1f}"/>'
        yield _text(x, top + height + 16, format_duration(seconds), "tick", anchor="middle")
    yield _text(_WIDTH - 16, top + height + 16, "not detected", "tick", anchor="end")


def _lane(name: str, index: int, y: float, delays: RuleDelays) -> Iterator[str]:
    """Yield the marker of a median and the range of 80 % of the runs, or an open marker if it is not detected."""
    title = f"<title>{escape(f'{name}: {format_delay(delays)}')}</title>"
    colour = f"r{index % len(_PALETTE)}"
    median = None if delays.fires_before else delays.median
    if median is None:
        shown = "always fires" if delays.fires_before else f"{delays.detected_share:.0%}"
        yield f"<g>{title}{_marker(_WIDTH - _RIGHT + 32, y, index, is_open=True)}"
        yield f"{_text(_WIDTH - 16, y + 4, shown, 'note', anchor='end')}</g>"
        return
    detected = delays.detected
    low, high = (detected[0], detected[-1]) if len(detected) < 10 else _most(detected)
    yield f'<g>{title}<path class="range {colour}" d="M{_x(low):.1f} {y:.1f}H{_x(high):.1f}"/>'
    yield f"{_marker(_x(median), y, index)}</g>"


def _most(delays: list[float]) -> tuple[float, float]:
    """Return the range of the middle 80 % of the delays."""
    deciles = statistics.quantiles(delays, n=10, method="inclusive")
    return deciles[0], deciles[-1]


def _marker(x: float, y: float, index: int, *, is_open: bool = False) -> str:
    kind = "open" if is_open else "marker"
    colour = f"r{index % len(_PALETTE)}"
    path = f'd="{_MARKERS[index % len(_MARKERS)]}" transform="translate({x:.1f} {y:.1f})"'
    return f'<path class="{colour} {kind}" {path}/>'


def _footnote(found: ShapeForecast) -> str:
    sample = ""
    if found.simulated_canaries < found.canary_count:
        sample = f" with {found.simulated_canaries} of {found.canary_count} canaries"
    return (
        f"Marker: median of up to {found.runs} simulated runs{sample}. Line: 80 % of them. "
        f"Open: detected in less than half of them, within {format_duration(HORIZON)}."
    )


def _x(seconds: float) -> float:
    part = math.log(max(_SHORTEST, seconds) / _SHORTEST) / math.log(HORIZON / _SHORTEST)
    return _LEFT + min(part, 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _text(x: float, y: float, content: str, kind: str, *, anchor: str = "start", title: str = "") -> str:
    hint = f"<title>{escape(title)}</title>" if title else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{hint}{escape(content)}</text>'


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
