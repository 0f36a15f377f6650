"""The status page over a scenario, for tests and for looking at it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from streamcanary.model.alerts.matcher import Matcher, all_match
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.outcome import Outcome
from streamcanary.model.run_trace import RunPage, RunTrace
from streamcanary.model.status.alert_history import (
    IncidentPage,
    MaintenanceWindow,
    PastIncident,
    ReceiverStatus,
    SilencePreview,
)
from streamcanary.model.status.canary_status import CanaryStatus, FaultCount, RuleStatus
from streamcanary.model.status.summary import StatusSummary
from streamcanary.store.errors import StoreFailing
from streamcanary.web.page.sources import PageSources
from support.status.alerts import AlertScenario, quiet
from support.status.canaries import Scenario, make_detail
from support.status.outcomes import make_outcome


class ScenarioCanaries:
    """Canaries of a scenario; with ``unavailable``, the store cannot be read."""

    def __init__(self, scenario: Scenario, unavailable: str = "") -> None:
        self.scenario, self.unavailable = scenario, unavailable

    def summary(self) -> StatusSummary:
        return self.scenario.summary

    def statuses(self) -> tuple[CanaryStatus, ...]:
        return self.scenario.statuses

    def with_hours(self, statuses: Iterable[CanaryStatus]) -> tuple[CanaryStatus, ...]:
        return tuple(statuses)

    def find(self, name: str) -> CanaryStatus | None:
        return next((one for one in self.scenario.statuses if one.name == name), None)

    def recorded_names(self, name: str) -> tuple[str, ...]:
        return (name,)

    async def runs_of(
        self, names: Sequence[str], *, before: int | None = None, limit: int = 50, kinds: Sequence[str] = ()
    ) -> tuple[list[Outcome], int | None]:
        """Return the recent runs as recorded ones; rows are numbered from the oldest."""
        if self.unavailable:
            raise StoreFailing(self.unavailable)
        [canary] = names
        status = self.find(canary)
        runs = [make_outcome(canary, run) for run in (status.recent_runs if status else ())]
        end = len(runs) if before is None else min(before, len(runs))
        start = max(0, end - limit)
        return runs[start:end][::-1], start or None

    async def find_run(self, run_id: str) -> Outcome | None:
        if self.unavailable:
            raise StoreFailing(self.unavailable)
        runs = [(one.name, run) for one in self.scenario.statuses for run in one.recent_runs if run.run_id == run_id]
        return make_outcome(*runs[0]) if runs else None

    async def faults_of(self, canary: str) -> tuple[FaultCount, ...]:
        if self.unavailable:
            raise StoreFailing(self.unavailable)
        status = self.find(canary)
        return () if status is None or not status.recent_runs else make_detail(status).faults


class ScenarioRuns:
    """Kept runs."""

    def __init__(self, traces: Sequence[RunTrace] = ()) -> None:
        self.traces = traces

    def list_runs(
        self,
        *,
        canary: str | None = None,
        outcomes: Collection[str] = (),
        since: datetime | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> RunPage:
        return RunPage(runs=[one.run for one in self.traces if canary in (None, one.run.canary)][:limit])

    def find(self, id: str) -> RunTrace | None:  # noqa: A002 - the field's name
        return next((one for one in self.traces if id in (one.run.run_id, one.run.trace_id)), None)


class ScenarioAlerts:
    """Alerting of a scenario; silences can be made and ended."""

    def __init__(
        self,
        scenario: AlertScenario,
        canaries: Sequence[CanaryStatus] = (),
        unavailable: str = "",
        trace_url: str | None = None,
    ) -> None:
        self.scenario, self.canaries, self.unavailable, self.trace_url = scenario, canaries, unavailable, trace_url
        self.made = {one.id: one for one in scenario.silences}
        self.is_full = False

    @property
    def status(self) -> StatusSnapshot:
        return self.scenario.status

    @property
    def silences(self) -> tuple[Silence, ...]:
        return tuple(self.made.values())

    async def create_silence(self, silence: Silence) -> None:
        if self.is_full:
            raise ValueError("there are 1000 silences; end some of them")
        self.made[silence.id] = silence

    async def delete_silence(self, id: str) -> bool:  # noqa: A002 - the field's name
        return self.made.pop(id, None) is not None

    @property
    def history(self) -> "ScenarioAlerts":
        return self

    async def read_page(self, cursor: str | None = None, *, limit: int = 50, canary: str | None = None) -> IncidentPage:
        if self.unavailable:
            raise StoreFailing(self.unavailable)
        start = int(cursor or 0)
        shown = self.scenario.history[start : start + limit]
        following = start + limit
        return IncidentPage(incidents=shown, cursor=str(following) if following < len(self.scenario.history) else None)

    async def get(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        if self.unavailable:
            raise StoreFailing(self.unavailable)
        return next((one for one in self.scenario.history if one.id == id), None)

    @property
    def unfinished(self) -> Sequence[PastIncident]:
        return [one for one in self.scenario.history if one.resolved is None]

    async def rules_with_forecasts(self, canary: str) -> tuple[RuleStatus, ...]:
        return self.rules(canary)

    def rules(self, canary: str) -> tuple[RuleStatus, ...]:
        status = next((one for one in self.canaries if one.name == canary), None)
        return () if status is None else make_detail(status).rules

    @property
    def view(self) -> "ScenarioAlerts":
        return self

    @property
    def receivers(self) -> tuple[ReceiverStatus, ...]:
        return self.scenario.receivers

    @property
    def maintenance(self) -> tuple[MaintenanceWindow, ...]:
        return self.scenario.maintenance

    def preview_silence(self, silence: Silence) -> SilencePreview:
        matchers = [Matcher.parse(text) for text in silence.match]
        names = tuple(
            one.name
            for one in self.canaries
            if all_match(matchers, {**one.labels, "canary": one.name, "target": one.target, "provider": one.provider})
        )
        alerts = tuple(
            f"{one.incident.rule} {one.incident.subject}"
            for one in self.scenario.status.incidents
            if all_match(matchers, {**one.incident.labels, "alert": one.incident.rule})
        )
        return SilencePreview(canaries=names[:50], canary_count=len(names), alerts=alerts, alert_count=len(alerts))


def make_sources(
    scenario: Scenario,
    alerts: AlertScenario | None = None,
    traces: Sequence[RunTrace] = (),
    *,
    unavailable: str = "",
    trace_url: str | None = None,
) -> PageSources:
    """Return the sources of the page over a scenario."""
    canaries = ScenarioCanaries(scenario, unavailable)
    return PageSources(
        canaries=canaries,
        recorded=canaries,
        faults=canaries,
        kept=ScenarioRuns(traces),
        alerts=ScenarioAlerts(alerts or quiet(), scenario.statuses, unavailable, trace_url),
    )
