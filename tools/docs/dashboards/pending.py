"""Metrics of the agreed table that are not in ``model/names.py`` yet."""

from streamcanary.model.names import SECONDS_BUCKETS, Metric

RATELIMIT_REMAINING = Metric("streamcanary.ratelimit.remaining", "gauge", "{unit}", "")
RATELIMIT_LIMIT = Metric("streamcanary.ratelimit.limit", "gauge", "{unit}", "")
RATELIMIT_HEADROOM = Metric("streamcanary.ratelimit.headroom", "gauge", "1", "")
OUTPUT_SPEED = Metric("streamcanary.output.speed", "histogram", "{token}/s", "", SECONDS_BUCKETS)
MEDIAN_GAP = Metric("streamcanary.stream.median_gap", "histogram", "s", "", SECONDS_BUCKETS)
MODEL_INFO = Metric("streamcanary.model.info", "gauge", "{model}", "")
MODEL_CHANGES = Metric("streamcanary.model.changes", "counter", "{change}", "")
MODEL_SUNSET = Metric("streamcanary.model.sunset", "gauge", "s", "")
