"""The statistics of the last full hours of one canary, in 38 bytes each."""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from streamcanary.model.statistics.rollup import HOUR
from streamcanary.model.status.canary_status import Percentiles, PeriodStatistics

_HOUR: Final = Struct("<I5H6I")  # its start in hours, five counts, two times three percentiles
_PER_SECOND: Final = 10_000  # percentiles are rounded to 0.1 ms
_MAX_COUNT: Final = 2**16 - 1
_MAX: Final = 2**32 - 2
_NONE: Final = 2**32 - 1


class HourSeries:
    """Hours in the order of their start. Immutable, and equal to one with the same hours.

    Starts are full hours. Counts over 65,535 runs an hour, which are 18 a second, are that; percentiles are seconds, to
    0.1 ms, up to five days.
    """

    __slots__ = ("_packed",)

    def __init__(self, hours: Iterable[PeriodStatistics] = ()) -> None:
        self._packed = b"".join(map(_pack_hour, hours))

    def statistics(self) -> tuple[PeriodStatistics, ...]:
        """Return the hours."""
        return tuple(self._hours())

    def before(self, end: float) -> "HourSeries":
        """Return the hours that begin before ``end`` (seconds since the epoch): all, unless the clock was set back."""
        if not self._packed or _HOUR.unpack_from(self._packed, len(self._packed) - _HOUR.size)[0] * HOUR < end:
            return self
        return HourSeries(hour for hour in self._hours() if hour.started < end)

    def _hours(self) -> Iterator[PeriodStatistics]:
        for started, runs, failed, failed_over, first_attempt_failed, slow, *percentiles in _HOUR.iter_unpack(
            self._packed
        ):
            yield PeriodStatistics(
                started=started * HOUR,
                length=HOUR,
                runs=runs,
                failed=failed,
                failed_over=failed_over,
                first_attempt_failed=first_attempt_failed,
                slow=slow,
                first_token=_unpack(*percentiles[:3]),
                duration=_unpack(*percentiles[3:]),
            )

    def __len__(self) -> int:
        return len(self._packed) // _HOUR.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HourSeries) and self._packed == other._packed

    def __hash__(self) -> int:
        return hash(self._packed)


def _pack_hour(hour: PeriodStatistics) -> bytes:
    counts = hour.runs, hour.failed, hour.failed_over, hour.first_attempt_failed, hour.slow
    return _HOUR.pack(
        int(hour.started) // HOUR,
        *(min(count, _MAX_COUNT) for count in counts),
        *_pack(hour.first_token),
        *_pack(hour.duration),
    )


def _pack(percentiles: Percentiles | None) -> tuple[int, int, int]:
    if percentiles is None:
        return _NONE, _NONE, _NONE
    p50, p95, p99 = (
        round(min(max(0.0, value * _PER_SECOND), _MAX)) for value in (percentiles.p50, percentiles.p95, percentiles.p99)
    )
    return p50, p95, p99


def _unpack(p50: int, p95: int, p99: int) -> Percentiles | None:
    if p50 == _NONE:
        return None
    return Percentiles(p50=p50 / _PER_SECOND, p95=p95 / _PER_SECOND, p99=p99 / _PER_SECOND)
