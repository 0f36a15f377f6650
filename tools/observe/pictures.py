"""Draws a dashboard as SVG from the results of its queries, without Grafana.

The pictures show what the panels contain, in Grafana's layout; they do not imitate every detail of Grafana.
"""

import json
import math
from collections.abc import Iterator
from html import escape
from typing import Any

from msgspec import Struct

from . import prometheus_client
from .charts import draw_heat_map, draw_states, draw_time_series
from .panel_queries import substitute
from .prometheus_client import Series
from .svg import FONT, Box, text
from .tables import draw_number, draw_rows

_COLUMN, _ROW = 56, 30  # pixels of a cell of Grafana's grid
_MARGIN = 8
_TITLE = 44
_POINTS = 48  # of a range query
_LEAST_RATE = 4  # seconds of a rate: four scrapes
_COUNTS = 12  # of a range query for counts, in place of the least step of the panel

_DRAWINGS = {
    "stat": draw_number,
    "table": draw_rows,
    "timeseries": draw_time_series,
    "heatmap": draw_heat_map,
    "state-timeline": draw_states,
}


class Source(Struct, frozen=True):
    """Where the data of a picture comes from: the address of a Prometheus, and the times in seconds since the epoch."""

    url: str
    start: float
    end: float


def draw(dashboard: str, source: Source) -> str:
    """Return the dashboard, given as JSON, as an SVG.

    Raises:
        prometheus_client.QueryFailed: if a query fails.
    """
    content = json.loads(dashboard)
    parts = [text(_MARGIN * 2, 30, content["title"], size=20, weight="bold")]
    height = _TITLE
    for panel in _all_panels(content):
        position = panel["gridPos"]
        left, top = _MARGIN + position["x"] * _COLUMN, _TITLE + position["y"] * _ROW
        height = max(height, top + position["h"] * _ROW)
        if panel["type"] == "row":
            parts.append(text(left + 4, top + 20, panel["title"], size=15, weight="bold"))
            continue
        box = Box(left, top, position["w"] * _COLUMN - _MARGIN, position["h"] * _ROW - _MARGIN)
        parts += _draw_panel(panel, box, source)
    width = 24 * _COLUMN + _MARGIN
    start = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="{FONT}">'
    return "\n".join([start, f'<rect width="{width}" height="{height}" fill="#f4f5f5"/>', *parts, "</svg>\n"])


def _all_panels(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in content["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def _draw_panel(panel: dict[str, Any], box: Box, source: Source) -> Iterator[str]:
    yield box.rect(fill="white", stroke="#d0d3d8")
    yield f"<g><title>{escape(panel['description'])}</title>"
    yield text(box.left + 8, box.top + 18, panel["title"], size=13, weight="bold")
    yield "</g>"
    length = source.end - source.start
    is_counted = "interval" in panel
    step = max(1.0, length / (_COUNTS if is_counted else _POINTS))
    results = [(target, _results(target, source, step, is_counted=is_counted)) for target in panel["targets"]]
    inner = Box(box.left + 8, box.top + 26, box.width - 16, box.height - 34)
    yield from _DRAWINGS[panel["type"]](panel, results, inner, (source.start, source.end))


def _results(target: dict[str, Any], source: Source, step: float, *, is_counted: bool) -> list[Series]:
    variables = {
        "__interval": f"{math.ceil(step)}s",
        "__interval_ms": f"{math.ceil(step) * 1000}",
        "__rate_interval": f"{max(math.ceil(step) + 1, _LEAST_RATE)}s",
        "__range": f"{math.ceil(source.end - source.start)}s",
    }
    expr = substitute(target["expr"], variables)
    if target.get("instant"):
        return prometheus_client.query(source.url, expr, source.end)
    start = source.start + step if is_counted else source.start  # a count covers the step before its time
    return prometheus_client.query_range(source.url, expr, start=start, end=source.end, step=step)
