"""PromQL of the dashboards: selectors of the variables, and rates, quantiles and counts of metrics.

All names come from ``model/names.py``. They are the same for ``/metrics`` and for OTLP sent to Prometheus 3 with its
default translation strategy.
"""

from collections.abc import Iterable
from typing import Final

from streamcanary.model import names
from streamcanary.model.names import Metric
from streamcanary.model.prometheus_names import metric_name

ALERT_SELECTOR: Final = 'canary=~"$canary", target=~"$target", provider=~"$provider"'
"""The alerts that the variables of the dashboard select. All includes those about the daemon, which have no canary."""
CANARY_SELECTOR: Final = f'{ALERT_SELECTOR}, canary!=""'
"""The series of canaries that the variables select. Calls of applications with our client have no canary."""
MEASUREMENT_SELECTOR: Final = 'canary=~"$canary|", target=~"$target", provider=~"$provider", target!=""'
"""The series of histograms and rate limits that the variables select: with reduced series those of the targets, too.

These have no canary, so that a chosen canary does not leave them out. Applications with our client have no target.
"""
CANARY_LABELS: Final = "canary, target, provider"
RATE: Final = "$__rate_interval"
"""At least four scrapes, and longer than the time between two points: the window of rates and quantiles.

https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/
"""
STEP: Final = "$__interval"
"""The time between two points: the span of counts, which would count an event twice if they overlapped."""
RANGE: Final = "$__range"
"""The time range of the dashboard."""
_PARTS: Final = {"_count": "histogram_count", "_sum": "histogram_sum"}
"""The functions for the parts of a native histogram: what OTLP makes of an exponential one."""
_GAP: Final = "6h"
"""How long a series may be missing, because scrapes fail or Prometheus does not run, without counting as new."""

_START_ERROR: Final = 10
"""Seconds by which the start of a process, computed from a scrape, may differ from that of another scrape."""


def series(metric: Metric, matchers: str = "", *, selector: str = CANARY_SELECTOR) -> str:
    """Return the selector of the series of ``metric`` with further ``matchers``."""
    return _select(metric_name(metric), matchers, selector)


def increase(
    metric: Metric, by: str, matchers: str = "", *, within: str = STEP, selector: str = CANARY_SELECTOR
) -> str:
    """Return the increase of a counter whose series start at 0, summed by the labels ``by``."""
    return f"sum by ({by}) ({_increase(series(metric, matchers, selector=selector), within)})"


def new_increase(
    metric: Metric, by: str, matchers: str = "", *, within: str = STEP, selector: str = CANARY_SELECTOR
) -> str:
    """Return the increase of a counter whose series start with the first event, summed by the labels ``by``.

    ``increase()`` misses the first value of a series, which is added here: where the series did not exist at the start
    of the window, unless it did before and counts on. It counts from 0 if it was higher before, or if the daemon has
    been restarted since. After a missed scrape, a series is neither new nor restarted: its value is that of its
    lifetime, and no count. A new series that restarts within the window counts the lowest of its values as its first.
    """
    counter = series(metric, matchers, selector=selector)
    first = f"min_over_time({counter}[{within}])"
    before = f"last_over_time({counter}[{_GAP}] offset {within})"
    counts_on = f"({before} <= {first} unless on (job, instance) {_restarted(within)})"
    new = f"{first} unless {counter} offset {within} unless {counts_on}"
    # The label makes the first value of a series another series than its increase, so that `or` keeps both.
    return f'sum by ({by}) (label_replace({new}, "part", "first", "", "") or {_increase(counter, within)})'


def _restarted(within: str) -> str:
    """Return the processes that started later than the one of the same name before the window."""
    uptime = series(names.PROCESS_UPTIME, selector="")
    start = f"(timestamp({uptime}) - {uptime})"
    before = f"last_over_time({start}[{_GAP}:1m] offset {within})"
    return f"(min_over_time({start}[{within}:1m]) > {before} + {_START_ERROR})"


def _increase(counter: str, within: str) -> str:
    """Return the increase of each series.

    Between two points, an increase from the last scrape of one window to the first of the next is in neither. So the
    window of a step is longer than the step by one scrape, and its rate is taken for the length of the step.
    """
    return f"{_per_step(f'rate({counter}[{RATE}])')}" if within == STEP else f"increase({counter}[{within}])"


def _per_step(rate_per_second: str) -> str:
    return f"{rate_per_second} * $__interval_ms / 1000"


def rate(
    metric: Metric,
    by: str,
    matchers: str = "",
    *,
    suffix: str = "",
    within: str = RATE,
    selector: str | None = None,
) -> str:
    """Return the rate per second of a counter, or of the part ``suffix`` of a histogram, summed by ``by``."""
    if selector is None:
        selector = MEASUREMENT_SELECTOR if suffix else CANARY_SELECTOR
    rates = f"rate({_select(metric_name(metric) + suffix, matchers, selector)}[{within}])"
    if part := _PARTS.get(suffix):
        rates += f" or {part}(rate({series(metric, matchers, selector=selector)}[{within}]))"
    return f"sum by ({by}) ({rates})"


def quantile(
    share: float,
    metric: Metric,
    by: str = "",
    matchers: str = "",
    *,
    within: str = RATE,
    selector: str = MEASUREMENT_SELECTOR,
) -> str:
    """Return a quantile of a histogram, by the labels ``by``: of one with explicit buckets, or a native one."""
    labels = f"{by}, le" if by else "le"
    buckets = f"rate({_select(f'{metric_name(metric)}_bucket', matchers, selector)}[{within}])"
    native = f"rate({series(metric, matchers, selector=selector)}[{within}])"
    return (
        f"histogram_quantile({share:g}, sum by ({labels}) ({buckets})) "
        f"or histogram_quantile({share:g}, sum by ({by}) ({native}))"
    )


def mean(metric: Metric, by: str, matchers: str = "", *, selector: str = MEASUREMENT_SELECTOR) -> str:
    """Return the mean of the observations of a histogram, by the labels ``by``."""
    total, count = (rate(metric, by, matchers, selector=selector, suffix=part) for part in ("_sum", "_count"))
    return f"{total} / ({count} > 0)"


def heat(metric: Metric, matchers: str = "", *, selector: str = MEASUREMENT_SELECTOR) -> str:
    """Return the observations of a histogram in each bucket, or the native histogram of them."""
    buckets = f"rate({_select(f'{metric_name(metric)}_bucket', matchers, selector)}[{RATE}])"
    native = f"rate({series(metric, matchers, selector=selector)}[{RATE}])"
    return f"{_per_step(f'sum by (le) ({buckets})')} or {_per_step(f'sum ({native})')}"


def share(part: str, whole: str) -> str:
    """Return ``part`` of ``whole``: 0 where there is no part; nothing where there is nothing at all."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def matching(label: str, values: Iterable[str]) -> str:
    """Return the matcher of a label with one of ``values``."""
    return f'{label}=~"{"|".join(values)}"'


def _select(name: str, matchers: str, selector: str) -> str:
    inside = ", ".join(part for part in (selector, matchers) if part)
    return f"{name}{{{inside}}}" if inside else name


GOOD: Final = matching(names.OUTCOME, ("ok", "slow"))
BAD: Final = matching(names.OUTCOME, ("failed", "failed_over"))
OBSERVED: Final = matching(names.OUTCOME, ("ok", "slow", "failed", "failed_over"))
"""The runs that say something about the provider: neither skipped, nor broken in the daemon itself."""
