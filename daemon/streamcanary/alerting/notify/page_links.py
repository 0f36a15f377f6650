"""Links in notifications: to the status page of this daemon, and to the tracing backend."""

from typing import NamedTuple
from urllib.parse import quote

from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.matcher import Matcher
from streamcanary.model.status.alert_history import past_incident_id

_MAX_URL_LENGTH = 1900  # receivers cut longer links, which then lead elsewhere


class LinkSettings(NamedTuple):
    """Where links lead: ``external_url`` is the address of the status page, without a slash at its end.

    ``trace_url`` is the template of links to traces, with ``{trace_id}`` in it. Without one of the two, notifications
    have no such links.
    """

    trace_url: str | None = None
    external_url: str | None = None

    def trace_urls(self, trace_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Return the links to the traces of ``trace_ids``."""
        template = self.trace_url
        return tuple(template.replace("{trace_id}", one) for one in trace_ids) if template else ()

    def incident_url(self, incident: Incident) -> str:
        """Return the link to the page of ``incident``; empty without ``external_url``."""
        if not self.external_url:
            return ""
        return f"{self.external_url}/incidents/{quote(past_incident_id(incident.key, incident.opened), safe='')}"

    def silence_url(self, incident: Incident) -> str:
        """Return the link to the form that silences ``incident``; empty without ``external_url``, or if it is long."""
        if not self.external_url:
            return ""
        matchers = [Matcher("alert", "=", incident.rule)]
        if incident.canary:
            matchers.append(Matcher("canary", "=", incident.canary))
        elif incident.scope and incident.labels.get(incident.scope):
            matchers.append(Matcher(incident.scope, "=", incident.labels[incident.scope]))
        elif incident.labels.get("subject"):
            matchers.append(Matcher("subject", "=", incident.labels["subject"]))
        url = f"{self.external_url}/silences?" + "&".join(f"match={quote(str(one), safe='')}" for one in matchers)
        return url if len(url) <= _MAX_URL_LENGTH else ""

    def alerts_url(self) -> str:
        """Return the link to the page of all alerts; empty without ``external_url``."""
        return f"{self.external_url}/alerts" if self.external_url else ""
