"""All that alerting knows, as values: what the engine steps from, and what the store keeps."""

from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct, field

from streamcanary.alerting.detectors import DetectorState
from streamcanary.alerting.detectors.base import Tally
from streamcanary.alerting.engine.evidence import Trail
from streamcanary.alerting.engine.reachability import Sighting
from streamcanary.model.alerts.incident import Group, Incident, Notice
from streamcanary.model.alerts.row_change import Row, Table
from streamcanary.model.alerts.silence import Silence

TABLES: Final[tuple[Table, ...]] = get_args(Table)


class Watch(Struct, frozen=True, omit_defaults=True):
    """One rule looking at one canary: ``bad`` tells of the last sample, ``tally`` counts while it fires."""

    detector: DetectorState
    trail: Trail = Trail()
    bad: bool = False
    tally: Tally | None = None

    def refresh(self, incident: Incident) -> Incident:
        """Return ``incident`` with the evidence as it is now: from its first bad sample on."""
        if self.tally is None:
            return incident
        evidence = self.trail.evidence(self.tally, incident.evidence.diagnosis)
        if evidence.since is None:
            return incident
        return msgspec.structs.replace(incident, evidence=evidence)


class State(Struct, frozen=True, kw_only=True):
    """Six tables, as the store has them. A step makes new ones of those it changes; nobody changes them in place.

    ``numbered`` is the number of the newest notice, ``awake`` since when the engine has been stepped without a gap,
    ``ticked`` when it was last told the time; seconds since the epoch. These two are of this process alone, and not
    stored.
    """

    detectors: Mapping[str, Watch] = field(default_factory=dict)
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    notices: Mapping[str, Notice] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    awake: float = 0.0
    ticked: float = 0.0
    numbered: int = 0

    @property
    def blank(self) -> bool:
        """Whether there is nothing in it: no daemon has run before, or what it knew is lost."""
        return not any(self.table(name) for name in TABLES)

    def table(self, name: Table) -> Mapping[str, Any]:
        """Return the table called ``name``."""
        table: Mapping[str, Any] = getattr(self, name)
        return table

    def rows(self) -> tuple[Row, ...]:
        """Return all of it, for a store that has lost its own."""
        return tuple(
            Row(name, key, msgspec.json.encode(value)) for name in TABLES for key, value in self.table(name).items()
        )

    def over(self, older: "State") -> "State":
        """Return this state, and what ``older`` has under other keys.

        What ``older`` has to tell of a group that this state knows is dropped, as that is newer; who may know of it
        from then, and hears nothing of it now, is to be told of its end.
        """
        tables: dict[str, Any] = {name: {**older.table(name), **self.table(name)} for name in TABLES}
        heard = {(notice.receiver, notice.group) for notice in self.notices.values()}
        for key, notice in older.notices.items():
            group = tables["groups"].get(notice.group)
            if key in self.notices or notice.group not in self.groups:
                continue
            del tables["notices"][key]
            if not notice.unheard and (notice.receiver, notice.group) not in heard:
                tables["groups"][notice.group] = group.remember(notice.receiver)
        return State(**tables, awake=self.awake, ticked=self.ticked, numbered=max(self.numbered, older.numbered))


_DECODERS: Final[dict[Table, msgspec.json.Decoder[Any]]] = {
    "detectors": msgspec.json.Decoder(Watch),
    "incidents": msgspec.json.Decoder(Incident),
    "groups": msgspec.json.Decoder(Group),
    "notices": msgspec.json.Decoder(Notice),
    "silences": msgspec.json.Decoder(Silence),
    "sightings": msgspec.json.Decoder(Sighting),
}


def read_state(ledger: Mapping[Table, Mapping[str, bytes]]) -> tuple[State, list[str]]:
    """Return the state that ``ledger`` holds, and a line about each row that cannot be read (and is left out)."""
    tables: dict[str, Any] = {}
    unread = []
    for name in TABLES:
        table = tables[name] = {}
        for key, value in ledger.get(name, {}).items():
            try:
                table[key] = _DECODERS[name].decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                unread.append(f"{name} {key}: {error}")
    numbered = max((notice.number for notice in tables["notices"].values()), default=0)
    return State(**tables, numbered=numbered), unread


