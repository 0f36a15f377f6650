"""The overview: canaries in groups, the worst first, and as much in full as a person can read."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.model.status.canary_status import CanaryStatus
from streamcanary.web.page.drawing.chart import Sparkline, sparkline
from streamcanary.web.page.drawing.strip import Strip, bar_strip, cell_field
from streamcanary.web.page.text_format import OUTCOME_STATES

SEVERITY: Final = ("failing", "degraded", "slow", "unknown", "ok")
"""The states, the worst first."""

STRIP_RUNS: Final = 60
MAX_ROWS: Final = 24
"""Rows in full on one page, unless a group is opened."""
MAX_OPEN_ROWS: Final = 200
"""Rows of an opened group."""
MAX_GROUPS: Final = 24
"""Groups on one page."""
_SMALL: Final = 24
"""With more canaries than this, groups in which all is well are collapsed to one line."""
_CELL_COLUMNS: Final = 100
_MAX_QUERY: Final = 100  # characters of one value
_MAX_LABELS: Final = 10
_GROUPINGS: Final = ("target", "provider", "model")

WithHours = Callable[[Iterable[CanaryStatus]], tuple[CanaryStatus, ...]]
"""Returns statuses with their hours, which those of a large fleet do not have."""


class OverviewQuery(Struct, frozen=True, kw_only=True):
    """What the address asks for: ``group`` is ``target``, ``provider``, ``model`` or ``label:NAME``."""

    group: str = "target"
    state: str = ""
    q: str = ""
    labels: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    page: int = 1

    @classmethod
    def from_items(cls, items: Iterable[tuple[str, str]]) -> "OverviewQuery":
        """Return the query of an address; values that mean nothing are ignored, and all are bounded."""
        given: dict[str, list[str]] = {}
        for name, value in items:
            given.setdefault(name, []).append(value[:_MAX_QUERY])
        group = given.get("group", ["target"])[0]
        state = given.get("state", [""])[0]
        page = given.get("page", ["1"])[0]
        return cls(
            group=group if group in _GROUPINGS or re.fullmatch(r"label:.+", group) else "target",
            state=state if state in SEVERITY else "",
            q=given.get("q", [""])[0].strip(),
            labels=tuple(one for one in given.get("label", [])[:_MAX_LABELS] if ":" in one),
            open=tuple(given.get("open", [])[:_MAX_LABELS]),
            page=int(page) if re.fullmatch(r"[1-9][0-9]{0,3}", page) else 1,
        )

    def href(self, **changes: object) -> str:
        """Return the address of this query with ``changes``."""
        query = replace(self, **{"page": 1, **changes})
        pairs = [("group", query.group if query.group != "target" else ""), ("state", query.state), ("q", query.q)]
        pairs += [("label", label) for label in query.labels] + [("open", name) for name in query.open]
        pairs.append(("page", str(query.page) if query.page > 1 else ""))
        text = urlencode([(name, value) for name, value in pairs if value])
        return f"/?{text}" if text else "/"

    def matches(self, status: CanaryStatus) -> bool:
        """Return whether the canary is asked for: every label, the state, and every word of ``q`` somewhere."""
        if self.state and status.state != self.state:
            return False
        for label in self.labels:
            name, _, value = label.partition(":")
            if status.labels.get(name) != value:
                return False
        if not self.q:
            return True
        labels = (f"{name}:{value}" for name, value in status.labels.items())
        names = (status.name, status.target, status.provider, status.model, status.state)
        text = " ".join((*names, *status.alerts, *labels)).lower()
        return all(word in text for word in self.q.lower().split())


class Row(Struct, frozen=True, kw_only=True):
    """One canary: its status, and its drawings."""

    status: CanaryStatus
    strip: Strip
    strip_words: str
    spark: Sparkline | None

    @property
    def id(self) -> str:
        """The id of its element."""
        return f"row-{element_id(self.status.name)}"


class GroupView(Struct, frozen=True, kw_only=True):
    """A group: ``rows`` in full, and ``cells`` for the canaries that are collapsed, ``hidden`` of them.

    ``error_rate`` and ``first_attempt_error_rate`` are of the last hour, over all runs of the group. ``href`` opens or
    closes the group; empty if there is nothing to open. ``omitted`` are neither in full nor a cell.
    """

    key: str
    counts: dict[str, int]
    size: int
    error_rate: float | None
    first_attempt_error_rate: float | None
    rows: tuple[Row, ...]
    hidden: int = 0
    cells: Strip | None = None
    is_open: bool = False
    href: str = ""
    omitted: int = 0

    @property
    def id(self) -> str:
        """The id of its element."""
        return f"group-{element_id(self.key)}"

    @property
    def state(self) -> str:
        """The worst state in it."""
        return next((state for state in SEVERITY if self.counts.get(state)), "unknown")


class Choice(Struct, frozen=True, kw_only=True):
    """A link that changes the query."""

    text: str
    href: str
    is_current: bool
    count: int | None = None
    state: str = ""


class OverviewView(Struct, frozen=True, kw_only=True):
    """The overview. ``total`` counts all canaries, ``matching`` those that are asked for."""

    query: OverviewQuery
    groups: tuple[GroupView, ...]
    states: tuple[Choice, ...]
    groupings: tuple[Choice, ...]
    total: int
    matching: int
    previous: str = ""
    next: str = ""
    pages: int = 1

    def key_of(self, status: CanaryStatus) -> str:
        """Return the key of the group that a canary is in."""
        return _group_key(status, self.query.group)


def overview_view(
    statuses: Sequence[CanaryStatus], query: OverviewQuery, with_hours: WithHours = tuple
) -> OverviewView:
    """Return what the overview shows of ``statuses``; ``with_hours`` completes those of its rows."""
    matching = [status for status in statuses if query.matches(status)]
    groups: dict[str, list[CanaryStatus]] = {}
    for status in matching:
        groups.setdefault(_group_key(status, query.group), []).append(status)
    ordered = sorted(groups.items(), key=lambda item: (_rank(item[1]), item[0]))
    pages = max(1, -(-len(ordered) // MAX_GROUPS))
    page = min(query.page, pages)
    shown = ordered[(page - 1) * MAX_GROUPS : page * MAX_GROUPS]
    collapses = len(matching) > _SMALL
    budget, views = MAX_ROWS, []
    for key, members in shown:
        view = _group_view(key, members, query, budget=budget, collapses=collapses, with_hours=with_hours)
        budget = max(0, budget - len(view.rows)) if not view.is_open else budget
        views.append(view)
    return OverviewView(
        query=query,
        groups=tuple(views),
        states=_state_choices(statuses, query),
        groupings=_grouping_choices(statuses, query),
        total=len(statuses),
        matching=len(matching),
        previous=query.href(page=page - 1) if page > 1 else "",
        next=query.href(page=page + 1) if page < pages else "",
        pages=pages,
    )


def row_of(status: CanaryStatus) -> Row:
    """Return the row of one canary."""
    states = [OUTCOME_STATES.get(run.outcome, "unknown") for run in status.recent_runs]
    return Row(
        status=status,
        strip=bar_strip(states, STRIP_RUNS),
        strip_words=strip_words(states),
        spark=sparkline(status.hours),
    )


def strip_words(states: Sequence[str]) -> str:
    """Return a strip in words: ``last 60 runs: 6 failing, 54 ok``."""
    if not states:
        return "no run yet"
    counts = _counts(states)
    words = ", ".join(f"{counts[state]} {'not counted' if state == 'unknown' else state}" for state in counts)
    return f"last run: {words}" if len(states) == 1 else f"last {len(states)} runs: {words}"


def element_id(name: str) -> str:
    """Return ``name`` as part of an id: other characters than letters and digits as their code."""
    return re.sub(r"[^A-Za-z0-9]", lambda match: "-" if match[0] == "-" else f"_{ord(match[0]):x}", name)


def _group_view(
    key: str,
    members: Sequence[CanaryStatus],
    query: OverviewQuery,
    *,
    budget: int,
    collapses: bool,
    with_hours: WithHours,
) -> GroupView:
    ordered = sorted(members, key=lambda status: (SEVERITY.index(status.state), status.name))
    troubled = [status for status in ordered if status.state not in ("ok", "unknown")]
    is_open = key in query.open
    if is_open:
        full = ordered[:MAX_OPEN_ROWS]
    elif collapses or len(ordered) > budget:
        full = troubled[:budget]
    else:
        full = ordered
    shown = {status.name for status in full}
    rest = [status for status in sorted(members, key=lambda status: status.name) if status.name not in shown]
    others = tuple(name for name in query.open if name != key)
    runs = sum(status.hour.runs for status in members if status.hour)
    return GroupView(
        key=key,
        counts=_counts(status.state.value for status in members),
        size=len(members),
        error_rate=sum(one.hour.failed for one in members if one.hour) / runs if runs else None,
        first_attempt_error_rate=sum(max(one.hour.first_attempt_failed, one.hour.failed) for one in members if one.hour)
        / runs
        if runs
        else None,
        rows=tuple(row_of(status) for status in with_hours(full)),
        hidden=0 if is_open else len(rest),
        cells=cell_field([status.state.value for status in rest], _CELL_COLUMNS) if rest and not is_open else None,
        is_open=is_open,
        href=query.href(open=others) if is_open else query.href(open=(*others, key)) if rest else "",
        omitted=len(rest) if is_open else 0,
    )


def _group_key(status: CanaryStatus, group: str) -> str:
    if group.startswith("label:"):
        return status.labels.get(group.removeprefix("label:"), "")
    return str(getattr(status, group))


def _rank(members: Iterable[CanaryStatus]) -> int:
    return min(SEVERITY.index(status.state) for status in members)


def _counts(states: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in states:
        found[state] = found.get(state, 0) + 1
    return {state: found[state] for state in SEVERITY if state in found}


def _state_choices(statuses: Sequence[CanaryStatus], query: OverviewQuery) -> tuple[Choice, ...]:
    any_state = replace(query, state="")
    counts = _counts(status.state.value for status in statuses if any_state.matches(status))
    every = Choice(text="all", href=query.href(state=""), is_current=not query.state, count=sum(counts.values()))
    shown = {**counts, query.state: counts.get(query.state, 0)} if query.state else counts
    return (
        every,
        *(
            Choice(text=state, state=state, href=query.href(state=state), is_current=query.state == state, count=number)
            for state, number in shown.items()
        ),
    )


def _grouping_choices(statuses: Sequence[CanaryStatus], query: OverviewQuery) -> tuple[Choice, ...]:
    """Return the groupings that say something: targets, providers, models, and labels of few values."""
    values: dict[str, set[str]] = {}
    for status in statuses:
        for name, value in status.labels.items():
            values.setdefault(name, set()).add(value)
    labels = sorted(name for name, found in values.items() if len(found) <= max(2, len(statuses) // 2))[:4]
    names = [*_GROUPINGS, *(f"label:{name}" for name in labels)]
    return tuple(
        Choice(text=name.removeprefix("label:"), href=query.href(group=name, open=()), is_current=query.group == name)
        for name in dict.fromkeys([*names, query.group])
    )
