"""When the next group is due, cached as long as the groups stay the same."""

import math
from collections.abc import Mapping

from streamcanary.model.alerts.incident import Group


class FirstFlush:
    """The time of the first flush of all groups."""

    def __init__(self) -> None:
        self._groups: Mapping[str, Group] = {}
        self._time = math.inf

    def time(self, groups: Mapping[str, Group]) -> float:
        """Return when the first of ``groups`` is due, in seconds since the epoch; infinite if none is."""
        if groups is not self._groups:
            times = (group.next_flush for group in groups.values() if group.next_flush is not None)
            self._groups, self._time = groups, min(times, default=math.inf)
        return self._time
