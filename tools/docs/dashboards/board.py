"""A dashboard: its variables, its links to the other dashboards, and its rows of panels."""

from collections.abc import Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.models import dashboard, prometheus
from msgspec import Struct

from streamcanary.model.names import Metric
from streamcanary.model.prometheus_names import metric_name

from .panels import DATASOURCE, Panel

TAG = "streamcanary"


class Variable(Struct, frozen=True):
    """A choice of values of a label."""

    name: str
    label: str
    """The name that is shown."""
    source: str
    """The label of a metric whose values are offered."""
    metric: Metric
    is_histogram: bool = False


class Board(Struct, frozen=True):
    """A dashboard. ``rows`` are panels under a heading.

    ``sample_interval`` is the longest time between two samples of its series, such as ``1m``, if it can be longer than
    the scrape interval of the data source: Grafana makes ``$__rate_interval`` at least four times as long.
    https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/
    """

    name: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[tuple[str, Sequence[Panel]]]
    sample_interval: str | None = None

    @property
    def uid(self) -> str:
        """The identifier in addresses: ``/d/<uid>``."""
        return f"{TAG}-{self.name}"

    def build(self) -> dashboard.Dashboard:
        """Return the dashboard as Grafana imports it."""
        links = builder.DashboardLink("streamcanary").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
        built = (
            builder.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags([TAG])
            .time("now-1h", "now")
            .refresh("30s")
            .timezone("browser")
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .link(links.as_dropdown(False).include_vars(True).keep_time(True))
            .with_variable(builder.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        )
        for variable in self.variables:
            built = built.with_variable(_query_variable(variable))
        for title, panels in self.rows:
            built = built.with_row(builder.Row(title))
            for panel in panels:
                built = built.with_panel(panel)
        return _finish_queries(built.build(), self.sample_interval)


def _finish_queries(built: dashboard.Dashboard, sample_interval: str | None) -> dashboard.Dashboard:
    """Give each panel and row a number, and the queries of each panel their interval and the names A, B and so on.

    Links to a panel have its number, and Grafana tells the results of a panel's queries apart by their names.
    """
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
        if isinstance(panel, dashboard.Panel):
            for letter, target in zip(ascii_uppercase, panel.targets or (), strict=False):
                if isinstance(target, prometheus.Dataquery):
                    target.ref_id = letter
                    target.interval = sample_interval
    return built


def _query_variable(variable: Variable) -> builder.QueryVariable:
    name = metric_name(variable.metric)
    # A histogram with explicit buckets has no series of its own name, and a native one has no other.
    selector = f'{{__name__=~"{name}|{name}_count"}}' if variable.is_histogram else name
    expr = f"label_values({selector}, {variable.source})"
    return (
        builder.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(DATASOURCE)
        .query({"query": expr, "refId": variable.name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")  # also series without the label, such as alerts about the daemon itself
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )
