"""What was learned as text, for people."""

from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate
from streamcanary.alerting.measures import Measure
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import format_fraction

_FEW_BAD = 30  # bad samples; with fewer, the autocorrelation of bursts is often underestimated


def describe_baseline(measure: Measure, baseline: LearnedBaseline) -> str:
    """Return what was learned about ``measure``: ``1.3% of 5,760 runs (at most 1.8%), no bursts``."""
    if isinstance(baseline, LearnedRate):
        return f"{_describe_rate(baseline)}, {_describe_bursts(baseline)}"
    limits = [limit for limits in baseline.limits.values() for limit in limits]
    low, high = min(limits, default=0.0), max(limits, default=0.0)
    parts = [_format_limit(measure, each) for each in ((low,) if low == high else (low, high))]
    usual, worse = ("{} or less", "more") if measure.is_timed else ("{} or more", "less")
    return (
        f"usually {usual.format(' to '.join(parts))}; {_describe_rate(baseline.above)} have {worse}, "
        f"{_describe_bursts(baseline.above)}"
    )


def _describe_rate(rate: LearnedRate) -> str:
    shown, highest = (format_fraction(round(value, 4)) for value in (rate.rate, rate.upper_bound))
    return f"{shown} of {rate.total:,} runs (at most {highest})"


def _describe_bursts(rate: LearnedRate) -> str:
    if not rate.autocorrelation:
        return "no bursts"
    few = f" (only {rate.bad} failures: more false pages are possible)" if rate.bad < _FEW_BAD else ""
    return f"autocorrelation at most {rate.autocorrelation:.2f}{few}"


def _format_limit(measure: Measure, limit: float) -> str:
    if measure.is_timed or measure.limit_type is None:
        return format_duration(limit)
    return measure.limit_type.format(1 / limit if limit else 0.0)