class Draft:
    """A state in the making: reads like one, copies a table when it is first written to, and remembers each change."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._tables: dict[Table, dict[str, Any]] = {}
        self._changed: dict[tuple[Table, str], None] = {}
        self.blank = state.blank
        self.awake, self.ticked, self.numbered = state.awake, state.ticked, state.numbered
        self._told: dict[tuple[str, str], dict[str, None]] | None = None
        self._homes: dict[str, dict[str, None]] | None = None
        self._held: dict[str, float] | None = None

    @property
    def detectors(self) -> Mapping[str, Watch]:
        """The detectors as they stand."""
        return self._tables.get("detectors", self._state.detectors)

    @property
    def incidents(self) -> Mapping[str, Incident]:
        """The incidents as they stand."""
        return self._tables.get("incidents", self._state.incidents)

    @property
    def groups(self) -> Mapping[str, Group]:
        """The groups as they stand."""
        return self._tables.get("groups", self._state.groups)

    @property
    def notices(self) -> Mapping[str, Notice]:
        """The notices as they stand."""
        return self._tables.get("notices", self._state.notices)

    @property
    def silences(self) -> Mapping[str, Silence]:
        """The silences as they stand."""
        return self._tables.get("silences", self._state.silences)

    @property
    def sightings(self) -> Mapping[str, Sighting]:
        """When each canary was last heard of, as it stands."""
        return self._tables.get("sightings", self._state.sightings)

    def put(self, value: Incident | Group | Notice | Silence) -> None:
        """Set ``value`` under its own key."""
        if isinstance(value, Incident):
            self._put("incidents", value.key, value)
        elif isinstance(value, Group):
            self._put("groups", value.key, value)
            if self._homes is not None:
                _index(self._homes, value)
        elif isinstance(value, Silence):
            self._put("silences", value.id, value)
        else:
            known = self.notices.get(value.id)
            if self._held is not None and value.held != (known.held if known is not None else 0.0):
                self._held = None
            self._put("notices", value.id, value)
            if self._told is not None:
                self._told.setdefault((value.receiver, value.group), {})[value.id] = None

    def told(self, receiver: str, group: str) -> list[Notice]:
        """Return the notices of ``group`` to ``receiver``. The first to ask pays for all who ask in this step."""
        if self._told is None:
            self._told = {}
            for notice in self.notices.values():
                self._told.setdefault((notice.receiver, notice.group), {})[notice.id] = None
        known = self._told.get((receiver, group), ())
        return [self.notices[key] for key in known if key in self.notices]

    def held(self, receiver: str) -> float:
        """Return until when ``receiver`` asked to be left alone (seconds since the epoch; 0: it did not); likewise."""
        if self._held is None:
            self._held = {}
            for notice in self.notices.values():
                if notice.held:
                    self._held[notice.receiver] = max(notice.held, self._held.get(notice.receiver, 0.0))
        return self._held.get(receiver, 0.0)

    def homes(self, incident: str) -> list[Group]:
        """Return the groups that the incident of this key is a member of; likewise."""
        if self._homes is None:
            self._homes = {}
            for group in self.groups.values():
                _index(self._homes, group)
        groups = (self.groups.get(key) for key in self._homes.get(incident, ()))
        return [group for group in groups if group is not None and incident in group.members]

    def put_watch(self, key: str, watch: Watch) -> None:
        """Set what one rule knows of one canary; the same as before is no change."""
        if self.detectors.get(key) != watch:
            self._put("detectors", key, watch)

    def put_sighting(self, canary: str, sighting: Sighting) -> None:
        """Set when ``canary`` was last heard of."""
        self._put("sightings", canary, sighting)

    def next_number(self) -> int:
        """Return the number of a new notice, larger than any before."""
        self.numbered += 1
        return self.numbered

    def remove(self, table: Table, key: str) -> None:
        """Forget what ``table`` has under ``key``."""
        if self._own(table).pop(key, None) is not None:
            self._changed[table, key] = None

    def finish(self) -> tuple[State, tuple[Row, ...]]:
        """Return the new state, and the rows in which it differs."""
        if not self._changed:
            if (self.awake, self.ticked) != (self._state.awake, self._state.ticked):
                return msgspec.structs.replace(self._state, awake=self.awake, ticked=self.ticked), ()
            return self._state, ()
        tables: dict[str, Any] = {name: self._tables.get(name, self._state.table(name)) for name in TABLES}
        rows = []
        for table, key in self._changed:
            value = tables[table].get(key)
            rows.append(Row(table, key, None if value is None else msgspec.json.encode(value)))
        return State(**tables, awake=self.awake, ticked=self.ticked, numbered=self.numbered), tuple(rows)

    def _put(self, table: Table, key: str, value: Any) -> None:
        self._own(table)[key] = value
        self._changed[table, key] = None

    def _own(self, table: Table) -> dict[str, Any]:
        if table not in self._tables:
            self._tables[table] = dict(self._state.table(table))
        return self._tables[table]


def _index(homes: dict[str, dict[str, None]], group: Group) -> None:
    for member in group.members:
        homes.setdefault(member, {})[group.key] = None
