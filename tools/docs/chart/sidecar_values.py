"""What the defaults in ``values.yaml`` of the chart streamcanary-sidecar do not show of the types of its values."""

from typing import Final

from .schema import (
    IMAGE,
    LABEL,
    LOG,
    MOUNTS,
    NAME,
    NAMED_OBJECTS,
    OBJECTS,
    PROMETHEUS_DURATION,
    RULE_GROUPS,
    SECRET_KEY,
    TEXTS,
    Refinements,
)

REFINEMENTS: Final[Refinements] = {
    **IMAGE,
    **LOG,
    "nameOverride": LABEL,
    "commonLabels": TEXTS,
    "replicasHint": {"minimum": 0, "maximum": 10000},
    "otlp.endpoint": {"pattern": "^(https?://[^\\s]+)?$"},
    "existingConfigMap": NAME,
    "secret.existing": NAME,
    "metrics.tokenSecret.name": NAME,
    "metrics.tokenSecret.key": SECRET_KEY,
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
