"""Draws panels over time: lines, stacked areas and bars, heat maps, and bands of states."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct

from .prometheus_client import Series
from .svg import PALETTE, Box, colour, finite, fit, format_value, nice_ceiling, series_name, text, threshold_colour

Results = Sequence[tuple[dict[str, Any], list[Series]]]
Times = tuple[float, float]
_AXIS = 58  # pixels left of the plot
_LEGEND = 16
_TICKS = 4
_LEAST_BAND = 12.0  # pixels of a band, for its name


class _Plot(Struct, frozen=True):
    """The area of a plot, and what its edges stand for."""

    box: Box
    times: Times
    top: float

    def x(self, moment: float) -> float:
        start, end = self.times
        return self.box.left + (moment - start) / max(end - start, 1e-9) * self.box.width

    def y(self, value: float) -> float:
        return self.box.top + self.box.height * (1 - min(max(value / self.top, 0), 1.02))

    def frame(self, unit: str) -> Iterator[str]:
        for index in range(_TICKS + 1):
            value = self.top * index / _TICKS
            y = self.y(value)
            yield f'<path d="M{self.box.left:.1f} {y:.1f}h{self.box.width:.1f}" stroke="#e4e7eb"/>'
            yield text(self.box.left - 4, y + 4, format_value(value, unit), size=10, fill="#6e7681", anchor="end")


def draw_time_series(panel: dict[str, Any], results: Results, box: Box, times: Times) -> Iterator[str]:
    """Draw lines, or stacked areas or bars, as the panel says; and a legend below."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    is_stacked = custom.get("stacking", {}).get("mode") == "normal"
    named = [
        (series_name(target.get("legendFormat", ""), series.labels), finite(series.values))
        for target, found in results
        for series in found
    ]
    named = sorted((name, values) for name, values in named if values)
    fixed = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
    colours = {
        name: colour(fixed[name]["fixedColor"]) if name in fixed else PALETTE[index % len(PALETTE)]
        for index, (name, _) in enumerate(named)
    }
    levels = _stack(named) if is_stacked else {name: [(t, 0.0, value) for t, value in values] for name, values in named}
    highest = max((upper for points in levels.values() for _, _, upper in points), default=1.0)
    plot = _Plot(_plot_box(box), times, nice_ceiling(defaults.get("max") or highest))
    yield from plot.frame(defaults["unit"])
    for name, points in levels.items():
        if custom.get("drawStyle") == "bars":
            yield from _bars(plot, points, colours[name])
        elif is_stacked:
            yield _area(plot, points, colours[name])
        else:
            yield _line(plot, points, colours[name])
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] <= plot.top:
                y, stroke = plot.y(step["value"]), colour(step["color"])
                yield (
                    f'<path d="M{plot.box.left:.1f} {y:.1f}h{plot.box.width:.1f}" stroke="{stroke}" '
                    'stroke-dasharray="6 4" fill="none"/>'
                )
    yield from _legend(list(colours.items()), box)


def draw_heat_map(panel: dict[str, Any], results: Results, box: Box, times: Times) -> Iterator[str]:
    """Draw a cell for each bucket and time, darker where more observations are."""
    [(_, found)] = results
    cumulative = sorted((float(series.labels["le"]), dict(finite(series.values))) for series in found)
    moments = sorted({moment for _, values in cumulative for moment in values})
    counts = [
        {
            moment: max(0.0, values.get(moment, 0.0) - (cumulative[index - 1][1].get(moment, 0.0) if index else 0.0))
            for moment in moments
        }
        for index, (_, values) in enumerate(cumulative)
    ]
    used = [index for index, values in enumerate(counts) if any(values.values())]
    plot = _Plot(_plot_box(box), times, 1.0)
    if not used:
        return
    shown = range(min(used), max(used) + 1)
    height = plot.box.height / len(shown)
    width = plot.box.width / max(len(moments), 1)  # a count covers the step before its time
    most = max(value for index in shown for value in counts[index].values())
    for row, index in enumerate(shown):
        top = plot.box.top + plot.box.height - (row + 1) * height
        label = format_value(cumulative[index][0], panel["fieldConfig"]["defaults"]["unit"])
        yield text(plot.box.left - 4, top + height / 2 + 4, f"≤ {label}", size=10, fill="#6e7681", anchor="end")
        for moment, value in counts[index].items():
            if value > 0:
                opacity = 0.15 + 0.85 * value / most
                cell = Box(plot.x(moment) - width, top, width, height)
                yield cell.rect(fill=f'#e8590c" fill-opacity="{opacity:.2f}')


