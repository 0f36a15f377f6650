"""A bounded sample of the times between the tokens of an answer, for their median."""

from typing import Final

MAX_GAPS: Final = 512
"""Times that a sample keeps; then it keeps every second one, later every fourth, and so on."""


class GapSample:
    """A sample of times in seconds: all of them up to :data:`MAX_GAPS`, and evenly spread ones of more.

    ``count`` is the number of all times. It is called for every token, so :meth:`add` does next to nothing.
    """

    __slots__ = ("_kept", "_mask", "count")

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[float] = []
        self._mask = 0  # a time is kept if its number has none of these bits

    def add(self, gap: float) -> None:
        """Add one time."""
        if not self.count & self._mask:
            kept = self._kept
            if len(kept) == MAX_GAPS:
                del kept[1::2]
                self._mask = 2 * self._mask + 1
            kept.append(gap)
        self.count += 1

    def median(self) -> float | None:
        """Return the median of the sample, the lower of two in the middle; ``None`` if it is empty."""
        return sorted(self._kept)[(len(self._kept) - 1) // 2] if self._kept else None
