"""The kinds of panels of the dashboards, with the defaults that they share."""

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[dashboard.Panel]
Query = prometheus.Dataquery
Steps = Sequence[tuple[float | None, str]]
"""The lower bound of each colour; the first has none."""

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
"""Columns of a dashboard."""
_LEAST_STEP = "1m"
"""Of a panel with counts: `increase()` needs a few scrapes in each step."""
_NO_DATA = "no data"
GOOD, WARNING, BAD = "green", "orange", "red"
MANY: Steps = ((None, GOOD), (1, BAD))
"""One is too many."""
DATA_AGE: Steps = ((None, GOOD), (120, WARNING), (300, BAD))
"""Seconds: two scrapes a minute apart may be missed."""
OUTAGE: Steps = ((None, GOOD), (0.001, WARNING), (300, BAD))
"""Seconds: any outage, and one of five minutes."""
SHARE_OF_FAILURES: Steps = ((None, GOOD), (0.05, WARNING), (0.5, BAD))
SHARE_OF_SUCCESSES: Steps = ((None, BAD), (0.95, WARNING), (0.99, GOOD))


def query(expr: str, legend: str = "__auto", *, exemplar: bool = False) -> Query:
    """Return a query over the time range; with ``exemplar`` also its exemplars, which link to traces."""
    built = prometheus.Dataquery().expr(expr).legend_format(legend).range()
    return built.exemplar(True) if exemplar else built


