"""The public page: names or titles, states and availability. Nothing else of the daemon may get here."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from streamcanary.model.status.canary_status import CanaryStatus, PeriodStatistics
from streamcanary.web.page.views.overview import SEVERITY

MAX_ROWS: Final = 300
TITLE_LABEL: Final = "title"
"""The label of a canary that replaces its name on the public page."""


class PublicRow(Struct, frozen=True, kw_only=True):
    """A canary in public; the availabilities are from 0 to 1."""

    title: str
    state: str
    day: float | None
    week: float | None
    month: float | None


class PublicView(Struct, frozen=True, kw_only=True):
    """The public page."""

    state: str
    sentence: str
    rows: tuple[PublicRow, ...]
    omitted: int = 0


def public_view(statuses: Sequence[CanaryStatus]) -> PublicView:
    """Return what the public page shows."""
    ordered = sorted(statuses, key=lambda one: (SEVERITY.index(one.state), public_title(one)))
    known = [one for one in ordered if one.state != "unknown"]
    troubled = sum(1 for one in known if one.state != "ok")
    state = ordered[0].state.value if known else "unknown"
    if not known:
        sentence = "No data yet."
    elif not troubled:
        sentence = "All services answer."
    else:
        sentence = f"{troubled} of {len(known)} services {'has' if troubled == 1 else 'have'} problems."
    rows = tuple(
        PublicRow(
            title=public_title(one),
            state=one.state.value,
            day=_availability(one.day),
            week=_availability(one.week),
            month=_availability(one.month),
        )
        for one in ordered[:MAX_ROWS]
    )
    return PublicView(state=state, sentence=sentence, rows=rows, omitted=len(ordered) - len(rows))


def public_title(status: CanaryStatus) -> str:
    """Return the name of a canary in public: its label ``title``, or its name."""
    return status.labels.get(TITLE_LABEL) or status.name


def _availability(period: PeriodStatistics | None) -> float | None:
    return None if period is None else period.availability
