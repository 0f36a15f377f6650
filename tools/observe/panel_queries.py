"""Reads the panels and queries of a Grafana dashboard, and fills in its variables."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

_ALL: Final = ("canary", "target", "provider", "receiver", "job", "model", "operation")


class PanelQuery(Struct, frozen=True):
    """One query of a panel. ``is_instant`` is whether it asks for one point in time, and not for a range."""

    panel: str
    kind: str
    letter: str
    expr: str
    legend: str
    is_instant: bool
    exemplar: bool


def panels(text: str) -> Iterator[dict[str, Any]]:
    """Yield the panels of the dashboard ``text`` in order, without its rows."""
    for panel in json.loads(text)["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or ()
        else:
            yield panel


def panel_queries(text: str) -> Iterator[PanelQuery]:
    """Yield the queries of all panels of the dashboard ``text`` in order."""
    for panel in panels(text):
        for target in panel["targets"]:
            yield PanelQuery(
                panel["title"],
                panel["type"],
                target["refId"],
                target["expr"],
                target.get("legendFormat", ""),
                bool(target.get("instant")),
                bool(target.get("exemplar")),
            )


def substitute(expr: str, variables: Mapping[str, str]) -> str:
    """Return ``expr`` with the values of ``variables``, and ``.*``, which is All, for each other variable."""
    for name, value in sorted(variables.items(), key=lambda item: -len(item[0])):
        expr = expr.replace(f"${name}", value)
    for name in _ALL:
        expr = expr.replace(f"${name}", ".*")
    return expr