def instant(expr: str, legend: str = "__auto") -> Query:
    """Return a query at the end of the time range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).instant()


def row(expr: str) -> Query:
    """Return a query at the end of the time range whose series are the rows of a table."""
    return instant(expr).format(PromQueryFormat.TABLE)


def number(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    steps: Steps = ((None, GOOD),),
    width: int = 4,
    none: str | None = None,
    texts: dict[str, str] | None = None,
) -> Panel:
    """Return one number at the end of the time range, coloured by its thresholds; ``texts`` replaces values.

    Without a value it shows ``none``. By default that is "no data" in red: the daemon does not run, or is not scraped.
    """
    reduction = common_builder.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
    panel = (
        stat.Panel()
        .reduce_options(reduction)
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .with_target(instant(expr))
        .thresholds(_thresholds(steps))
        .no_value(_NO_DATA if none is None else none)
    )
    mappings: list[dashboard.ValueMap | dashboard.RangeMap | dashboard.RegexMap | dashboard.SpecialValueMap] = []
    if texts is not None:
        results = {value: dashboard.ValueMappingResult(text=shown) for value, shown in texts.items()}
        mappings.append(dashboard.ValueMap(options=results))
    if none is None:  # a threshold has no colour for a missing value
        result = dashboard.ValueMappingResult(text=_NO_DATA, color=BAD)
        options = dashboard.DashboardSpecialValueMapOptions(match=dashboard.SpecialValueMatch.NULL, result=result)
        mappings.append(dashboard.SpecialValueMap(options=options))
    panel = panel.mappings(mappings)
    return _finish(panel, title, description, unit, width, 4)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps | None = None,
    width: int = 12,
    height: int = 8,
    highest: float | None = None,
) -> Panel:
    """Return lines over time; ``steps`` are drawn as thresholds."""
    panel = _over_time(queries).fill_opacity(8)
    if steps is not None:
        style = common_builder.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(style)
    if highest is not None:
        panel = panel.max(highest)
    return _finish(panel.min(0), title, description, unit, width, height)


def stacked_areas(title: str, description: str, *queries: Query, unit: str = "short", width: int = 12) -> Panel:
    """Return areas that add up to a whole."""
    panel = _over_time(queries).fill_opacity(60).stacking(_stacking()).min(0)
    return _finish(panel, title, description, unit, width, 8)


def stacked_bars(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    width: int = 12,
    height: int = 8,
    colours: dict[str, str] | None = None,
) -> Panel:
    """Return the number of events in each step of time; ``colours`` fixes the colour of a series by its name."""
    panel = (
        _over_time(queries)
        .interval(_LEAST_STEP)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(_stacking())
        .min(0)
    )
    for name, colour in (colours or {}).items():
        panel = panel.override_by_name(name, [_fixed(colour)])
    return _finish(panel, title, description, unit, width, height)


def heat_map(title: str, description: str, heat_query: Query, *, unit: str = "s", width: int = 12) -> Panel:
    """Return the distribution of a histogram over time; a dot is an exemplar."""
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(colours)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .show_legend()
        .show_tooltip()
        .interval(_LEAST_STEP)
        .with_target(heat_query.format(PromQueryFormat.HEATMAP).legend_format("{{le}}"))
    )
    return _finish(panel, title, description, unit, width, 8)


def states(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "percentunit",
    steps: Steps,
    width: int = WIDTH,
    height: int = 8,
) -> Panel:
    """Return one band of colours over time for each series: since when it is in a state."""
    panel = (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard_builder.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    )
    for each in queries:
        panel = panel.with_target(each)
    return _finish(panel, title, description, unit, width, height)


def rows(
    title: str,
    description: str,
    columns: dict[str, tuple[Query, str, Steps | None]],
    *,
    labels: Sequence[str],
    sort: str,
    width: int = WIDTH,
    height: int = 8,
    link: dict[str, str] | None = None,
) -> Panel:
    """Return a table with a row for each set of ``labels``, and a column for each query.

    ``columns`` has the query, unit and thresholds of each column by its name. The query must keep exactly ``labels``;
    a row appears where any query has a series. ``link`` is the address behind a label.
    """
    panel = (
        table.Panel().show_header(True).sort_by([common_builder.TableSortByFieldState().display_name(sort).desc(True)])
    )
    letters = [chr(ord("A") + index) for index in range(len(columns))]  # as the board names the queries
    for each, _, _ in columns.values():
        panel = panel.with_target(each)
    values = ["Value"] if len(columns) == 1 else [f"Value #{letter}" for letter in letters]
    order = {name: index for index, name in enumerate((*labels, *values))}
    renamed = {**{label: _heading(label) for label in labels}, **dict(zip(values, columns, strict=True))}
    panel = panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={})).with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
        )
    )
    for name, (_, unit, steps) in columns.items():
        properties = [dashboard.DynamicConfigValue(id_val="unit", value=unit)]
        if steps is not None:
            properties += [
                dashboard.DynamicConfigValue(id_val="thresholds", value=_thresholds(steps).build()),
                dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            ]
        panel = panel.override_by_name(name, properties)
    for label, address in (link or {}).items():
        target = [{"title": "${__value.text}", "url": address}]
        panel = panel.override_by_name(_heading(label), [dashboard.DynamicConfigValue(id_val="links", value=target)])
    return _finish(panel, title, description, "short", width, height)


def _heading(label: str) -> str:
    """Return the heading of the column of a label: Request model for ``gen_ai_request_model``."""
    return label.removeprefix("gen_ai_").removesuffix("_name").replace("_", " ").capitalize()


def _over_time(queries: Sequence[Query]) -> timeseries.Panel:
    legend = (
        common_builder.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    tooltip = common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    panel = timeseries.Panel().legend(legend).tooltip(tooltip).show_points(common.VisibilityMode.AUTO)
    for each in queries:
        panel = panel.with_target(each)
    return panel


def _finish(panel: Any, title: str, description: str, unit: str, width: int, height: int) -> Panel:
    """Set what all panels have; the builder classes of the SDK have these methods without a common base."""
    finished: Panel = (
        panel.title(title).description(description).datasource(DATASOURCE).unit(unit).span(width).height(height)
    )
    return finished


def _thresholds(steps: Steps) -> dashboard_builder.ThresholdsConfig:
    return (
        dashboard_builder.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _stacking() -> common_builder.StackingConfig:
    return common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A")


def _fixed(colour: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
