"""Groups: which incidents are told of together, to whom, and when. Pure; what is to be said goes into the outbox.

An incident joins a group when it fires and is not muted, and stays in it until the group is over. Waiting is for edge
receivers only: a level receiver groups by itself, and is told of every member at once.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from streamcanary.alerting import outbox
from streamcanary.alerting.builtin import ABOUT_US, RECEIVER_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.keys import group_key
from streamcanary.alerting.mute import Mute
from streamcanary.alerting.routes import route_for
from streamcanary.alerting.state import Draft
from streamcanary.model.incident import Group, Incident

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

    def keyed(self, receivers: Iterable[str]) -> list[str]:
        """Return the edge receivers that know a group by its key, and are not confused by a second resolve."""
        return [name for name in self.edges(receivers) if self._receivers[name].keyed]

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

    def join(self, draft: Draft, incident: Incident, names: tuple[str, str], now: float) -> None:
        """Put an incident that fires into its group, unless it is muted."""
        if self._mute.reason(draft, incident, now) is not None:
            return
        key, labels = self.key_of(incident, names)
        group = draft.groups.get(key)
        if group is None or not group.firing:
            opened = incident.opened if group is None else max(incident.opened, group.opened + _TICK)
            group = Group(key=key, labels=labels, opened=opened)
        members = tuple(dict.fromkeys([*group.members, incident.key]))
        receivers = tuple(dict.fromkeys([*group.receivers, *self.told(incident)]))
        group = msgspec.structs.replace(group, members=members, receivers=receivers)
        draft.put(group)
        due = incident.opened + self._wait if group.flushed is None else group.flushed + self._interval
        if _is_ours(incident) or not _is_on_its_way(group, due, now):
            self.look(draft, group, now)

    def handed_over(self, draft: Draft, incident: Incident, now: float) -> bool:
        """Take ``incident``, which fires anew, out of groups that knew it before; tell whether one has to keep it.

        That is one whose receivers were not told yet that it was over. The others would tell level receivers of it,
        muted or not.
        """
        for group in list(draft.groups.values()):
            if incident.key not in group.members or group.forgotten:
                continue
            if group.firing and incident.key in group.said:
                self.look(draft, group, now)
                return True
            members = tuple(key for key in group.members if key != incident.key)
            draft.put(msgspec.structs.replace(group, members=members))
        return False

    def left(self, draft: Draft, key: str, now: float) -> None:
        """Take note that the incident of ``key`` is over."""
        for group in list(draft.groups.values()):
            if not group.firing or key not in group.members:  # its own key may be of another instance's making
                continue
            due = (group.flushed or now) + self._interval
            goes_on = any((one := draft.incidents.get(other)) is not None and one.firing for other in group.said)
            if not goes_on or not _is_on_its_way(group, due, now):
                self.look(draft, group, now)

    def look(self, draft: Draft, group: Group, now: float) -> None:
        """Say what is due to be said of ``group`` at ``now`` (seconds since the epoch), or when it will be."""
        said = frozenset(group.said)
        members = [draft.incidents[key] for key in group.members if key in draft.incidents]
        alive, loud = [], False
        for one in members:
            if one.firing:
                muted = self._mute.reason(draft, one, now) is not None
                if one.key in said or not muted:
                    alive.append(one)
                loud = loud or not muted
        over = [one for one in members if one.key in said and not one.firing]
        if not alive:
            self._end(draft, group, tuple(over), now)
            return
        news = [one for one in alive if one.key not in said]
        due = self._due(group, news, changed=bool(news or over), loud=loud, now=now)
        if due is not None and due <= now:
            receivers = tuple(dict.fromkeys([*group.receivers, *(name for one in alive for name in self.told(one))]))
            outbox.tell(draft, group, (*alive, *over), self.edges(receivers), now)
            group = msgspec.structs.replace(
                group,
                said=tuple(one.key for one in alive),
                receivers=receivers,
                flushed=now,
                updated=group.flushed is not None,
            )
            due = self._due(group, [], changed=False, loud=loud, now=now)
        if due != group.due or group is not draft.groups.get(group.key):
            draft.put(msgspec.structs.replace(group, due=due))

    def _due(self, group: Group, news: list[Incident], *, changed: bool, loud: bool, now: float) -> float | None:
        """Return when receivers are to hear of ``group`` next. A clock that was set back makes no wait longer."""
        if group.flushed is None:
            since = min(one.opened for one in news)
            wait = 0.0 if any(_is_ours(one) for one in news) else self._wait
        elif changed or loud:
            since = group.flushed
            wait = self._interval if changed else self._repeat
        else:
            return None
        if since <= now:
            return since + wait
        return now + wait if group.due is None else min(now + wait, group.due)

    def _end(self, draft: Draft, group: Group, over: tuple[Incident, ...], now: float) -> None:
        """Close ``group``, of which nothing fires any more, and have it called off where it was announced."""
        ends = [one.resolved for one in over if one.resolved is not None]
        group = msgspec.structs.replace(group, resolved=max([group.opened, *ends]) if ends else now, due=None)
        if group.said:
            unaware = outbox.call_off(draft, group, over, self.edges(group.receivers), now)
            receivers = tuple(name for name in group.receivers if name not in unaware)
            group = msgspec.structs.replace(group, receivers=receivers)
        draft.put(group)

    # ---- with configurations

    def reroute(self, draft: Draft, group: Group, now: float) -> None:
        """Have receivers that a route now names told of ``group``; those told before are told when it is over.

        A page that a receiver refused may find it mended. If of what was told nothing fires any longer, they hear of
        the group with what they are not told yet, when that is due.
        """
        members = tuple(draft.incidents[key] for key in group.members)
        said = tuple(member for member in members if member.key in group.said)
        if said and not any(member.firing for member in said):
            return
        kept = [name for name in group.receivers if name in self._receivers]
        routed = {name: None for member in members if member.firing for name in self.told(member)}
        receivers = tuple(dict.fromkeys([*kept, *routed]))
        if receivers != group.receivers:
            group = msgspec.structs.replace(group, receivers=receivers)
            draft.put(group)
        if said:
            outbox.tell(draft, group, said, outbox.untold(draft, group, self.edges(routed)), now)
            outbox.try_again(draft, group, said, routed, now)


def _is_on_its_way(group: Group, due: float, now: float) -> bool:
    """Tell whether receivers will hear of ``group`` by ``due`` anyway: thousands that join at once cost one look."""
    return group.due is not None and now < group.due <= due


def _is_ours(incident: Incident) -> bool:
    """Tell whether ``incident`` is about a part of the daemon."""
    return incident.rule in ABOUT_US
