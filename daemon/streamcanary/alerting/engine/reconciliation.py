"""After a lost store: what it may have known of canaries is called off once they are seen to be well. Pure.

Nobody can tell a lost store from a first start, so keyed receivers get one resolve for each group that there can be;
one that knows of no such alert drops it. Alerts about the daemon itself are left out: that would be noise at each first
start about what hardly ever was. A store that is known to have missed something is another matter.
"""

from typing import Final

import msgspec

from streamcanary.alerting.builtin_rules import RECEIVER_FAILING, STORE_FAILING
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.bindings import Pairs
from streamcanary.alerting.engine.groups import Groups
from streamcanary.alerting.engine.reachability import Sighting
from streamcanary.alerting.engine.state import Draft
from streamcanary.model.alerts.incident import Evidence, Group, Incident

RECALLED: Final = "it is well, whatever an earlier store knew of it"
"""The reason of a resolve that nobody remembers a page of."""

UNREADABLE: Final = "what the store had of it cannot be read"
"""The reason of a resolve of which only the group is known."""


class Recall:
    """What can be called off, under one configuration."""

    def __init__(self, pairs: Pairs, groups: Groups) -> None:
        self._pairs = pairs
        self._groups = groups
        self._ours = {pairs.key(rule, subject): (rule, subject) for rule, subject in pairs.own()}

    def suspect(self, draft: Draft, now: float, *, ours: bool) -> None:
        """Take note that any incident may have been told of that is not known, and keyed receivers wait for its end.

        With ``ours`` that goes for alerts about the daemon, too.
        """
        self._distrust(draft)
        possible = [self._pairs.incident(pair, now, Evidence()) for pair in self._pairs]
        possible += [self._pairs.ours(*one, "", now) for one in self._ours.values() if ours]
        for incident in possible:
            receivers = tuple(self._groups.keyed(self._groups.told(incident)))
            key, labels = self._groups.key_of(incident, self._pairs.names(incident))
            group = draft.groups.get(key)
            if not receivers or (group is not None and group.firing):
                continue
            if group is None or not group.forgotten:
                opened = now if group is None else max(now, group.opened + 0.001)  # no id may come twice
                group = Group(key=key, labels=labels, receivers=receivers, opened=opened, forgotten=True)
            members = tuple(dict.fromkeys((*group.members, incident.key)))
            draft.put(msgspec.structs.replace(group, members=members))

    def look(self, draft: Draft, now: float) -> None:
        """Call off the groups of which all was seen to be well."""
        for group in list(draft.groups.values()):
            if group.forgotten and all(self._well(draft, key, now - group.opened) for key in group.members):
                draft.put(msgspec.structs.replace(group, forgotten=False, resolved=now))
                incidents = tuple(self._unremembered(group, key, RECALLED, now) for key in group.members)
                notification_queue.recall(draft, group, incidents, self._groups.keyed(group.receivers), now)

    def fill_in(self, draft: Draft, now: float) -> None:
        """Hold as over what a group has told of and the store could not read: if it is still bad, it fires anew."""
        for group in list(draft.groups.values()):
            for key in group.members if group.firing else ():
                if key not in draft.incidents:
                    draft.put(self._unremembered(group, key, UNREADABLE, now))

    @staticmethod
    def _distrust(draft: Draft) -> None:
        """Have nothing count as seen that was: what followed it is not known."""
        for key, watch in list(draft.detectors.items()):
            draft.put_watch(key, msgspec.structs.replace(watch, bad=True))
        for name, sighting in list(draft.sightings.items()):
            draft.put_sighting(name, Sighting(sighting.at))

    def _well(self, draft: Draft, key: str, waited: float) -> bool:
        """Tell whether what the incident of ``key`` is about was seen, and nothing was wrong; or nobody looks at it."""
        pair = self._pairs.get(key)
        if pair is None:
            return key not in self._ours or self._are_well(draft, *self._ours[key], waited)
        if pair.judge is None:
            sighting = draft.sightings.get(pair.canary.identity)
            return sighting is not None and sighting.seen
        watch = draft.detectors.get(key)
        return watch is not None and not watch.bad

    @staticmethod
    def _are_well(draft: Draft, rule: str, subject: str, waited: float) -> bool:
        """Tell whether nothing is known to be wrong with a part of the daemon, ``waited`` seconds after the suspicion.

        If there is after all, it fires anew.
        """
        if rule == STORE_FAILING:
            return waited > 0  # by the next step it has been written, or it fires
        if rule == RECEIVER_FAILING:
            return waited > 0 and not notification_queue.owes(draft, subject)
        return any(sighting.reached for sighting in draft.sightings.values())

    def _unremembered(self, group: Group, key: str, reason: str, now: float) -> Incident:
        """Return the incident of ``group`` that an earlier store may have known under ``key``, as over.

        Its annotations are left out: there is no evidence to fill them in with.
        """
        if (pair := self._pairs.get(key)) is not None:
            incident = msgspec.structs.replace(self._pairs.incident(pair, now, Evidence()), annotations={})
        elif key in self._ours:
            incident = msgspec.structs.replace(self._pairs.ours(*self._ours[key], "", now), annotations={})
        else:
            labels = group.labels
            subject = labels.get("canary") or labels.get("target") or ""
            incident = Incident(key=key, rule=labels.get("alert", ""), subject=subject, labels=labels, opened=now)
        return msgspec.structs.replace(incident, resolved=now, reason=reason)
