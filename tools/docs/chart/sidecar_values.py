"""What the defaults in ``values.yaml`` of the chart streamcanary-sidecar do not show of the types of its values."""

from typing import Final

from .schema import IMAGE, LOG, MOUNTS, NAMED_OBJECTS, OBJECTS, PROMETHEUS_DURATION, RULE_GROUPS, TEXTS, Refinements

REFINEMENTS: Final[Refinements] = {
    **IMAGE,
    **LOG,
    "nameOverride": {"maxLength": 63, "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"},
    "commonLabels": TEXTS,
    "replicasHint": {"minimum": 0, "maximum": 10000},
    "otlp.endpoint": {"pattern": "^(https?://[^\\s]+)?$"},
    "metrics.tokenSecret.key": {"minLength": 1},
    "web.port": {"minimum": 1024, "maximum": 65535},
    "podMonitor.labels": TEXTS,
    "podMonitor.matchLabels": TEXTS,
    "podMonitor.interval": PROMETHEUS_DURATION,
    "podMonitor.scrapeTimeout": PROMETHEUS_DURATION,
    "prometheusRule.labels": TEXTS,
    "prometheusRule.groups": RULE_GROUPS,
    "extraEnv": NAMED_OBJECTS,
    "extraEnvFrom": OBJECTS,
    "extraVolumeMounts": MOUNTS,
}
