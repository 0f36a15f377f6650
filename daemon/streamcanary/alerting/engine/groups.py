"""Groups: which incidents are told of together, to whom, and when. Pure; what is to be said goes into the outbox.

An incident joins a group when it fires and is not muted, and stays in it until the group is over. Waiting is for edge
receivers only: a level receiver groups by itself, and is told of every member at once.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from streamcanary.alerting.builtin_rules import ABOUT_US, RECEIVER_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.keys import group_key
from streamcanary.alerting.engine.muting import Mute
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.routing import route_for
from streamcanary.model.alerts.incident import Group, Incident

_TICK: Final = 0.001
"""Seconds by which a group that opens anew is later than its last opening, so that no id of a notice comes twice."""


class Groups:
    """The grouping that one configuration asks for. ``explaining`` names incidents that may explain a given one."""

    def __init__(self, config: AlertsConfig, instance: str, explaining: dict[str, tuple[str, ...]]) -> None:
        self._instance = instance
        self._by = config.group_by
        self._wait, self._interval, self._repeat = config.group_wait, config.group_interval, config.repeat_interval
        self._routes = config.effective_routes
        self._receivers = config.receivers
        self._mute = Mute(config.maintenance, explaining, self.told, lambda name: not self.edges([name]))

    # ---- who

    def told(self, incident: Incident) -> tuple[str, ...]:
        """Return who is told of ``incident``: for a failing receiver the others of its route, or else all others."""
        route = route_for(self._routes, incident.labels)
        names = tuple(dict.fromkeys(route.receivers if route else ()))
        if incident.rule != RECEIVER_FAILING:
            return names
        others = tuple(name for name in names if name != incident.subject)
        return others or tuple(name for name in self._receivers if name != incident.subject)

    def edges(self, receivers: Iterable[str]) -> list[str]:
        """Return those of ``receivers`` that are told of changes, once each."""
        return [name for name in receivers if name in self._receivers and not self._receivers[name].level]

    def _is_level(self, receiver: str) -> bool:
        return receiver in self._receivers and self._receivers[receiver].level

    def keyed(self, receivers: Iterable[str]) -> list[str]:
        """Return the edge receivers that know a group by its key, and are not confused by a resolve too many."""
        return [name for name in self.edges(receivers) if self._receivers[name].recalls]

    def key_of(self, incident: Incident, names: tuple[str, str]) -> tuple[str, dict[str, str]]:
        """Return the key and the labels of the group that ``incident`` belongs to.

        ``names`` are those of the rule and the subject for the key: of one that was renamed, the former.
        """
        labels = {**incident.labels, "alert": incident.rule}
        shared = {name: labels[name] for name in self._by if labels.get(name)}
        if _is_ours(incident):  # parts of the daemon have little in common, and each page has its own receivers
            shared |= {"alert": incident.rule, "subject": incident.subject}
        keyed = {**shared, **({"alert": names[0]} if "alert" in shared else {})}
        if "canary" in keyed:
            keyed["canary"] = names[1]
        route = route_for(self._routes, incident.labels)
        written = ",".join(sorted(map(str, route.match))) if route else ""
        return group_key(self._instance, written, *(part for pair in sorted(keyed.items()) for part in pair)), shared

    # ---- when

    def join(self, draft: Draft, incident: Incident, names: tuple[str, str], now: float, *, look: bool = True) -> None:
        """Put an incident that fires into its group, unless it is muted. Without ``look`` another has to follow."""
        if self._mute.reason(draft, incident, now) is not None:
            return
        key, labels = self.key_of(incident, names)
        group = draft.groups.get(key)
        if group is None or not group.firing:
            opened = incident.opened if group is None else max(incident.opened, group.opened + _TICK)
            doubted = group.receivers if group is not None and group.forgotten else ()
            group = Group(key=key, labels=labels, opened=opened, doubted=doubted)
        members = tuple(dict.fromkeys([*group.members, incident.key]))
        routed = self.told(incident)
        if group.said:  # whoever is new hears of it when the others hear more
            routed = tuple(name for name in routed if self._is_level(name))
        receivers = tuple(dict.fromkeys([*group.receivers, *routed]))
        group = msgspec.structs.replace(group, members=members, receivers=receivers)
        draft.put(group)
        due = incident.opened + self._wait if group.flushed is None else group.flushed + self._interval
        if look and (_is_ours(incident) or not _is_on_its_way(group, due, now)):
            self.look(draft, group, now)

    def handed_over(self, draft: Draft, incident: Incident, now: float) -> bool:
        """Take ``incident``, which fires anew, out of groups that knew it before; tell whether one has to keep it.

        That is one whose receivers were not told yet that it was over. The others would tell level receivers of it,
        muted or not.
        """
        for group in draft.homes(incident.key):
            if group.forgotten:  # its end is still to be told to some, and not the state of things to others
                draft.put(msgspec.structs.replace(group, receivers=tuple(self.edges(group.receivers))))
                continue
            if group.firing and incident.key in group.said:
                self.look(draft, group, now)
                return True
            members = tuple(key for key in group.members if key != incident.key)
            draft.put(msgspec.structs.replace(group, members=members))
        return False

    def left(self, draft: Draft, key: str, now: float) -> None:
        """Take note that the incident of ``key`` is over."""
        for group in draft.homes(key):  # its own key may be of another instance's making
            if not group.firing:
                continue
            due = (group.flushed or now) + self._interval
            goes_on = any((one := draft.incidents.get(other)) is not None and one.firing for other in group.said)
            if not goes_on or not _is_on_its_way(group, due, now):
                self.look(draft, group, now)

    def look(self, draft: Draft, group: Group, now: float) -> None:
        """Say what is due to be said of ``group`` at ``now`` (seconds since the epoch), or when it will be."""
        if group.flushed is not None and group.flushed > now:  # the clock was set back; no wait may get longer
            group = msgspec.structs.replace(group, flushed=now)
        members = [draft.incidents[key] for key in group.members if key in draft.incidents]
        said = frozenset(group.said)
        muted = {one.key for one in members if one.firing and self._mute.reason(draft, one, now) is not None}
        alive = [one for one in members if one.firing and (one.key in said or one.key not in muted)]
        over = [one for one in members if one.key in said and not one.firing]
        if not alive:
            self._end(draft, group, tuple(over), now)
            return
        if said:
            group = self._catch_up(draft, group, members, muted, now)
        news = [one for one in alive if one.key not in said]
        audible = any(one.key not in muted for one in alive)
        loud = audible and not self._is_settled(draft, alive)
        due = self._due(group, news, over, loud=loud, now=now)
        if due is not None and due <= now:
            group = self._tell(draft, group, alive, over, now, audible=audible)
            due = self._due(group, [], [], loud=loud, now=now)
        if due != group.due or group is not draft.groups.get(group.key):
            draft.put(msgspec.structs.replace(group, due=due))

    def _tell(
        self, draft: Draft, group: Group, alive: list[Incident], over: list[Incident], now: float, *, audible: bool
    ) -> Group:
        """Have receivers told how ``group`` is now, with the evidence as it is now; return it.

        Unless some of it is ``audible``, not muted, only those are who were told of it before.
        """
        for position, one in enumerate(alive):
            watch = draft.detectors.get(one.key)
            alive[position] = watch.refresh(one) if watch is not None else one
            if alive[position] is not one:
                draft.put(alive[position])
        routed = dict.fromkeys(name for one in alive for name in self.told(one) if audible)
        receivers = tuple(dict.fromkeys([*group.receivers, *routed]))
        said = tuple(one.key for one in alive)
        # who was told before, and is no longer routed to, hears of what changes, and not that nothing does
        telling = self.edges(routed if said == group.said and not over else receivers)
        notification_queue.tell(draft, group, (*alive, *over), telling, now)
        late = tuple(name for name in group.late if name not in receivers)
        updated = group.flushed is not None
        return msgspec.structs.replace(group, said=said, receivers=receivers, late=late, flushed=now, updated=updated)

    def _catch_up(self, draft: Draft, group: Group, members: list[Incident], muted: set[str], now: float) -> Group:
        """Have who is late told what the others were told last; while it is muted, spare who has not heard of it."""
        said = self._as_told(group, members)
        if any(one.firing and one.key in group.said and one.key not in muted for one in members):
            if group.late:
                notification_queue.tell(draft, group, said, self.edges(group.late), now)
                receivers = tuple(dict.fromkeys([*group.receivers, *group.late]))
                group = msgspec.structs.replace(group, receivers=receivers, late=())
        elif spared := notification_queue.withdraw(draft, group, self.edges(group.receivers)):
            receivers = tuple(name for name in group.receivers if name not in spared)
            late = tuple(dict.fromkeys([*group.late, *spared]))
            group = msgspec.structs.replace(group, receivers=receivers, late=late)
        return group

    @staticmethod
    def _as_told(group: Group, members: list[Incident]) -> tuple[Incident, ...]:
        """Return what receivers were told last; nothing if none of it fires any longer.

        Of which members are over the others will hear together, so whoever catches up is told as they were.
        """
        said = [one for one in members if one.key in group.said]
        if not any(one.firing for one in said):
            return ()
        return tuple(msgspec.structs.replace(one, resolved=None, reason=None) for one in said)

    def _is_settled(self, draft: Draft, alive: list[Incident]) -> bool:
        """Tell whether all that fails is receivers that nothing is kept for: to repeat that would be noise."""
        return all(one.rule == RECEIVER_FAILING and not notification_queue.owes(draft, one.subject) for one in alive)

    def _due(self, group: Group, news: list[Incident], over: list[Incident], *, loud: bool, now: float) -> float | None:
        """Return when receivers are to hear of ``group`` next. A clock that was set back makes no wait longer."""
        if group.flushed is None:
            since = min(now, *(one.opened for one in news))
            wait = 0.0 if any(_is_ours(one) for one in news) else self._wait
            return since + wait if group.due is None else min(since + wait, group.due)
        if news:
            return group.flushed + self._interval
        if over:  # soon all of them may be, and that is told at once
            ends = [one.resolved for one in over if one.resolved is not None and one.resolved <= now]
            return max([group.flushed + self._interval, *(end + self._wait for end in sorted(ends)[:1])])
        return group.flushed + self._repeat if loud else None

    def _end(self, draft: Draft, group: Group, over: tuple[Incident, ...], now: float) -> None:
        """Close ``group``, of which nothing fires any more, and have it called off where it was announced."""
        ends = [one.resolved for one in over if one.resolved is not None]
        group = msgspec.structs.replace(group, resolved=max([group.opened, *ends]) if ends else now, due=None)
        unaware = set(edges := self.edges(group.receivers))
        if group.said:
            unaware = notification_queue.call_off(draft, group, over, edges, now)
            receivers = tuple(name for name in group.receivers if name not in unaware)
            group = msgspec.structs.replace(group, receivers=receivers)
        aware = [name for name in edges if name not in unaware]
        if still := [name for name in self.keyed(group.doubted) if name not in aware]:
            levels = [name for name in group.receivers if name not in edges]
            group = msgspec.structs.replace(group, receivers=(*levels, *still), forgotten=True)
        draft.put(group)

    # ---- with configurations

    def reroute(self, draft: Draft, group: Group, now: float) -> None:
        """Have receivers that a route now names hear of ``group``; those told before are told when it is over.

        A page that a receiver refused may find it mended.
        """
        members = [draft.incidents[key] for key in group.members]
        routed = tuple(dict.fromkeys(name for one in members if one.firing for name in self.told(one)))
        untold = notification_queue.untold(draft, group, group.receivers)
        kept = [name for name in group.receivers if self._is_level(name) or name in self.edges(group.receivers)]
        kept = [name for name in kept if self._is_level(name) or name not in untold]
        levels = [name for name in routed if not group.said or self._is_level(name)]
        receivers = tuple(dict.fromkeys([*kept, *levels]))
        late = tuple(name for name in self.edges(routed) if name not in receivers)
        if (receivers, late) != (group.receivers, group.late):
            group = msgspec.structs.replace(group, receivers=receivers, late=late)
            draft.put(group)
        self._try_again(draft, group, self.edges(routed), now)

    def mended(self, draft: Draft, receiver: str, now: float) -> None:
        """Have ``receiver``, which accepts notices again, get those that it refused."""
        refused = notification_queue.refused(draft, receiver)
        for notice in refused:
            group = draft.groups.get(notice.group)
            if group is not None and group.firing and group.opened == notice.opened:
                self._try_again(draft, group, [receiver], now)
        notification_queue.end_again(draft, refused, now)

    def _try_again(self, draft: Draft, group: Group, receivers: list[str], now: float) -> None:
        members = [draft.incidents[key] for key in group.said if key in draft.incidents]
        if any(one.firing and self._mute.reason(draft, one, now) is None for one in members):
            notification_queue.try_again(draft, group, self._as_told(group, members), receivers, now)


def _is_on_its_way(group: Group, due: float, now: float) -> bool:
    """Tell whether receivers will hear of ``group`` by ``due`` anyway: thousands that join at once cost one look."""
    return group.due is not None and now < group.due <= due


def _is_ours(incident: Incident) -> bool:
    """Tell whether ``incident`` is about a part of the daemon."""
    return incident.rule in ABOUT_US