def draw_states(panel: dict[str, Any], results: Results, box: Box, times: Times) -> Iterator[str]:
    """Draw a band for each series, in the colour of its threshold at each time."""
    defaults = panel["fieldConfig"]["defaults"]
    named = [
        (series_name(target.get("legendFormat", ""), series.labels), finite(series.values))
        for target, found in results
        for series in found
    ]
    names = box.width * 0.18
    plot = _Plot(Box(box.left + names, box.top, box.width - names, box.height), times, 1.0)
    height = min(24.0, max(_LEAST_BAND, box.height / max(len(named), 1)))
    capacity = int(box.height / height + 1e-9)
    for row, (name, values) in enumerate(sorted(named)[:capacity]):
        top = box.top + row * height
        yield text(box.left, top + height / 2 + 4, fit(name, names), size=10)
        for start, end, fill in _bands(
            [(moment, threshold_colour(value, defaults)) for moment, value in values], times[1]
        ):
            yield Box(plot.x(start), top + 2, plot.x(end) - plot.x(start) + 0.5, height - 4).rect(fill=fill)


def _bands(colours: Sequence[tuple[float, str]], end: float) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and colour of each run of one colour."""
    starts = [
        (moment, fill) for index, (moment, fill) in enumerate(colours) if not index or fill != colours[index - 1][1]
    ]
    for (start, fill), (following, _) in zip(starts, [*starts[1:], (end, "")], strict=True):
        yield start, following, fill


def _plot_box(box: Box) -> Box:
    return Box(box.left + _AXIS, box.top + 4, box.width - _AXIS, box.height - _LEGEND - 8)


def _stack(named: Sequence[tuple[str, list[tuple[float, float]]]]) -> dict[str, list[tuple[float, float, float]]]:
    """Return time, lower and upper edge of each series, stacked in order."""
    reached: dict[float, float] = {}
    levels: dict[str, list[tuple[float, float, float]]] = {}
    for name, values in named:
        points = levels.setdefault(name, [])
        for moment, value in values:
            lower = reached.get(moment, 0.0)
            reached[moment] = lower + value
            points.append((moment, lower, lower + value))
    return levels


def _line(plot: _Plot, points: Sequence[tuple[float, float, float]], stroke: str) -> str:
    path = " ".join(_corners([f"{plot.x(moment):.1f},{plot.y(value):.1f}" for moment, _, value in points]))
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="1.6"/>'


def _area(plot: _Plot, points: Sequence[tuple[float, float, float]], fill: str) -> str:
    upper = [f"{plot.x(moment):.1f},{plot.y(value):.1f}" for moment, _, value in points]
    lower = [f"{plot.x(moment):.1f},{plot.y(value):.1f}" for moment, value, _ in reversed(points)]
    path = " ".join(_corners(upper) + _corners(lower))
    return f'<polygon points="{path}" fill="{fill}" fill-opacity="0.7" stroke="{fill}"/>'


def _corners(points: Sequence[str]) -> list[str]:
    """Return ``points`` without those on a level line between two others."""
    heights = [point.partition(",")[2] for point in points]
    return [
        point
        for index, point in enumerate(points)
        if not 0 < index < len(points) - 1 or not heights[index - 1] == heights[index] == heights[index + 1]
    ]


def _bars(plot: _Plot, points: Sequence[tuple[float, float, float]], fill: str) -> Iterator[str]:
    moments = [moment for moment, _, _ in points]
    shortest = min((later - earlier for earlier, later in pairwise(moments)), default=1.0)
    width = max(plot.x(plot.times[0] + shortest) - plot.box.left - 1, 1)
    for moment, lower, upper in points:
        if upper > lower:
            top = plot.y(upper)
            yield Box(plot.x(moment) - width, top, width, plot.y(lower) - top).rect(fill=fill)


def _legend(entries: Sequence[tuple[str, str]], box: Box) -> Iterator[str]:
    x, y = box.left + _AXIS, box.top + box.height - 2
    for name, fill in entries:
        width = len(name) * 6.2 + 26
        if x + width > box.left + box.width:
            yield text(x, y, "…", size=10)
            return
        yield Box(x, y - 8, 10, 8).rect(fill=fill)
        yield text(x + 14, y, name, size=10)
        x += width
