"""The ``alerts.routes`` section: who is told of which alert. The first route that matches wins."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streamcanary.model.alerts.matcher import Matchers, all_match


class Route(BaseModel):
    """Alerts whose labels all of ``match`` match go to ``receivers``; without ``match``, every alert does.

    Labels are those of the alert: ``alertname`` (or ``alert``), ``canary``, ``target``, ``provider``, ``instance``, the
    canary's own and the rule's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Matchers = ()
    receivers: Annotated[tuple[str, ...], Field(min_length=1)]


def route_for(routes: Iterable[Route], labels: Mapping[str, str]) -> Route | None:
    """Return the first route that matches an alert with ``labels``; ``None`` if no route does."""
    known = {**labels, "alert": labels.get("alertname", "")}
    return next((route for route in routes if all_match(route.match, known)), None)
