"""Routing of alerts to receivers: the ``alerts.routes`` section. The first route that matches wins."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streamcanary.model.alerts.matcher import Matchers, all_match


class Route(BaseModel):
    """A route to ``receivers`` for alerts that all matchers of ``match`` match; without ``match``, for every alert.

    The labels of an alert are ``alertname`` (or ``alert``), ``canary``, ``target``, ``provider``, ``instance``, those
    of the canary and those of the rule.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Matchers = ()
    receivers: Annotated[tuple[str, ...], Field(min_length=1)]


def route_for(routes: Iterable[Route], labels: Mapping[str, str]) -> Route | None:
    """Return the first route that matches an alert with ``labels``; ``None`` if no route does."""
    all_labels = {**labels, "alert": labels.get("alertname", "")}
    return next((route for route in routes if all_match(route.match, all_labels)), None)
