"""Alerting as others see it: a board made from its state. Pure; asked by people, and so now and then."""

from collections.abc import Iterator, Mapping, Sequence

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.muting import Mute
from streamcanary.alerting.engine.state import Draft, State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.message import render_incident, render_notice
from streamcanary.alerting.service.liveness import Failing
from streamcanary.model.alerts.incident import Incident, Notice, Progress
from streamcanary.model.alerts.status_snapshot import Board, Shown, Undelivered

MOST_INCIDENTS = 1000
"""How many open incidents are shown."""

MOST_UNDELIVERED = 100
"""How many notices are shown that are not delivered."""


class Display:
    """Makes boards under one configuration, that of ``engine``."""

    def __init__(self, config: AlertsConfig, engine: Engine) -> None:
        groups = engine.groups
        self._trace_url = config.trace_url
        self._mute = Mute(
            config.maintenance, engine.pairs.explaining, groups.told, lambda name: not groups.edges([name])
        )

    def board(
        self, state: State, levels: Mapping[str, Sequence[Failing | None]], now: float, monotonic: float
    ) -> Board:
        """Return what ``state`` shows at ``now`` (seconds since the epoch; the same moment by the other clock).

        ``levels`` tells of the addresses of each level receiver since when they take nothing, and why.
        """
        draft = Draft(state)
        firing = sorted((one for one in state.incidents.values() if one.firing), key=lambda one: (one.opened, one.key))
        owed = sorted(
            (notice for notice in state.notices.values() if notice.state is not Progress.ACCEPTED),
            key=lambda notice: notice.number,
        )
        behind = list(_behind(levels, now, monotonic))
        told = [_undelivered(notice) for notice in owed[: MOST_UNDELIVERED - len(behind)]]
        return Board(
            incidents=tuple(self._shown(draft, incident, now) for incident in firing[:MOST_INCIDENTS]),
            firing=len(firing),
            undelivered=(*behind, *told),
            owed=len(behind) + len(owed),
        )

    def _shown(self, draft: Draft, incident: Incident, now: float) -> Shown:
        watch = draft.detectors.get(incident.key)
        labels = {**incident.labels, "alert": incident.rule}
        incident = watch.refresh(incident) if watch is not None else incident
        return Shown(
            incident=incident,
            annotations=render_incident(incident, now, self._trace_url).annotations,
            muted=self._mute.reason(draft, incident, now),
            silences=tuple(one.id for one in draft.silences.values() if one.active(now) and one.covers(labels)),
        )


def _undelivered(notice: Notice) -> Undelivered:
    parked = notice.state is Progress.PARKED
    return Undelivered(
        receiver=notice.receiver,
        action=notice.action.value,
        title=render_notice(notice).title,
        since=notice.created,
        tries=notice.tries,
        parked=parked,
        next_try=None if parked else notice.next_try,
        error=notice.last_error,
    )


def _behind(levels: Mapping[str, Sequence[Failing | None]], now: float, monotonic: float) -> Iterator[Undelivered]:
    """Yield the level receivers of which an address takes nothing."""
    for name, addresses in levels.items():
        failing = [one for one in addresses if one is not None]
        if failing:
            since = min(one.since for one in failing)
            yield Undelivered(
                receiver=name,
                action="state",
                title=f"{len(failing)} of {len(addresses)} addresses take nothing",
                since=now - max(0.0, monotonic - since),
                error=failing[0].reason,
            )
