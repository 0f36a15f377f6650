"""Skips a part of the due runs, evenly over the canaries, while the daemon cannot make all of them on time.

Without it, runs would start later and later, and end at their time limits: the slowness of the daemon would look like
that of providers, and the canaries that come first would take the time of the others. Pure; times are in seconds of a
monotonic clock.
"""

from statistics import median
from typing import Final

from streamcanary.canary.scheduling.triggers import hashed_share

WINDOW: Final = 5.0
"""Seconds in which delays are collected before the share of runs to skip is changed."""
LATE_DELAY: Final = 1.0
"""Seconds; the daemon is late in a window if the median run is taken up later than that after it was due."""
ON_TIME_DELAY: Final = 0.25
"""Seconds; it is on time if the median is less than that. In between, nothing changes."""
LATE_SHARE: Final = 0.5
"""It is late, too, if the event loop was late for more than this part of the window."""
ON_TIME_SHARE: Final = 0.2
"""The part of the window for which the event loop may be late when the daemon is on time."""
MAX_SHED: Final = 0.9
"""The largest share of due runs that is skipped: each canary makes at least every tenth of its runs."""
BEHIND_AFTER: Final = 120.0
"""Seconds for which the daemon is late, or skips runs, before it is behind schedule."""

_LATE_WINDOWS: Final = 3  # before the first run is skipped: a pause of some seconds is no overload
_ON_TIME_WINDOWS: Final = 2  # before fewer runs are skipped
_STEP_UP, _LARGE_STEP_UP, _STEP_DOWN = 0.1, 0.25, 0.05
_LARGE_DELAY: Final = 5.0  # seconds, from which on the share rises faster


class LoadShedder:
    """Decides which due runs are skipped. ``share`` is the part of them, 0 to :data:`MAX_SHED`.

    ``delay`` is the median delay of the last window, in seconds. ``is_behind`` is whether the daemon has been late, or
    has skipped runs, for two minutes.

    The share rises while windows are late and falls slowly while they are on time, so that it stays near the least that
    is needed. Of each canary the same share is skipped, every second or every third run.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.delay = 0.0
        self.is_behind = False
        self._delays: list[float] = []
        self._loop_delay = 0.0
        self._window_start: float | None = None
        self._late_windows = self._on_time_windows = 0
        self._late_since: float | None = None
        self._credits: dict[str, float] = {}  # the part of a run that each canary has saved up

    def observe_due(self, delay: float) -> None:
        """Add a run that is taken up ``delay`` seconds after it was due; also one that is then skipped."""
        self._delays.append(max(0.0, delay))

    def admits(self, canary: str) -> bool:
        """Return whether a due run of ``canary`` starts; otherwise it is to be skipped."""
        if not self.share:
            return True
        credit = self._credits.get(canary)
        if credit is None:  # canaries begin at different parts: not all skip the same run
            credit = hashed_share(f"\0{canary}")
        credit += 1.0 - self.share
        self._credits[canary] = credit - 1.0 if credit >= 1.0 else credit
        return credit >= 1.0

    def evaluate(self, now: float, loop_delay: float) -> None:
        """Change the share at the end of a window; call it every second.

        ``loop_delay`` is the time by which the event loop was late since the last call, in seconds.
        """
        self._loop_delay += loop_delay
        if self._window_start is None:
            self._window_start = now
        if (length := now - self._window_start) < WINDOW:
            return
        self.delay = median(self._delays) if self._delays else 0.0
        loop_share = self._loop_delay / length
        is_late = self.delay > LATE_DELAY or loop_share > LATE_SHARE
        is_on_time = self.delay < ON_TIME_DELAY and loop_share < ON_TIME_SHARE
        self._late_windows = self._late_windows + 1 if is_late else 0
        self._on_time_windows = self._on_time_windows + 1 if is_on_time else 0
        self._change_share()
        if is_late or self.share:
            self._late_since = now if self._late_since is None else self._late_since
        else:
            self._late_since = None
        self.is_behind = self._late_since is not None and now - self._late_since >= BEHIND_AFTER
        self._window_start, self._loop_delay = now, 0.0
        self._delays.clear()

    def _change_share(self) -> None:
        if self._late_windows and (self.share or self._late_windows >= _LATE_WINDOWS):
            step = _LARGE_STEP_UP if self.delay > _LARGE_DELAY else _STEP_UP
            self.share = min(MAX_SHED, round(self.share + step, 2))
        elif self.share and self._on_time_windows >= _ON_TIME_WINDOWS:
            self.share = max(0.0, round(self.share - _STEP_DOWN, 2))
            self._on_time_windows = 0
        if not self.share:
            self._credits.clear()
